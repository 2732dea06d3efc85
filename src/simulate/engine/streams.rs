//! Streams at a fixed rate, each with a pace of its own from its own arrival on.
//!
//! Nothing waits for anything: a client that measures a delay other than the known one has
//! measured itself. All streams have the same interval, so that the order in which they are due
//! is that of two queues, one before and one after the first token, and no heap is needed.

use std::collections::VecDeque;

use super::event::{Event, EventKind, Job, Load};

#[derive(Debug)]
pub(super) struct Streams {
    ttft_ns: i64,
    interval_ns: i64,
    /// Requests whose admission has not been told yet.
    arrived: VecDeque<Stream>,
    /// Requests before their first token, in the order of arrival.
    starting: VecDeque<Stream>,
    /// Requests after their first token, in the order in which they are due.
    flowing: VecDeque<Stream>,
}

#[derive(Debug)]
struct Stream {
    due_ns: i64,
    generated: u32,
    job: Job,
}

impl Streams {
    pub(super) fn new(ttft_ns: i64, interval_ns: i64) -> Self {
        Self {
            ttft_ns,
            interval_ns,
            arrived: VecDeque::new(),
            starting: VecDeque::new(),
            flowing: VecDeque::new(),
        }
    }

    pub(super) fn submit(&mut self, at_ns: i64, job: Job) {
        self.arrived.push_back(Stream {
            due_ns: at_ns,
            generated: 0,
            job,
        });
    }

    pub(super) fn cancel(&mut self, request: u64) -> bool {
        [&mut self.arrived, &mut self.starting, &mut self.flowing]
            .into_iter()
            .any(|queue| {
                let index = queue.iter().position(|run| run.job.request == request);
                index.and_then(|index| queue.remove(index)).is_some()
            })
    }

    pub(super) fn next_ns(&self) -> Option<i64> {
        [&self.arrived, &self.starting, &self.flowing]
            .into_iter()
            .filter_map(|queue| Some(queue.front()?.due_ns))
            .min()
    }

    pub(super) fn tick(&mut self, sink: &mut impl FnMut(Event)) {
        let Some(at_ns) = self.next_ns() else {
            return;
        };
        let is_due = |queue: &VecDeque<Stream>| queue.front().is_some_and(|s| s.due_ns == at_ns);
        if is_due(&self.arrived) {
            if let Some(mut stream) = self.arrived.pop_front() {
                sink(Event {
                    at_ns,
                    request: stream.job.request,
                    kind: EventKind::Admitted,
                });
                stream.due_ns = at_ns.saturating_add(self.ttft_ns);
                self.starting.push_back(stream);
            }
        } else if is_due(&self.flowing) {
            let stream = self.flowing.pop_front();
            self.generate(stream, at_ns, sink);
        } else {
            let stream = self.starting.pop_front();
            self.generate(stream, at_ns, sink);
        }
    }

    pub(super) fn load(&self) -> Load {
        Load {
            running: self.arrived.len() + self.starting.len() + self.flowing.len(),
            ..Load::default()
        }
    }

    fn generate(&mut self, stream: Option<Stream>, at_ns: i64, sink: &mut impl FnMut(Event)) {
        let Some(mut stream) = stream else {
            return;
        };
        let position = stream.generated;
        sink(Event {
            at_ns,
            request: stream.job.request,
            kind: EventKind::Token { position },
        });
        stream.generated += 1;
        if stream.generated == stream.job.output_tokens {
            sink(Event {
                at_ns,
                request: stream.job.request,
                kind: EventKind::Finished(stream.job.finish),
            });
            return;
        }
        stream.due_ns = at_ns.saturating_add(self.interval_ns);
        self.flowing.push_back(stream);
    }
}
