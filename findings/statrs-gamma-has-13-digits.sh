#!/usr/bin/env bash
# statrs 0.19.1: `gamma` has 13 right digits, where its documentation says 16.
#
# The gamma function of a whole number n is the factorial of n - 1, which a double holds exactly. For 1
# the answer is 0.9999999999999996, for 3 it is 2.0000000000000067, and up to 20 the relative error
# reaches 8.6e-14, some 390 times what a double can tell apart. `libm::tgamma` of libm 0.2.16 is
# exact for the same numbers. Whoever scales gaps of a Weibull distribution by it moves a schedule.
#
# Seen: largest relative error for 1 to 20: statrs 8.58e-14, libm 0.00e0
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'T'
[package]
name = "gamma"
version = "0.0.0"
edition = "2021"
[dependencies]
statrs = { version = "=0.19.1", default-features = false }
libm = "=0.2.16"
T
cat > "$folder/src/main.rs" <<'R'
fn main() {
    let (mut exact, mut worst) = (1.0_f64, [0.0_f64; 2]);
    for n in (1..=20).map(f64::from) {
        let answers = [statrs::function::gamma::gamma(n), libm::tgamma(n)];
        for (worst, answer) in worst.iter_mut().zip(answers) {
            *worst = worst.max(((answer - exact) / exact).abs());
        }
        exact *= n;
    }
    println!("largest relative error for 1 to 20: statrs {:.2e}, libm {:.2e}", worst[0], worst[1]);
    assert!(worst[0] > 8e-14 && worst[0] < 9e-14, "the answers have changed");
    assert!(worst[1] == 0.0, "libm is not exact");
}
R
CARGO_TARGET_DIR="$folder/target" cargo run -q --manifest-path "$folder/Cargo.toml"
