//! The series of one source: each sample of a page gets the number of its series, and becomes a row.
//!
//! Everything is bounded, since a page is somebody else's: series, and the bytes of their names and
//! labels. What lies beyond is left out and counted.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::prometheus::{Sample, lines, sample};
use crate::capture::Label;
use crate::capture::schema::ServerRow;
use crate::secrets::Secrets;
use crate::throttle::CpuThrottle;

/// Series of one source at most.
const MOST_SERIES: usize = 5_000;

/// Bytes of a name and its labels at most.
const MOST_SERIES_BYTES: usize = 4 << 10;

/// Bytes of all names and labels of one source at most.
const MOST_BYTES: usize = 4 << 20;

/// What it takes to read one sample, in microseconds.
const SAMPLE_US: u32 = 1;

/// The series of one source.
pub(super) struct SeriesBook {
    source: Label,
    secrets: Secrets,
    /// The next number of a series; all sources of a run draw from it.
    next: Arc<AtomicU32>,
    /// By name, then by labels.
    known: HashMap<String, HashMap<String, Known>>,
    count: usize,
    bytes: usize,
    /// The page before this one, and which of its lines are of series that are kept by change: most lines of
    /// a page stay as they are, and such a one need not be read again.
    page: String,
    stays: Vec<bool>,
    throttle: CpuThrottle,
}

/// One series.
struct Known {
    number: u32,
    name: Label,
    labels: Option<Label>,
    /// The value that the tape has last, where only changes are kept.
    last: Option<u64>,
}

/// What a page came to.
pub(super) struct Taken {
    pub(super) rows: Vec<ServerRow>,
    /// Samples and lines that are left out.
    pub(super) left_out: u64,
    /// Samples that the page has.
    pub(super) samples: usize,
}

impl SeriesBook {
    /// A book of a source; names and labels are masked.
    pub(super) fn new(source: &str, secrets: Secrets, next: Arc<AtomicU32>) -> Self {
        Self {
            source: source.into(),
            secrets,
            next,
            known: HashMap::new(),
            count: 0,
            bytes: 0,
            page: String::new(),
            stays: Vec::new(),
            throttle: CpuThrottle::default(),
        }
    }

    /// Series so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Makes rows of a page that was read at that time.
    pub(super) fn take(&mut self, page: &str, at_ns: i64) -> Taken {
        let mut taken = Taken {
            rows: Vec::with_capacity(self.count),
            left_out: 0,
            samples: 0,
        };
        let (page_before, stayed) = (mem::take(&mut self.page), mem::take(&mut self.stays));
        let mut before = lines(&page_before).zip(stayed);
        for line in lines(page) {
            let stays = if before.next() == Some((line, true)) {
                taken.samples += 1;
                true
            } else {
                self.throttle.after(SAMPLE_US);
                self.take_line(line, at_ns, &mut taken)
            };
            self.stays.push(stays);
        }
        page.clone_into(&mut self.page);
        taken
    }

    /// Makes a row of a line, where its series has to have one. Returns whether the line need not be read
    /// again while it stays as it is.
    fn take_line(&mut self, line: &str, at_ns: i64, taken: &mut Taken) -> bool {
        let Some(sample) = sample(line) else {
            taken.left_out += 1;
            return false;
        };
        taken.samples += 1;
        let source = self.source.clone();
        let is_by_change = is_kept_by_change(sample.name);
        let Some(series) = self.series(&sample) else {
            taken.left_out += 1;
            return false;
        };
        let bits = sample.value.to_bits();
        if is_by_change && series.last.replace(bits) == Some(bits) {
            return true;
        }
        taken.rows.push(ServerRow {
            at_ns,
            series: series.number,
            source: Some(source),
            name: Some(series.name.clone()),
            labels: series.labels.clone(),
            value: Some(sample.value).filter(|value| !value.is_nan()),
        });
        is_by_change
    }

    /// Finds the series of a sample, or enters it; none where it is beyond a bound.
    fn series(&mut self, sample: &Sample<'_>) -> Option<&mut Known> {
        let labels = sample.labels.as_ref();
        let is_known = self
            .known
            .get(sample.name)
            .is_some_and(|named| named.contains_key(labels));
        if !is_known {
            let bytes = sample.name.len() + labels.len();
            if self.count >= MOST_SERIES
                || bytes > MOST_SERIES_BYTES
                || self.bytes + bytes > MOST_BYTES
            {
                return None;
            }
            let masked = |text: &str| Label::from(self.secrets.mask(text).as_ref());
            let known = Known {
                number: self.next.fetch_add(1, Ordering::Relaxed),
                name: masked(sample.name),
                labels: (!labels.is_empty()).then(|| masked(labels)),
                last: None,
            };
            self.count += 1;
            self.bytes += bytes;
            let named = self.known.entry(sample.name.to_owned()).or_default();
            named.insert(labels.to_owned(), known);
        }
        self.known.get_mut(sample.name)?.get_mut(labels)
    }
}

/// Says whether a series has rows only where it changes. Buckets are most of every page, only ever
/// rise, and are read by their difference.
fn is_kept_by_change(name: &str) -> bool {
    name.ends_with("_bucket") || name.ends_with("_created")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> SeriesBook {
        SeriesBook::new("host", Secrets::new(["t0ken-of-mine"]), Arc::default())
    }

    #[test]
    fn a_series_keeps_its_number_and_null_stands_for_nan() {
        let mut book = book();
        let rows = book.take("a 1\nb{x=\"1\"} NaN\nb{x=\"2\"} 3\nno sample", 7);
        assert_eq!((rows.left_out, rows.samples), (1, 3));
        let spelled = |taken: Taken| -> Vec<_> {
            let rows = taken.rows.into_iter();
            rows.map(|row| (row.at_ns, row.series, row.value)).collect()
        };
        let first = spelled(rows);
        assert_eq!(first, [(7, 0, Some(1.0)), (7, 1, None), (7, 2, Some(3.0))]);
        let again = spelled(book.take("b{x=\"2\"} 4\na 1", 8));
        assert_eq!(again, [(8, 2, Some(4.0)), (8, 0, Some(1.0))]);
    }

    #[test]
    fn buckets_have_rows_where_they_change() {
        let mut book = book();
        let page = "t_bucket{le=\"1\"} 2\nt_count 2";
        assert_eq!(book.take(page, 0).rows.len(), 2);
        assert_eq!(book.take(page, 1).rows.len(), 1);
        let page = "t_bucket{le=\"1\"} 3\nt_count 3";
        assert_eq!(book.take(page, 2).rows.len(), 2);
        // Lines that move, and come back.
        let page = "new 1\nt_bucket{le=\"1\"} 3\nt_bucket{le=\"2\"} 9";
        for (at_ns, rows) in [(3, 2), (4, 1), (5, 1)] {
            let taken = book.take(page, at_ns);
            assert_eq!((taken.rows.len(), taken.samples), (rows, 3), "{at_ns}");
        }
        let back = book.take("t_bucket{le=\"2\"} 9\nt_bucket{le=\"1\"} 2", 6);
        assert_eq!((back.rows.len(), back.rows[0].value), (1, Some(2.0)));
    }

    #[test]
    fn series_beyond_the_bounds_are_left_out_and_counted() {
        let mut book = book();
        let page: String = (0..MOST_SERIES + 9)
            .map(|n| format!("m{{n=\"{n}\"}} 1\n"))
            .collect();
        let taken = book.take(&page, 0);
        assert_eq!((taken.rows.len(), taken.left_out), (MOST_SERIES, 9));
        // Those that are known stay.
        assert_eq!(book.take("m{n=\"3\"} 1\nnew 1", 1).rows.len(), 1);
        let mut book = self::book();
        let long = format!("m{{n=\"{}\"}} 1", "x".repeat(MOST_SERIES_BYTES));
        assert_eq!(book.take(&long, 0).left_out, 1);
        let large: String = (0..1_100)
            .map(|n| format!("m{{n=\"{n}{}\"}} 1\n", "x".repeat(4_000)))
            .collect();
        let taken = book.take(&large, 0);
        assert!(taken.left_out > 0 && book.bytes <= MOST_BYTES);
    }

    #[test]
    fn a_secret_that_a_page_repeats_is_masked() {
        let rows = book()
            .take("m{url=\"http://h/?k=t0ken-of-mine\"} 1", 0)
            .rows;
        let labels = rows[0].labels.as_ref().map(Label::as_str);
        assert_eq!(labels, Some("url=\"http://h/?k=***\""));
    }
}
