//! The feed: prepares requests ahead of time, so that sending one costs the driver only the
//! sending.
//!
//! It reads the trace or draws the arrival times, makes the prompts and writes the bodies, on a
//! thread of its own. It runs ahead of the driver by a bounded number of requests and of bytes.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::LoadError;
use super::prepared::PreparedRequest;
use super::replies::Replies;
use super::request_sender::{Prefill, RequestSender};
use super::session_turns::{SessionLoad, SessionTurns};
use super::supply::{Rest, TurnSender};
use super::template::RequestTemplate;
use super::trace_turns::TraceTurns;
use super::turn_feed::TurnFeed;
use crate::capture::manifest::SessionCounts;
use crate::capture::schema::FIRST_WARMUP_ID;
use crate::plan::{OutputLength, SessionPacing};
use crate::schedule::Schedule;
use crate::time::clock::Clock;
use crate::trace::{TraceCounts, TraceOptions};
use crate::workload::{Dataset, PromptCounter, PromptSpec};

/// Where the schedule comes from.
pub enum Source {
    /// Arrivals that are made, of requests out of a data set.
    Made {
        /// When they are due.
        schedule: Box<dyn Schedule>,
        /// What they send.
        dataset: Box<dyn Dataset>,
    },
    /// Sessions, each with a conversation out of a data set.
    Sessions(SessionLoad),
    /// Arrivals of a trace.
    Trace(TraceReplay),
}

/// A trace and how it is replayed.
#[derive(Debug, Clone)]
pub struct TraceReplay {
    /// The trace and what of it is taken.
    pub options: TraceOptions,
    /// When the turns of a session are due.
    pub pacing: SessionPacing,
}

impl Source {
    /// What is to be said of it before a run.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Made { dataset, .. } => dataset.note(),
            Self::Sessions(load) => load.conversations.note(),
            Self::Trace(_) => None,
        }
    }

    /// How many requests the schedule has, where that is known before it is over.
    pub fn known_count(&self) -> Option<u64> {
        match self {
            Self::Made { schedule, .. } => schedule.known_count(),
            Self::Sessions(_) | Self::Trace(_) => None,
        }
    }
}

/// The feed of one run.
pub struct Feed {
    /// Where the schedule comes from.
    pub source: Source,
    /// How an arrival becomes a request.
    pub template: RequestTemplate,
    /// Requests to warm the server with.
    pub warmups: u64,
}

impl Feed {
    /// What is to be said of it before a run.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let counter = self.template.prompt_counter.as_ref();
        let of_counter = counter.and_then(PromptCounter::note);
        self.source.note().into_iter().chain(of_counter)
    }

    /// Prepares the requests that warm the server: like the schedule's own, with other prompts.
    ///
    /// # Errors
    ///
    /// [`LoadError::Trace`] when the trace's first rows can't be read.
    pub(super) async fn warmup_requests(&self) -> Result<Vec<PreparedRequest>, LoadError> {
        let mut lengths = Vec::new();
        if let Source::Trace(replay) = &self.source
            && self.warmups > 0
        {
            let mut reader = crate::trace::open(&replay.options).await?;
            while (lengths.len() as u64) < self.warmups
                && let Some(row) = reader.next().await?
            {
                lengths.push((row.input_tokens.max(1), row.output_tokens));
            }
        }
        let warmups = (0..self.warmups).map(|index| {
            // Far from any index of the schedule, so that no prompt is shared with it.
            let draw_index = FIRST_WARMUP_ID + index;
            let position = usize::try_from(index).unwrap_or(0) % lengths.len().max(1);
            let planned = match (&self.source, lengths.get(position)) {
                (Source::Made { dataset, .. }, _) => {
                    let content = dataset.warmup(draw_index);
                    self.template.made(draw_index, content, None)
                }
                (Source::Sessions(load), _) => {
                    let content = load.conversations.warmup(draw_index);
                    self.template.made(draw_index, content, None)
                }
                (Source::Trace(_), lengths) => {
                    let (input_tokens, output_tokens) = lengths.unwrap_or(&(1, 1));
                    let tokens = self.template.own_tokens(*input_tokens);
                    let spec = PromptSpec::random(draw_index, tokens);
                    let prompt = self.template.workload.prompt(spec);
                    self.template.planned(draw_index, prompt, *output_tokens)
                }
            };
            RequestTemplate::into_warmup(planned, index)
        });
        Ok(warmups.collect())
    }

    /// Returns whether turns wait on replies, so that the driver has to tell of their ends.
    pub(super) fn waits_on_replies(&self) -> bool {
        match &self.source {
            Source::Made { .. } => false,
            Source::Sessions(_) => true,
            Source::Trace(replay) => replay.pacing != SessionPacing::Trace,
        }
    }

    /// Sends the schedule's requests to the driver until it is over or the driver has had enough.
    ///
    /// `prefill` is for the driver to wait on.
    ///
    /// # Errors
    ///
    /// [`LoadError::Trace`] when the trace can't be read on; what came before was sent.
    pub(super) async fn prepare(
        self,
        sender: mpsc::Sender<PreparedRequest>,
        prefill: Prefill,
        turns: Option<TurnSender>,
        (rest, clock): (Arc<Rest>, Clock),
    ) -> Result<Fed, LoadError> {
        let mut fed = Fed::default();
        let mut is_wanted = true;
        let mut sender = RequestSender::new(sender, prefill);
        match self.source {
            Source::Made {
                mut schedule,
                dataset,
            } => {
                let mut index = 0;
                while let Some(due) = schedule.next_due() {
                    let at_ns = due.at_ns();
                    let planned = self.template.made(index, dataset.request(index), at_ns);
                    if !sender.send(planned).await {
                        if fed.count(&rest, at_ns) {
                            fed.unwritten += schedule.count_before(rest.before_ns());
                        }
                        break;
                    }
                    index += 1;
                }
            }
            Source::Sessions(load) => {
                if let Some(turns) = turns {
                    let sessions = SessionTurns::new(load, &self.template);
                    let fed_sessions = TurnFeed::new(sessions, turns, clock).work(sender).await?;
                    fed.sessions = Some(fed_sessions.counts());
                }
            }
            Source::Trace(replay) => {
                if let Some(pipe) = &replay.options.pipe {
                    pipe.forget();
                }
                let mut reader = crate::trace::open(&replay.options).await?;
                if let Some(turns) = turns {
                    let rows = TraceTurns::new(&mut reader, &self.template, replay.pacing);
                    let fed_turns = TurnFeed::new(rows, turns, clock).work(sender).await?;
                    fed.made_up_replies = fed_turns.made_up_replies();
                } else {
                    let (mut index, mut replies) = (0, Replies::default());
                    while let Some(row) = reader.next().await? {
                        let at_ns = row.arrival_ns;
                        if is_wanted {
                            let planned = self.template.traced(index, row, &mut replies);
                            is_wanted = sender.send(planned).await;
                        }
                        if !is_wanted && !fed.count(&rest, Some(at_ns)) {
                            break;
                        }
                        index += 1;
                    }
                }
                let counts = reader.counts();
                if self.template.output_length == OutputLength::TraceText {
                    fed.without_reply = counts.without_reply;
                }
                fed.trace = Some(counts);
            }
        }
        Ok(fed)
    }
}

/// What a feed came to.
#[derive(Debug, Default)]
pub(super) struct Fed {
    /// What the trace had, where there is one.
    pub(super) trace: Option<TraceCounts>,
    /// Requests that were due, and were counted in place of being prepared.
    pub(super) unwritten: u64,
    /// Replies of servers that turns were to hold and that were not there; text stands in their place.
    pub(super) made_up_replies: u64,
    /// What became of the sessions, where the data set are conversations.
    pub(super) sessions: Option<SessionCounts>,
    /// Rows of the trace without a reply, where the server was to say the replies of the trace.
    pub(super) without_reply: u64,
}

impl Fed {
    /// Counts a request that is not wanted any more. Returns false where no more are to be counted.
    fn count(&mut self, rest: &Rest, intended_ns: Option<i64>) -> bool {
        let is_counted = intended_ns.is_some_and(|at_ns| rest.has(at_ns));
        self.unwritten += u64::from(is_counted);
        is_counted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;
    use tokio::sync::mpsc;

    use super::{Feed, Prefill, RequestTemplate, Source};
    use crate::backend::protocol;
    use crate::load::adapters::Adapters;
    use crate::load::request_sender::CHANNEL_REQUESTS;
    use crate::load::supply::Supply;
    use crate::plan::{Arrivals, OutputLength, Process, SessionReplies};
    use crate::schedule::{Bounds, schedule};
    use crate::time::clock::Clock;
    use crate::workload::{Content, Dataset, Tokenizer, Workload};

    fn feed(source: Source) -> Feed {
        let tokenizer = Arc::new(Tokenizer::embedded());
        let template = RequestTemplate {
            backend: protocol("vllm").unwrap(),
            model: "m".to_owned(),
            adapters: Adapters::default(),
            ignore_eos: false,
            temperature: None,
            extra_body: Map::new(),
            workload: Arc::new(Workload::new(&tokenizer, 1)),
            session_replies: SessionReplies::Trace,
            hang_up: None,
            keeps_text: false,
            prompt_counter: None,
            output_length: OutputLength::Cap,
        };
        Feed {
            source,
            template,
            warmups: 0,
        }
    }

    /// Returns how many requests were prepared when the feed said that it was ahead.
    async fn prepared_when_ahead(source: Source, slots: usize) -> usize {
        let (sender, prepared) = mpsc::channel(CHANNEL_REQUESTS);
        let rest = Supply::from(mpsc::channel(1).1).rest();
        let (prefill, is_ahead) = Prefill::new(slots);
        let ahead = async move {
            assert!(is_ahead.await.is_err(), "nothing is ever sent");
            // Dropping the receiver ends a feed that has more.
            prepared.len()
        };
        let (fed, length) = tokio::join!(
            feed(source).prepare(sender, prefill, None, (rest, Clock::start())),
            ahead
        );
        fed.unwrap();
        length
    }

    /// Short requests that all say the same.
    struct Short;

    impl Dataset for Short {
        fn request(&self, _index: u64) -> Content {
            Content {
                text: "a b c d".to_owned(),
                tokens: Some(4),
                output_tokens: 1,
                ..Content::default()
            }
        }

        fn typical_output_tokens(&self) -> Option<u32> {
            Some(1)
        }
    }

    fn made(process: Process, request_rate: Option<f64>, count: Option<u64>) -> Source {
        let arrivals = Arrivals {
            process,
            burstiness: None,
            request_rate,
            ramp_up: None,
            options: Map::new(),
        };
        let bounds = Bounds {
            count,
            ..Bounds::default()
        };
        Source::Made {
            schedule: schedule(&arrivals, bounds).unwrap(),
            dataset: Box::new(Short),
        }
    }

    fn constant(rate_per_s: f64) -> Source {
        made(Process::Constant, Some(rate_per_s), None)
    }

    fn closed() -> Source {
        made(Process::Closed, None, None)
    }

    fn burst(count: u64) -> Source {
        made(Process::Burst, None, Some(count))
    }

    #[tokio::test]
    async fn a_slow_schedule_starts_without_its_later_requests() {
        assert!(prepared_when_ahead(constant(10.0), usize::MAX).await < CHANNEL_REQUESTS);
    }

    #[tokio::test]
    async fn a_fast_schedule_starts_with_all_that_is_due_soon() {
        let prepared = prepared_when_ahead(constant(5_000.0), usize::MAX).await;
        assert!((500..CHANNEL_REQUESTS).contains(&prepared), "{prepared}");
    }

    #[tokio::test]
    async fn a_burst_starts_when_nothing_more_can_be_prepared() {
        assert_eq!(
            prepared_when_ahead(burst(5_000), usize::MAX).await,
            CHANNEL_REQUESTS
        );
    }

    #[tokio::test]
    async fn a_closed_loop_starts_with_one_request_a_slot() {
        let prepared = prepared_when_ahead(closed(), 300).await;
        assert!((300..CHANNEL_REQUESTS).contains(&prepared), "{prepared}");
    }

    #[tokio::test]
    async fn what_is_due_and_not_wanted_is_counted_in_place_of_being_prepared() {
        let counted = async |source: Source, before_ns: i64| {
            let (sender, prepared) = mpsc::channel(CHANNEL_REQUESTS);
            let mut supply = Supply::from(prepared);
            supply.count_before(before_ns);
            let (prefill, _is_ahead) = Prefill::new(1);
            let ways = (supply.rest(), Clock::start());
            let fed = feed(source).prepare(sender, prefill, None, ways);
            fed.await.unwrap().unwritten
        };
        assert_eq!(counted(burst(200_000_000), 1).await, 200_000_000);
        // One each 100 ms, from 0 on.
        assert_eq!(counted(constant(10.0), 1_000_000_000).await, 10);
        assert_eq!(counted(constant(10.0), i64::MIN).await, 0);
        assert_eq!(counted(closed(), 1_000_000_000).await, 0);
    }

    #[tokio::test]
    async fn a_schedule_that_is_short_starts_when_it_is_prepared() {
        assert_eq!(prepared_when_ahead(burst(3), usize::MAX).await, 3);
    }
}
