//! The order of names: numbers in them by size, so that 2 stands before 10.

use std::cmp::Ordering;

/// Compares names as people count: where both have digits, by the number that these are.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (one, rest) = piece(left);
        let (other, rest_of_other) = piece(right);
        if one.is_empty() || other.is_empty() {
            // What is equal to here is told apart by its letters, so that the order is total.
            return one.len().cmp(&other.len()).then_with(|| a.cmp(b));
        }
        let order = match (digits(one), digits(other)) {
            (Some(one), Some(other)) => one.len().cmp(&other.len()).then_with(|| one.cmp(other)),
            _ => one.cmp(other),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (rest, rest_of_other);
    }
}

/// Compares values: numbers by their size, before words in their natural order.
pub(super) fn by_value(a: &str, b: &str) -> Ordering {
    let number = |value: &str| value.parse::<f64>().ok().filter(|value| value.is_finite());
    match (number(a), number(b)) {
        (Some(one), Some(other)) => one.total_cmp(&other).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => natural(a, b),
    }
}

/// Splits off the digits, or the other letters, that a text begins with.
fn piece(text: &str) -> (&str, &str) {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let is_number = text.starts_with(is_digit);
    let end = text.find(|letter| is_digit(letter) != is_number);
    text.split_at(end.unwrap_or(text.len()))
}

/// The digits of a number without leading zeros; `None` for other letters.
fn digits(piece: &str) -> Option<&str> {
    let is_number = piece.starts_with(|letter: char| letter.is_ascii_digit());
    is_number.then(|| piece.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<'a>(names: &[&'a str], order: fn(&str, &str) -> Ordering) -> Vec<&'a str> {
        let mut names = names.to_vec();
        names.sort_by(|a, b| order(a, b));
        names
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let names = [
            "c100", "c1", "c20", "c5", "c10", "c5-b", "a", "c05", "C2", "",
        ];
        assert_eq!(
            sorted(&names, natural),
            [
                "", "C2", "a", "c1", "c05", "c5", "c5-b", "c10", "c20", "c100"
            ]
        );
        // Longer than any integer, and times of a day.
        assert_eq!(
            natural("x99999999999999999999999", "x100000000000000000000000"),
            Ordering::Less
        );
        assert_eq!(
            natural("t-20261128T172601Z", "t-20261128T172733Z"),
            Ordering::Less
        );
    }

    #[test]
    fn numbers_are_by_size_and_before_words() {
        let values = [
            "100", "off", "1.5", "-3", "20", "batch-10", "batch-9", "1e2",
        ];
        assert_eq!(
            sorted(&values, by_value),
            [
                "-3", "1.5", "20", "100", "1e2", "batch-9", "batch-10", "off"
            ]
        );
    }
}
