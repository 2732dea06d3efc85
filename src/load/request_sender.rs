//! The feed's end of the channel to the driver: how far it may be ahead, in requests and in memory.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::prepared::PreparedRequest;
use crate::throttle::CpuThrottle;

/// Prepared requests that may wait for the driver.
pub(super) const CHANNEL_REQUESTS: usize = 1_024;

/// Memory of prepared bodies, in KiB.
pub(super) const PREPARED_KIB: usize = 64 << 10;

/// What is due this soon is prepared before the schedule starts.
const PREFILL_NS: i64 = 100_000_000;

/// What it takes to prepare a request, beside one for each KiB of its body, in microseconds.
const REQUEST_US: u32 = 10;

/// How far ahead the feed should be when the schedule starts. Dropping it says that it is, or that
/// it can't be.
pub(super) struct Prefill {
    /// Requests that can go out at once, at most.
    slots: usize,
    _ahead: oneshot::Sender<()>,
}

impl Prefill {
    /// Makes a head start for a driver with `slots`, and what ends when it is reached.
    pub(super) fn new(slots: usize) -> (Self, oneshot::Receiver<()>) {
        let (ahead, reached) = oneshot::channel();
        let prefill = Self {
            slots,
            _ahead: ahead,
        };
        (prefill, reached)
    }
}

/// What a body of so many bytes takes of the memory for prepared ones, in KiB.
pub(super) fn kib(bytes: usize) -> usize {
    (bytes / 1024 + 1).min(PREPARED_KIB)
}

/// The feed's end of the channel, and the memory that it may fill.
pub(super) struct RequestSender {
    sender: mpsc::Sender<PreparedRequest>,
    memory: Arc<Semaphore>,
    prefill: Option<Prefill>,
    throttle: CpuThrottle,
}

impl RequestSender {
    /// Makes a sender that says through `prefill` when it is far enough ahead.
    pub(super) fn new(sender: mpsc::Sender<PreparedRequest>, prefill: Prefill) -> Self {
        Self {
            sender,
            memory: Arc::new(Semaphore::new(PREPARED_KIB)),
            prefill: Some(prefill),
            throttle: CpuThrottle::default(),
        }
    }

    /// Returns whether a request of `bytes` is taken without a wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.sender.capacity() > 0 && self.memory.available_permits() >= kib(bytes)
    }

    /// Waits until there is room for a request of `bytes`. Returns false when nobody wants more.
    pub(super) async fn room(&self, bytes: usize) -> bool {
        let has_slot = self.sender.reserve().await.is_ok();
        let kib = u32::try_from(kib(bytes)).unwrap_or(1);
        // Memory comes back with the driver's taking of requests, as slots do.
        has_slot && self.memory.acquire_many(kib).await.is_ok()
    }

    /// Returns whether nobody wants more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until nobody wants more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Says that the schedule can start: nothing more can be prepared before it does.
    pub(super) fn start(&mut self) {
        self.prefill = None;
    }

    /// Hands over a request when there is room. Returns false when nobody wants more.
    pub(super) async fn send(&mut self, mut planned: PreparedRequest) -> bool {
        let kib = kib(planned.body.len());
        // Requests that wait for a slot are due as soon as the schedule starts.
        let is_later = (planned.intended_ns).is_some_and(|at_ns| at_ns >= PREFILL_NS);
        self.prefill.take_if(|prefill| {
            let waiting = self.sender.max_capacity() - self.sender.capacity();
            is_later
                || waiting >= prefill.slots
                || self.sender.capacity() == 0
                || self.memory.available_permits() < kib
        });
        let kib = u32::try_from(kib).unwrap_or(1);
        let memory = Arc::clone(&self.memory).acquire_many_owned(kib);
        tokio::select! {
            permit = memory => planned.permit = permit.ok(),
            () = self.sender.closed() => return false,
        }
        let is_wanted = self.sender.send(planned).await.is_ok();
        // Before the start there is nobody to give way to.
        if self.prefill.is_none() {
            self.throttle.after(REQUEST_US.saturating_add(kib));
        }
        is_wanted
    }
}
