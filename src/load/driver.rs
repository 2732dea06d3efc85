//! The driver: sends each request when it is due, whatever the server does.
//!
//! Two send times are kept apart for every request: when it was due and when it went out. A
//! driver that falls behind sends late and says so; it never skips, drops or re-anchors.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::attempt::Shared;
use super::attempts::attempt_all;
use super::limits::Limits;
use super::prepared::PreparedRequest;
use super::recorder::Recorder;
use super::stop::Stop;
use super::supply::{Supplied, Supply};
use super::targets::Targets;
use crate::capture::schema::Status;
use crate::time::clock::Clock;
use crate::time::timer::PreciseTimer;
use crate::wire::Wire;

/// Requests that are due and wait for a slot at most; later ones wait in the feed.
const MAX_QUEUED: usize = 16_384;

/// Requests that are looked at before they are due.
const LOOK_AHEAD: usize = 1_024;

/// Requests that are due within this time of each other need a connection each.
const TOGETHER_NS: i64 = 2_000_000;

/// How long before requests are due connections are opened for them.
const WARM_AHEAD_NS: i64 = 100_000_000;

/// How much further is looked, so as not to look all the time.
const WARM_STEP_NS: i64 = 20_000_000;

/// Time that connections have to be opened before a schedule starts.
const WARM_PATIENCE: Duration = Duration::from_secs(2);

/// Rows of requests that were due and never sent, beyond which they are counted alone.
const NOT_SENT_ROWS: u64 = if cfg!(test) { 300 } else { 100_000 };

/// Time that the feed has, after a stop, to hand over what was due before it.
const FEED_PATIENCE: Duration = Duration::from_millis(500);

/// What a drive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driven {
    /// The schedule ran to its end; false after a stop from outside or when the tape was lost.
    pub is_complete: bool,
    /// Requests that were sent or noted as never sent.
    pub taken: u64,
    /// Those of them that were never sent and have no row.
    pub unwritten: u64,
    /// The run was ended early, since all requests had failed alike.
    pub has_given_up: bool,
    /// Requests that the driver's own bound on requests in flight held back.
    pub in_flight_bound_hits: u64,
    /// Requests that were due and not taken up, since the queue of those that wait was full.
    pub queue_bound_hits: u64,
    /// Attempts that ended in a fault of this program; their rows stay `interrupted`.
    pub faults: u64,
}

/// Drives one schedule after another.
pub struct Driver<W> {
    shared: Arc<Shared<W>>,
    stop: watch::Receiver<Stop>,
    timer: PreciseTimer,
    /// Taken from the feed before the schedule began.
    ahead: VecDeque<PreparedRequest>,
    /// Requests that are due and wait for a slot, for the probes.
    queued: Arc<AtomicUsize>,
}

/// How sending came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// All of the schedule has gone out.
    Done,
    /// The duration is over.
    AtEnd,
    /// It was stopped.
    Stopped,
}

/// A request that is over.
struct Ended {
    /// The attempt ended in a fault of this program.
    is_fault: bool,
    /// When its slot became free.
    end_ns: i64,
}

/// The state of one drive.
struct Drive {
    start_ns: i64,
    end_ns: Option<i64>,
    /// The schedule's next requests, not yet due.
    ahead: VecDeque<PreparedRequest>,
    /// What is due before this needs no more connections than are open or being opened.
    warm_until_ns: i64,
    warming: JoinSet<()>,
    is_exhausted: bool,
    /// Requests that are due and wait for a slot, with their due time on the log's axis.
    due: VecDeque<(i64, PreparedRequest)>,
    /// When each free slot became free; the longest free one first.
    free_slots: VecDeque<i64>,
    is_capped_by_user: bool,
    /// When the queue was last found full. What was due by then was held back by it.
    queue_full_ns: i64,
    tasks: JoinSet<Ended>,
    driven: Driven,
}

impl<W: Wire> Driver<W> {
    /// Makes a driver. `stop` is the user's wish; raising it to [`Stop::Leave`] gives up at once.
    pub fn new(
        targets: Targets<W>,
        (clock, timer): (Clock, PreciseTimer),
        recorder: Arc<Recorder>,
        limits: Limits,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let shared = Shared {
            targets,
            clock,
            recorder,
            limits,
            stop: stop.clone(),
            next_key: AtomicU32::new(0),
        };
        Self {
            shared: Arc::new(shared),
            stop,
            timer,
            ahead: VecDeque::new(),
            queued: Arc::default(),
        }
    }

    /// How many requests are due and wait for a slot.
    pub(super) fn queued(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.queued)
    }

    /// Opens the connections that the schedule's first requests need, as far as the feed has
    /// prepared these. Returns how many to each server are open, where the wire can tell.
    pub async fn get_ready(&mut self, supply: &mut Supply) -> Vec<Option<usize>> {
        while self.ahead.len() < LOOK_AHEAD
            && let Some(planned) = supply.try_recv()
        {
            self.ahead.push_back(planned);
        }
        // Of a closed loop all slots are free when it starts.
        let due = |planned: &PreparedRequest| Some(planned.intended_ns.unwrap_or(0));
        let mut wanted = self.connections_wanted(&self.ahead, due, WARM_AHEAD_NS);
        let limits = &self.shared.limits;
        let slots = limits.max_concurrency.unwrap_or(limits.max_in_flight);
        for wanted in &mut wanted {
            *wanted = (*wanted).max(limits.prewarm_connections).min(slots);
        }
        // A server that cannot be reached is for the requests to find out.
        let _ = timeout(WARM_PATIENCE, self.shared.targets.warm(&wanted)).await;
        self.shared.targets.idle()
    }

    /// Drives the schedule that comes out of `supply`, starting at `start_ns` on the clock and
    /// lasting at most `duration_ns`.
    ///
    /// Returns when every request has ended or has been given up.
    pub async fn drive(
        &mut self,
        supply: &mut Supply,
        start_ns: i64,
        duration_ns: Option<i64>,
    ) -> Driven {
        let limits = &self.shared.limits;
        let slots = limits.max_concurrency.unwrap_or(limits.max_in_flight);
        let mut drive = Drive {
            start_ns,
            end_ns: duration_ns.map(|length_ns| start_ns.saturating_add(length_ns)),
            ahead: std::mem::take(&mut self.ahead),
            warm_until_ns: i64::MIN,
            warming: JoinSet::new(),
            is_exhausted: false,
            due: VecDeque::new(),
            free_slots: std::iter::repeat_n(start_ns, slots).collect(),
            is_capped_by_user: self.shared.limits.max_concurrency.is_some(),
            queue_full_ns: i64::MIN,
            tasks: JoinSet::new(),
            driven: Driven {
                is_complete: true,
                taken: 0,
                unwritten: 0,
                has_given_up: false,
                in_flight_bound_hits: 0,
                queue_bound_hits: 0,
                faults: 0,
            },
        };
        match self.send_all(&mut drive, supply).await {
            Sending::Done => drive.driven.is_complete = self.wait_for_all(&mut drive).await,
            Sending::AtEnd => {
                self.send_rest(&mut drive, supply).await;
                self.note_not_sent(&mut drive, supply).await;
            }
            Sending::Stopped => {
                drive.driven.is_complete = false;
                self.note_not_sent(&mut drive, supply).await;
            }
        }
        self.drain(&mut drive).await;
        self.shared.recorder.flush().await;
        drive.driven
    }

    /// Waits until every request has ended or the duration is over. Returns false when it was
    /// stopped before.
    async fn wait_for_all(&mut self, drive: &mut Drive) -> bool {
        let recorder = Arc::clone(&self.shared.recorder);
        let mut stop = self.stop.clone();
        let end = drive.end_ns.map(|end_ns| self.shared.clock.instant(end_ns));
        let mut duration = std::pin::pin!(async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        });
        while !drive.tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = drive.tasks.join_next() => self.note_end(drive, ended),
                _ = stop.wait_for(|stop| *stop != Stop::No) => return false,
                () = recorder.closed() => return false,
                // What is in flight then has the drain time, as after any other end.
                () = &mut duration => return true,
            }
        }
        // A request that waited for another attempt ends by the stop itself.
        *stop.borrow() == Stop::No
    }

    /// Sends until the schedule or the duration is over.
    async fn send_all(&mut self, drive: &mut Drive, supply: &mut Supply) -> Sending {
        let clock = self.shared.clock;
        let recorder = Arc::clone(&self.shared.recorder);
        let mut stop = self.stop.clone();
        loop {
            let now_ns = clock.now_ns();
            let is_at_end = drive.end_ns.is_some_and(|end_ns| now_ns >= end_ns);
            if is_at_end && (!drive.is_over() || supply.may_have_turns()) {
                return Sending::AtEnd;
            }
            if self.shared.is_hopeless() {
                drive.driven.has_given_up = true;
                return Sending::Stopped;
            }
            drive.take_due(now_ns);
            self.warm_ahead(drive, now_ns);
            while let Some((row_due_ns, queued_ns, planned)) = drive.next_sendable(clock.now_ns()) {
                self.send(drive, row_due_ns, queued_ns, planned);
            }
            self.show_queue(drive);
            if drive.is_over() && !supply.may_have_turns() {
                return Sending::Done;
            }
            let wishes = [drive.next_due_ns(), drive.end_ns, drive.next_warm_ns()];
            let wake_ns = wishes.into_iter().flatten().min().unwrap_or(i64::MAX);
            let is_reading = drive.ahead.len() < LOOK_AHEAD && !drive.is_exhausted;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => return Sending::Stopped,
                () = recorder.closed() => return Sending::Stopped,
                Some(ended) = drive.tasks.join_next(), if !drive.tasks.is_empty() => {
                    self.note_end(drive, ended);
                }
                supplied = supply.next(is_reading) => drive.take_in(supplied),
                () = self.timer.sleep_until(&clock, wake_ns), if wake_ns < i64::MAX => {}
            }
        }
    }

    /// Sends what was due before the duration was over and could not go out, for as long as the drain
    /// lasts.
    async fn send_rest(&mut self, drive: &mut Drive, supply: &mut Supply) {
        let clock = self.shared.clock;
        let recorder = Arc::clone(&self.shared.recorder);
        let mut stop = self.stop.clone();
        let end_ns = drive.end_ns.unwrap_or_else(|| clock.now_ns());
        let until_ns = end_ns.saturating_add(self.shared.limits.drain_ns);
        loop {
            drive.take_due(end_ns.saturating_sub(1));
            while let Some((due_ns, queued_ns, planned)) = drive.next_waiting() {
                self.send(drive, due_ns, queued_ns, planned);
            }
            self.show_queue(drive);
            let now_ns = clock.now_ns();
            let next = drive.ahead.front();
            let is_more_due = match next.map(|planned| drive.due_ns(planned)) {
                None => !drive.is_exhausted,
                Some(due_ns) => due_ns.is_some_and(|due_ns| due_ns < end_ns),
            };
            if now_ns >= until_ns || (drive.due.is_empty() && !is_more_due) {
                return;
            }
            let is_reading = drive.ahead.len() < LOOK_AHEAD && !drive.is_exhausted;
            // A feed that has nothing at hand has nothing that was due.
            let is_feed_asked = drive.due.is_empty() && drive.ahead.is_empty();
            let patience = clock.instant(until_ns);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => break,
                () = recorder.closed() => break,
                Some(ended) = drive.tasks.join_next(), if !drive.tasks.is_empty() => {
                    self.note_end(drive, ended);
                }
                supplied = supply.next(is_reading) => drive.take_in(supplied),
                () = tokio::time::sleep_until(patience) => return,
                () = tokio::time::sleep(FEED_PATIENCE), if is_feed_asked => return,
            }
        }
        drive.driven.is_complete = false;
    }

    /// Looks which requests will be due together soon, and has connections opened for them.
    fn warm_ahead(&self, drive: &mut Drive, now_ns: i64) {
        while drive.warming.try_join_next().is_some() {}
        if drive.next_warm_ns().is_none_or(|at_ns| at_ns > now_ns) {
            return;
        }
        drive.warm_until_ns = now_ns + WARM_AHEAD_NS + WARM_STEP_NS;
        let due = |planned: &PreparedRequest| drive.due_ns(planned);
        let mut wanted = self.connections_wanted(&drive.ahead, due, drive.warm_until_ns);
        for wanted in &mut wanted {
            *wanted = (*wanted).min(drive.free_slots.len());
        }
        if wanted.iter().any(|wanted| *wanted > 1) {
            let shared = Arc::clone(&self.shared);
            drive
                .warming
                .spawn(async move { shared.targets.warm(&wanted).await });
        }
    }

    /// How many connections to each server the next requests need at once, as far as they are due
    /// before `until_ns`.
    fn connections_wanted(
        &self,
        ahead: &VecDeque<PreparedRequest>,
        due: impl Fn(&PreparedRequest) -> Option<i64>,
        until_ns: i64,
    ) -> Vec<usize> {
        let targets = &self.shared.targets;
        let of = |target: usize| {
            let soon = ahead.iter().map_while(|planned| {
                let due_ns = due(planned).filter(|due_ns| *due_ns < until_ns)?;
                Some((
                    targets.of(planned.request_id, planned.session_id.as_deref()),
                    due_ns,
                ))
            });
            max_due_together(
                soon.filter(|(to, _)| *to == target)
                    .map(|(_, due_ns)| due_ns),
            )
        };
        targets.numbers().map(of).collect()
    }

    fn send(
        &mut self,
        drive: &mut Drive,
        due_ns: i64,
        queued_ns: i64,
        mut planned: PreparedRequest,
    ) {
        let mut row = planned.row(due_ns);
        row.queued_ns = queued_ns.saturating_add(planned.held_ns);
        drive.driven.taken += 1;
        let attempts = attempt_all(Arc::clone(&self.shared), row, planned);
        let clock = self.shared.clock;
        drive.tasks.spawn(async move {
            let end_ns = AssertUnwindSafe(attempts).catch_unwind().await;
            Ended {
                is_fault: end_ns.is_err(),
                end_ns: end_ns.unwrap_or_else(|_| clock.now_ns()),
            }
        });
    }

    fn note_end(&self, drive: &mut Drive, ended: Result<Ended, JoinError>) {
        // A task that was given up still frees its slot.
        let end_ns = match ended {
            Ok(ended) => {
                drive.driven.faults += u64::from(ended.is_fault);
                ended.end_ns
            }
            Err(_) => self.shared.clock.now_ns(),
        };
        drive.free_slots.push_back(end_ns);
        self.show_queue(drive);
    }

    fn show_queue(&self, drive: &Drive) {
        self.queued.store(drive.due.len(), Ordering::Relaxed);
    }

    /// Notes what was due before the stop and never went out.
    async fn note_not_sent(&mut self, drive: &mut Drive, supply: &mut Supply) {
        let now_ns = self.shared.clock.now_ns();
        let stopped_ns = drive.end_ns.map_or(now_ns, |end_ns| end_ns.min(now_ns));
        let mut waiting = std::mem::take(&mut drive.due);
        if drive.free_slots.is_empty() && !drive.is_capped_by_user {
            drive.driven.in_flight_bound_hits += waiting.len() as u64;
        }
        while let Some(turn) = supply.try_recv_turn() {
            drive.insert_ahead(turn);
        }
        let mut ahead = std::mem::take(&mut drive.ahead);
        let mut rows = 0;
        loop {
            let (due_ns, mut planned) = match waiting.pop_front() {
                Some(waiting) => waiting,
                None => {
                    let planned = match ahead.pop_front() {
                        Some(planned) => planned,
                        // A feed that has nothing at hand has nothing that was due.
                        None => match timeout(FEED_PATIENCE, supply.recv()).await {
                            Ok(Some(planned)) => planned,
                            Ok(None) | Err(_) => break,
                        },
                    };
                    match drive.due_ns(&planned) {
                        Some(due_ns) if due_ns < stopped_ns => {
                            drive.note_queue_hit(due_ns);
                            (due_ns, planned)
                        }
                        _ => break,
                    }
                }
            };
            drive.driven.taken += 1;
            rows += 1;
            if rows > NOT_SENT_ROWS {
                // The feed counts the rest of them, where it need not ask anyone.
                supply.count_before(stopped_ns.saturating_sub(drive.start_ns));
                drive.driven.unwritten += 1;
                continue;
            }
            let mut row = planned.row(due_ns);
            row.status = Status::NotSent;
            if drive.is_capped_by_user {
                row.queued_ns = (stopped_ns - due_ns).max(0);
            }
            if self.shared.recorder.final_row(row) {
                self.shared.recorder.flush().await;
            }
        }
        // The feed must not go on preparing what nobody will send.
        supply.close();
    }

    /// Waits for what is in flight, and gives it up when the drain time is over.
    async fn drain(&mut self, drive: &mut Drive) {
        let clock = self.shared.clock;
        let now_ns = clock.now_ns();
        let from_ns = drive.end_ns.map_or(now_ns, |end_ns| end_ns.min(now_ns));
        let until_ns = from_ns.saturating_add(self.shared.limits.drain_ns);
        let mut stop = self.stop.clone();
        let recorder = Arc::clone(&self.shared.recorder);
        let mut patience = std::pin::pin!(tokio::time::sleep_until(clock.instant(until_ns)));
        while !drive.tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = drive.tasks.join_next() => self.note_end(drive, ended),
                () = &mut patience => break,
                _ = stop.wait_for(|stop| *stop == Stop::Leave) => break,
                () = recorder.closed() => break,
            }
        }
        drive.tasks.abort_all();
        while let Some(ended) = drive.tasks.join_next().await {
            self.note_end(drive, ended);
        }
    }
}

/// The most times, in rising order, that lie within [`TOGETHER_NS`] of each other.
fn max_due_together(times_ns: impl Iterator<Item = i64>) -> usize {
    let mut together = VecDeque::new();
    let mut most = 0;
    for at_ns in times_ns {
        while together
            .front()
            .is_some_and(|first_ns| at_ns - first_ns > TOGETHER_NS)
        {
            together.pop_front();
        }
        together.push_back(at_ns);
        most = most.max(together.len());
    }
    most
}

impl Drive {
    /// When a request can go out on the log's axis: when it is due, unless its session was held back; at
    /// the end of the axis where the trace says a time beyond.
    fn due_ns(&self, planned: &PreparedRequest) -> Option<i64> {
        Some(self.start_ns.saturating_add(planned.sendable_ns()?))
    }

    /// Puts a turn among the schedule's next requests, behind those that are due with it.
    fn insert_ahead(&mut self, turn: PreparedRequest) {
        let at = self
            .ahead
            .partition_point(|planned| planned.sendable_ns() <= turn.sendable_ns());
        self.ahead.insert(at, turn);
    }

    /// Moves the next requests among the waiting ones when they are due.
    fn take_due(&mut self, now_ns: i64) {
        while let Some(due_ns) = self.ahead.front().and_then(|planned| self.due_ns(planned))
            && due_ns <= now_ns
        {
            if self.due.len() >= MAX_QUEUED {
                self.queue_full_ns = now_ns;
                return;
            }
            if let Some(planned) = self.ahead.pop_front() {
                self.note_queue_hit(due_ns);
                self.due.push_back((due_ns, planned));
            }
        }
    }

    /// Counts a request that was due when the queue was full.
    fn note_queue_hit(&mut self, due_ns: i64) {
        self.driven.queue_bound_hits += u64::from(due_ns <= self.queue_full_ns);
    }

    /// When to look again for requests that will be due together.
    fn next_warm_ns(&self) -> Option<i64> {
        let known = |planned: &PreparedRequest| self.due_ns(planned);
        let seen = self
            .ahead
            .partition_point(|planned| known(planned).is_none_or(|ns| ns < self.warm_until_ns));
        let next_ns = known(self.ahead.get(seen)?)?;
        Some(next_ns.saturating_sub(WARM_AHEAD_NS))
    }

    /// When the schedule's next request is due, if that is known and it can be taken then.
    fn next_due_ns(&self) -> Option<i64> {
        match self.due_ns(self.ahead.front()?) {
            Some(due_ns) => (self.due.len() < MAX_QUEUED).then_some(due_ns),
            // The slots of a closed loop first become free when the schedule starts.
            None => self.free_slots.front().copied(),
        }
    }

    /// Takes in what the feed has.
    fn take_in(&mut self, supplied: Supplied) {
        match supplied {
            Supplied::Turn(turn) => self.insert_ahead(turn),
            Supplied::Scheduled(planned) => self.ahead.push_back(planned),
            Supplied::ScheduleIsOver => self.is_exhausted = true,
            Supplied::NoMoreTurns => {}
        }
    }

    /// Takes a request that was due and can go out now: its due time, how long a cap held it back,
    /// itself.
    fn next_waiting(&mut self) -> Option<(i64, i64, PreparedRequest)> {
        if self.free_slots.is_empty() {
            return None;
        }
        let (due_ns, planned) = self.due.pop_front()?;
        let free_ns = self.free_slots.pop_front()?;
        let held_ns = (free_ns - due_ns).max(0);
        if self.is_capped_by_user {
            return Some((due_ns, held_ns, planned));
        }
        self.driven.in_flight_bound_hits += u64::from(held_ns > 0);
        Some((due_ns, 0, planned))
    }

    /// The same, or the next request of a closed loop.
    fn next_sendable(&mut self, now_ns: i64) -> Option<(i64, i64, PreparedRequest)> {
        if let Some(waiting) = self.next_waiting() {
            return Some(waiting);
        }
        // In a closed loop a request is due at the instant its slot became free.
        let free_ns = *self.free_slots.front()?;
        if free_ns > now_ns {
            return None;
        }
        if self.ahead.front()?.intended_ns.is_some() {
            return None;
        }
        let planned = self.ahead.pop_front()?;
        self.free_slots.pop_front();
        Some((free_ns, 0, planned))
    }

    fn is_over(&self) -> bool {
        self.is_exhausted && self.ahead.is_empty() && self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_what_is_due_together() {
        let ms = |times: &[i64]| max_due_together(times.iter().map(|ms| ms * 1_000_000));
        assert_eq!(ms(&[]), 0);
        assert_eq!(ms(&[5]), 1);
        assert_eq!(ms(&[0, 3, 6, 9]), 1);
        assert_eq!(ms(&[0, 2, 4, 6]), 2);
        assert_eq!(ms(&[0, 10, 10, 10, 11, 30]), 4);
    }
}
