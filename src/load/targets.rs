//! The servers of a run, and which of them a request goes to.

use crate::capture::Label;
use crate::capture::schema::ErrorKind;
use crate::draw::hash_text;
use crate::plan::UrlStrategy;
use crate::wire::{Wire, WireError};

/// The ways to the servers of a run.
pub struct Targets<W> {
    ways: Vec<Way<W>>,
    strategy: UrlStrategy,
}

/// The way to one server.
pub(super) struct Way<W> {
    pub(super) wire: W,
    /// The server's name on the tape; none where it is the only one.
    pub(super) name: Option<Label>,
    /// Its host and port; empty where they are not known.
    pub(super) address: String,
}

/// One server, of which nothing more is known.
impl<W> From<W> for Targets<W> {
    fn from(wire: W) -> Self {
        let way = Way {
            wire,
            name: None,
            address: String::new(),
        };
        Self {
            ways: vec![way],
            strategy: UrlStrategy::default(),
        }
    }
}

impl<W> Targets<W> {
    /// Puts together the ways to several servers.
    pub(super) fn several(ways: Vec<Way<W>>, strategy: UrlStrategy) -> Self {
        Self { ways, strategy }
    }

    /// Which server a request goes to: the same one whoever asks, and whenever.
    pub(super) fn of(&self, request_id: u64, session_id: Option<&str>) -> usize {
        let count = (self.ways.len() as u64).max(1);
        let number = match (self.strategy, session_id) {
            (UrlStrategy::Session, Some(session)) => hash_text(session),
            _ => request_id,
        };
        usize::try_from(number % count).unwrap_or(0)
    }

    pub(super) fn wire(&self, target: usize) -> &W {
        &self.ways[target].wire
    }

    /// The name of a server on the tape.
    pub(super) fn name(&self, target: usize) -> Option<Label> {
        self.ways[target].name.clone()
    }

    /// Adds to what went wrong on the way to a server which one that was: the system's own words name
    /// no address.
    pub(super) fn with_address(&self, target: usize, mut error: WireError) -> WireError {
        let address = &self.ways[target].address;
        let is_about_the_way = matches!(
            error.kind,
            ErrorKind::Dns | ErrorKind::Connect | ErrorKind::Tls | ErrorKind::TimeoutConnect
        );
        if is_about_the_way && !address.is_empty() {
            error.message = format!("{} (connecting to {address})", error.message);
        }
        error
    }

    /// The numbers of all servers.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.ways.len()
    }
}

impl<W: Wire> Targets<W> {
    /// Has that many connections open to each server.
    pub(super) async fn warm(&self, wanted: &[usize]) {
        let pairs = self.ways.iter().zip(wanted);
        futures::future::join_all(pairs.map(|(way, wanted)| way.wire.warm(*wanted))).await;
    }

    /// How many connections to each server wait for a request; `None` where its wire can't tell.
    pub(super) fn idle(&self) -> Vec<Option<usize>> {
        self.ways.iter().map(|way| way.wire.idle()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(address: &str) -> Way<()> {
        Way {
            wire: (),
            name: None,
            address: address.to_owned(),
        }
    }

    #[test]
    fn what_went_wrong_on_the_way_to_a_server_names_it() {
        let targets = Targets::several(vec![way("a:1"), way("b:2")], UrlStrategy::RoundRobin);
        let said = |kind| {
            let message = "refused".to_owned();
            targets.with_address(1, WireError { kind, message }).message
        };
        assert_eq!(said(ErrorKind::Connect), "refused (connecting to b:2)");
        assert_eq!(
            said(ErrorKind::TimeoutConnect),
            "refused (connecting to b:2)"
        );
        assert_eq!(said(ErrorKind::Send), "refused");
    }

    #[test]
    fn requests_take_turns_and_sessions_stay_where_they_are() {
        let three = |strategy| Targets {
            ways: vec![way("a:1"), way("b:2"), way("c:3")],
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
