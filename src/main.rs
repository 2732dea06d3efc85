//! The `tokentape` command.

fn main() {}
