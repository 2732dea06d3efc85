//! Puts small disorder right while rows stream by.
//!
//! Rows wait in a heap of bounded size. The oldest leaves when the heap is full, so a row that
//! stands at most that many rows too late in the file comes out where it belongs. Rows with equal
//! times keep the order of the file.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row came that is older than one that has already left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLate<T> {
    /// The row.
    pub(super) item: T,
    /// How much older it is, in nanoseconds.
    pub(super) back_ns: u64,
}

/// A bounded look-ahead over rows with a time.
#[derive(Debug)]
pub(super) struct Reorder<T> {
    look_ahead: usize,
    heap: BinaryHeap<Waiting<T>>,
    taken: u64,
    left_ns: Option<i64>,
    out_of_order: u64,
    latest_ns: i64,
}

impl<T> Reorder<T> {
    /// Returns an empty look-ahead of `look_ahead` rows.
    pub(super) fn new(look_ahead: usize) -> Self {
        Self {
            look_ahead,
            heap: BinaryHeap::new(),
            taken: 0,
            left_ns: None,
            out_of_order: 0,
            latest_ns: i64::MIN,
        }
    }

    /// Takes a row in; gives the oldest one out where the look-ahead is full.
    pub(super) fn push(&mut self, at_ns: i64, item: T) -> Result<Option<(i64, T)>, TooLate<T>> {
        if let Some(left_ns) = self.left_ns.filter(|&left_ns| at_ns < left_ns) {
            let back_ns = left_ns.abs_diff(at_ns);
            return Err(TooLate { item, back_ns });
        }
        if at_ns < self.latest_ns {
            self.out_of_order += 1;
        }
        self.latest_ns = self.latest_ns.max(at_ns);
        self.heap.push(Waiting {
            at_ns,
            order: self.taken,
            item,
        });
        self.taken += 1;
        if self.heap.len() > self.look_ahead {
            return Ok(self.pop());
        }
        Ok(None)
    }

    /// Gives the oldest row out.
    pub(super) fn pop(&mut self) -> Option<(i64, T)> {
        let oldest = self.heap.pop()?;
        self.left_ns = Some(oldest.at_ns);
        Some((oldest.at_ns, oldest.item))
    }

    /// Returns the times of the rows that wait, in no order.
    pub(super) fn times_ns(&self) -> impl Iterator<Item = i64> {
        self.heap.iter().map(|waiting| waiting.at_ns)
    }

    /// Returns how many rows came after a younger one.
    pub(super) fn out_of_order(&self) -> u64 {
        self.out_of_order
    }
}

#[derive(Debug)]
struct Waiting<T> {
    at_ns: i64,
    order: u64,
    item: T,
}

impl<T> Ord for Waiting<T> {
    /// Reversed, because the standard heap gives its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Waiting<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reorder, TooLate};

    fn reorder_all(look_ahead: usize, times: &[i64]) -> Result<Vec<(i64, usize)>, TooLate<usize>> {
        let mut reorder = Reorder::new(look_ahead);
        let mut out = Vec::new();
        for (index, &at_ns) in times.iter().enumerate() {
            out.extend(reorder.push(at_ns, index)?);
        }
        out.extend(std::iter::from_fn(|| reorder.pop()));
        Ok(out)
    }

    #[test]
    fn rows_in_order_stay_as_they_are() {
        let out = reorder_all(2, &[1, 1, 2, 3, 3, 3]).unwrap();
        assert_eq!(out, [(1, 0), (1, 1), (2, 2), (3, 3), (3, 4), (3, 5)]);
    }

    #[test]
    fn a_row_further_back_than_the_look_ahead_is_refused() {
        assert!(reorder_all(3, &[5, 6, 7, 1]).is_ok());
        assert_eq!(
            reorder_all(2, &[5, 6, 7, 1]).unwrap_err(),
            TooLate {
                item: 3,
                back_ns: 4
            }
        );
    }

    #[test]
    fn late_rows_are_counted() {
        let mut reorder = Reorder::new(10);
        for at_ns in [1, 3, 2, 2, 4] {
            reorder.push(at_ns, ()).unwrap();
        }
        assert_eq!(reorder.out_of_order(), 2);
    }

    proptest! {
        #[test]
        fn what_fits_the_look_ahead_comes_out_as_a_stable_sort(
            times in prop::collection::vec(-50_i64..50, 0..200),
        ) {
            let mut expected: Vec<(i64, usize)> =
                times.iter().enumerate().map(|(index, &at_ns)| (at_ns, index)).collect();
            expected.sort();
            prop_assert_eq!(reorder_all(200, &times).unwrap(), expected);
        }

        #[test]
        fn a_row_displaced_by_at_most_the_look_ahead_is_put_right(
            gaps in prop::collection::vec(0_i64..5, 1..300),
            look_ahead in 1_usize..20,
            seed in any::<u64>(),
        ) {
            // Sorted blocks of `look_ahead` rows are shuffled: no row moves further than that.
            let mut times: Vec<i64> = gaps
                .iter()
                .scan(0, |at_ns, gap| { *at_ns += gap; Some(*at_ns) })
                .collect();
            let sorted = times.clone();
            for (block, rows) in times.chunks_mut(look_ahead).enumerate() {
                let mut draw = crate::draw::Draw::new(seed, block as u64, 0);
                for last in (1..rows.len()).rev() {
                    let other = usize::try_from(draw.below(last as u64 + 1)).unwrap();
                    rows.swap(last, other);
                }
            }
            let out: Vec<i64> = reorder_all(look_ahead, &times)
                .unwrap()
                .into_iter()
                .map(|(at_ns, _)| at_ns)
                .collect();
            prop_assert_eq!(out, sorted);
        }

        #[test]
        fn what_comes_out_never_goes_back(
            times in prop::collection::vec(0_i64..1000, 0..200),
            look_ahead in 0_usize..50,
        ) {
            if let Ok(out) = reorder_all(look_ahead, &times) {
                prop_assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0));
                prop_assert_eq!(out.len(), times.len());
            }
        }
    }
}
