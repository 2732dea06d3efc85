//! The servers of a run, and which of them a request goes to.

use crate::capture::Label;
use crate::draw::hash_text;
use crate::plan::UrlStrategy;
use crate::wire::Wire;

/// The ways to the servers of a run.
pub struct Targets<W> {
    wires: Vec<(W, Option<Label>)>,
    strategy: UrlStrategy,
}

/// One server, of which the tape has no name.
impl<W> From<W> for Targets<W> {
    fn from(wire: W) -> Self {
        Self {
            wires: vec![(wire, None)],
            strategy: UrlStrategy::default(),
        }
    }
}

impl<W> Targets<W> {
    /// Makes the ways to several servers, each with the name that it has on the tape.
    pub(super) fn several(wires: Vec<(W, Option<Label>)>, strategy: UrlStrategy) -> Self {
        Self { wires, strategy }
    }

    /// Which server a request goes to: the same one whoever asks, and whenever.
    pub(super) fn of(&self, request_id: u64, session_id: Option<&str>) -> usize {
        let count = (self.wires.len() as u64).max(1);
        let number = match (self.strategy, session_id) {
            (UrlStrategy::Session, Some(session)) => hash_text(session),
            _ => request_id,
        };
        usize::try_from(number % count).unwrap_or(0)
    }

    pub(super) fn wire(&self, target: usize) -> &W {
        &self.wires[target].0
    }

    /// The name of a server on the tape.
    pub(super) fn name(&self, target: usize) -> Option<Label> {
        self.wires[target].1.clone()
    }

    /// The numbers of all servers.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.wires.len()
    }
}

impl<W: Wire> Targets<W> {
    /// Has that many connections open to each server.
    pub(super) async fn warm(&self, wanted: &[usize]) {
        let pairs = self.wires.iter().zip(wanted);
        futures::future::join_all(pairs.map(|((wire, _), wanted)| wire.warm(*wanted))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_turns_and_sessions_stay_where_they_are() {
        let three = |strategy| Targets {
            wires: vec![((), None), ((), None), ((), None)],
            strategy,
        };
        let turns = three(UrlStrategy::RoundRobin);
        let of_requests: Vec<_> = (0..6).map(|id| turns.of(id, Some("s"))).collect();
        assert_eq!(of_requests, [0, 1, 2, 0, 1, 2]);
        let sessions = three(UrlStrategy::Session);
        let of =
            |session: &str| -> Vec<_> { (0..6).map(|id| sessions.of(id, Some(session))).collect() };
        let mut seen: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(of).to_vec();
        assert!(
            seen.iter()
                .all(|of_one| of_one.iter().all(|it| *it == of_one[0]))
        );
        seen.dedup();
        assert!(seen.len() > 1, "{seen:?}");
        // What belongs to no session goes by its number.
        assert_eq!(sessions.of(4, None), 1);
        assert_eq!(Targets::from(()).of(9, Some("s")), 0);
    }
}
