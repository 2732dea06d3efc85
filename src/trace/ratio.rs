//! Division of whole numbers, where there is something to divide by.

/// Turns a count or a sum into a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "people read no more than a float has"
)]
pub(super) fn float(value: u128) -> f64 {
    value as f64
}

/// Divides; none by zero.
pub(super) fn ratio(share: impl Into<u128>, whole: impl Into<u128>) -> Option<f64> {
    let whole = whole.into();
    (whole > 0).then(|| float(share.into()) / float(whole))
}
