//! A sample of a file's records, in bounded memory.
//!
//! Each record has a key, which is a draw of its number in the file, or that number. Those with the
//! smallest keys are kept, in the order of their keys: a smaller sample is the beginning of a larger one,
//! and the same seed takes the same records however the file is read.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::records::Wants;
use crate::draw::{Draw, field};

/// Bytes of records that are looked at before a sample is full.
const ENOUGH_BYTES: usize = if cfg!(test) { 16 << 10 } else { 64 << 20 };

/// Which records are kept, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By draws of this seed.
    Drawn(u64),
    /// As they stand in the file.
    OfFile,
}

/// The records with the smallest keys so far.
pub(super) struct Sample<T> {
    order: Order,
    most: u64,
    max_bytes: usize,
    kept: BinaryHeap<Keyed<T>>,
    bytes: usize,
    /// Records so far, with those that were passed over.
    read: u64,
    /// Records so far that could have been kept, and their bytes.
    offered: u64,
    offered_bytes: usize,
}

struct Keyed<T> {
    key: u64,
    bytes: usize,
    record: T,
}

impl<T> PartialEq for Keyed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Keyed<T> {}

impl<T> PartialOrd for Keyed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Keyed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> Sample<T> {
    /// Keeps at most `most` records of `max_bytes` together.
    pub(super) fn new(order: Order, most: u64, max_bytes: usize) -> Self {
        Self {
            order,
            most,
            max_bytes,
            kept: BinaryHeap::new(),
            bytes: 0,
            read: 0,
            offered: 0,
            offered_bytes: 0,
        }
    }

    /// Passes over a record that can't be sent.
    pub(super) fn skip(&mut self) {
        self.read += 1;
    }

    /// Offers a record that takes so many bytes, which is made only where it is kept.
    pub(super) fn offer(&mut self, bytes: usize, make: impl FnOnce() -> T) {
        let key = match self.order {
            Order::Drawn(seed) => Draw::new(seed, self.read, field::DATASET_ROW).next(),
            Order::OfFile => self.read,
        };
        self.read += 1;
        self.offered += 1;
        self.offered_bytes = self.offered_bytes.saturating_add(bytes);
        let is_full = self.kept.len() as u64 >= self.most;
        if is_full && self.kept.peek().is_none_or(|last| last.key <= key) {
            return;
        }
        self.bytes += bytes;
        self.kept.push(Keyed {
            key,
            bytes,
            record: make(),
        });
        while (self.kept.len() as u64 > self.most || self.bytes > self.max_bytes)
            && let Some(last) = self.kept.pop()
        {
            self.bytes -= last.bytes;
        }
    }

    /// Whether more records are wanted: a large file is not read to its end where it has given as many as
    /// are kept and more.
    pub(super) fn wants(&self) -> Wants {
        let is_full = self.kept.len() as u64 >= self.most || self.bytes >= self.max_bytes / 2;
        match is_full && self.offered_bytes >= ENOUGH_BYTES {
            true => Wants::NoMore,
            false => Wants::More,
        }
    }

    /// Records that were passed over.
    pub(super) fn skipped(&self) -> u64 {
        self.read - self.offered
    }

    /// Records that could have been kept.
    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    /// Returns what was kept, in the order of the keys.
    pub(super) fn into_records(self) -> impl Iterator<Item = T> {
        let in_order = self.kept.into_sorted_vec().into_iter();
        in_order.map(|keyed| keyed.record)
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Sample, Wants};

    fn sampled(most: u64, max_bytes: usize) -> Vec<u64> {
        in_order(Order::Drawn(7), most, max_bytes)
    }

    fn in_order(order: Order, most: u64, max_bytes: usize) -> Vec<u64> {
        let mut sample = Sample::new(order, most, max_bytes);
        for number in 0..1_000 {
            if number % 10 == 9 {
                sample.skip();
            } else {
                sample.offer(10, || number);
            }
        }
        assert_eq!(sample.offered(), 900);
        sample.into_records().collect()
    }

    #[test]
    fn a_full_sample_of_a_large_file_wants_no_more() {
        let mut sample = Sample::new(Order::Drawn(7), 3, usize::MAX);
        let mut number = 0;
        while sample.wants() == Wants::More {
            sample.offer(1 << 10, || number);
            number += 1;
        }
        assert_eq!(number, 16);
        let mut small = Sample::new(Order::Drawn(7), 100, usize::MAX);
        small.offer(1 << 20, || 0);
        assert_eq!(small.wants(), Wants::More, "it is not full");
    }

    #[test]
    fn a_smaller_sample_is_the_beginning_of_a_larger_one() {
        let all = sampled(1_000, usize::MAX);
        assert_eq!(all.len(), 900);
        assert!(!all.is_sorted(), "the order is drawn");
        assert_eq!(sampled(25, usize::MAX), all[..25]);
        assert_eq!(sampled(1_000, 259), all[..25], "by bytes as by number");
        assert!(sampled(0, usize::MAX).is_empty());
        let first = in_order(Order::OfFile, 10, usize::MAX);
        assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]);
    }
}
