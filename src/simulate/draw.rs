//! Random draws that depend on nothing but a seed and a position.
//!
//! Whoever draws first changes nothing for the others, so that the same seed gives the same run
//! however requests and steps interleave.

/// Draws 64 random bits for `(seed, position)`; the finaliser of SplitMix64, applied twice.
pub(super) fn bits(seed: u64, position: u64) -> u64 {
    mix(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ position)
}

/// Draws a number from 0, inclusive, to 1, exclusive, for `(seed, position)`.
pub(super) fn unit(seed: u64, position: u64) -> f64 {
    const VALUES: f64 = 4_294_967_296.0;
    let high = u32::try_from(bits(seed, position) >> 32).unwrap_or(0);
    f64::from(high) / VALUES
}

fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_spread_evenly_and_repeat() {
        let draws: Vec<f64> = (0..10_000).map(|position| unit(7, position)).collect();
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert_eq!(bits(7, 3), bits(7, 3));
        assert_ne!(bits(7, 3), bits(8, 3));
        assert_ne!(bits(7, 3), bits(7, 4));
    }
}
