//! The turns of sessions: which of them wait on a reply, and when they become due by it.
//!
//! State alone, without time or channels: rows go in as they are read, replies as they end, and turns
//! come out in the order in which they are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::plan::SessionPacing;
use crate::trace::TraceRow;

/// A row and its number in the schedule.
#[derive(Debug)]
pub(super) struct Turn {
    /// Number in the schedule.
    pub(super) index: u64,
    /// The row.
    pub(super) row: TraceRow,
}

/// The turns that are known and not yet due. Memory grows by about 40 bytes with each row that is
/// part of a session, and by the rows that wait.
#[derive(Debug)]
pub(super) struct Turns {
    pacing: SessionPacing,
    requests: HashMap<u64, Request>,
    /// Turns that became due, by due time and then by their number.
    due: BinaryHeap<Reverse<(i64, u64)>>,
    rows: HashMap<u64, TraceRow>,
    waiting: usize,
}

/// What became of a request that others may wait for.
#[derive(Debug)]
enum Request {
    /// It has not ended, and these wait for it.
    Underway(Vec<Turn>),
    /// When its reply ended, in nanoseconds since the start of the schedule.
    Ended(i64),
}

impl Turns {
    pub(super) fn new(pacing: SessionPacing) -> Self {
        Self {
            pacing,
            requests: HashMap::new(),
            due: BinaryHeap::new(),
            rows: HashMap::new(),
            waiting: 0,
        }
    }

    /// Takes a row in. Gives it back where it waits on nothing and is due at its own time.
    ///
    /// A turn whose previous one is not part of the replay waits on nothing.
    pub(super) fn accept(&mut self, index: u64, row: TraceRow) -> Option<Turn> {
        let turn = Turn { index, row };
        let previous = match self.pacing {
            SessionPacing::Trace => None,
            SessionPacing::Think | SessionPacing::Later => turn.row.after,
        };
        if self.pacing != SessionPacing::Trace && turn.row.session_id.is_some() {
            let underway = Request::Underway(Vec::new());
            self.requests.insert(turn.row.number, underway);
        }
        match previous.and_then(|previous| self.requests.get_mut(&previous)) {
            None => Some(turn),
            Some(Request::Underway(followers)) => {
                followers.push(turn);
                self.waiting += 1;
                None
            }
            Some(Request::Ended(end_ns)) => {
                let end_ns = *end_ns;
                self.make_due(turn, end_ns);
                None
            }
        }
    }

    /// Notes that the reply to the request of row `number` has ended.
    pub(super) fn ended(&mut self, number: u64, end_ns: i64) {
        let request = self.requests.insert(number, Request::Ended(end_ns));
        if let Some(Request::Underway(followers)) = request {
            self.waiting -= followers.len();
            for turn in followers {
                self.make_due(turn, end_ns);
            }
        }
    }

    fn make_due(&mut self, turn: Turn, end_ns: i64) {
        let trace_ns = turn.row.arrival_ns;
        let due_ns = match (self.pacing, turn.row.think_ns) {
            (SessionPacing::Think, Some(think_ns)) => end_ns.saturating_add(think_ns),
            (_, think_ns) => trace_ns.max(end_ns.saturating_add(think_ns.unwrap_or(0))),
        };
        self.due.push(Reverse((due_ns, turn.index)));
        self.rows.insert(turn.index, turn.row);
    }

    /// Returns when the next turn is due, of those whose previous reply has ended.
    pub(super) fn next_due_ns(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// Returns the next turn that is due at `until_ns` or before, with its due time as its arrival.
    pub(super) fn pop_due(&mut self, until_ns: i64) -> Option<Turn> {
        if self.next_due_ns()? > until_ns {
            return None;
        }
        let Reverse((due_ns, index)) = self.due.pop()?;
        let mut row = self.rows.remove(&index)?;
        row.arrival_ns = due_ns;
        Some(Turn { index, row })
    }

    /// Returns how many rows are held.
    pub(super) fn held(&self) -> usize {
        self.waiting + self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{SessionPacing, TraceRow, Turn, Turns};

    fn row(number: u64, after: Option<u64>, arrival_ns: i64, think_ns: Option<i64>) -> TraceRow {
        TraceRow {
            number,
            after,
            arrival_ns,
            think_ns,
            session_id: Some("s".to_owned()),
            ..TraceRow::default()
        }
    }

    fn due(turn: Option<Turn>) -> Option<(u64, i64)> {
        turn.map(|turn| (turn.index, turn.row.arrival_ns))
    }

    #[test]
    fn at_trace_time_nothing_waits() {
        let mut turns = Turns::new(SessionPacing::Trace);
        assert!(turns.accept(0, row(0, None, 0, None)).is_some());
        assert!(turns.accept(1, row(1, Some(0), 5, None)).is_some());
        assert_eq!(turns.held(), 0);
    }

    #[test]
    fn a_turn_is_due_a_think_time_after_the_reply() {
        let mut turns = Turns::new(SessionPacing::Think);
        assert!(turns.accept(0, row(0, None, 0, None)).is_some());
        assert!(turns.accept(1, row(1, Some(0), 500, Some(30))).is_none());
        assert!(turns.accept(2, row(2, Some(1), 600, Some(40))).is_none());
        assert_eq!(turns.next_due_ns(), None);
        turns.ended(0, 100);
        assert_eq!(turns.next_due_ns(), Some(130));
        assert!(turns.pop_due(129).is_none());
        assert_eq!(due(turns.pop_due(130)), Some((1, 130)));
        turns.ended(1, 1_000);
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((2, 1_040)));
        assert_eq!(turns.held(), 0);
    }

    #[test]
    fn the_later_of_both_times_holds() {
        let mut turns = Turns::new(SessionPacing::Later);
        assert!(turns.accept(0, row(0, None, 0, None)).is_some());
        assert!(turns.accept(1, row(1, Some(0), 500, Some(30))).is_none());
        turns.ended(0, 100);
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((1, 500)));
        turns.ended(1, 700);
        assert!(turns.accept(2, row(2, Some(1), 600, None)).is_none());
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((2, 700)));
    }

    #[test]
    fn without_a_think_time_neither_the_trace_nor_the_reply_is_overtaken() {
        let mut turns = Turns::new(SessionPacing::Think);
        assert!(turns.accept(0, row(0, None, 0, None)).is_some());
        turns.accept(1, row(1, Some(0), 500, None));
        turns.ended(0, 100);
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((1, 500)));
    }

    #[test]
    fn a_turn_without_its_previous_one_waits_on_nothing() {
        let mut turns = Turns::new(SessionPacing::Think);
        assert!(turns.accept(0, row(7, Some(3), 10, Some(5))).is_some());
    }

    #[test]
    fn several_turns_can_follow_one_reply() {
        let mut turns = Turns::new(SessionPacing::Think);
        assert!(turns.accept(0, row(0, None, 0, None)).is_some());
        turns.accept(1, row(1, Some(0), 0, Some(20)));
        turns.accept(2, row(2, Some(0), 0, Some(10)));
        assert_eq!(turns.held(), 2);
        turns.ended(0, 0);
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((2, 10)));
        assert_eq!(due(turns.pop_due(i64::MAX)), Some((1, 20)));
    }
}
