//! Continuous batching: one step of the model after another, over all that runs.
//!
//! A step decodes one token of every sequence whose prompt is done, and spends what is left of
//! its token budget on prompts, first come, first served: those under way, then those that wait.
//! It takes
//!
//! ```text
//! overhead + prompt tokens / prefill rate
//!          + (base + per-sequence × sequences + per-token × their contexts, where any decodes)
//! ```
//!
//! A request leaves the queue when a place in the batch and room in the key-value cache are free,
//! and nothing overtakes the one at the head. The room is for the prompt and for the whole output,
//! which is known here: no sequence is ever preempted. The step in which a prompt ends yields the
//! first token.

use std::collections::VecDeque;

use super::super::draw;
use super::super::settings::EngineSettings;
use super::event::{Event, EventKind, Finish, Job, Load, Rejection};

const NS_PER_S: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Batching {
    settings: EngineSettings,
    waiting: VecDeque<Job>,
    /// In order of admission; the first `decoding` ones decode, the others have a prompt left.
    running: Vec<Sequence>,
    decoding: usize,
    /// Tokens of the contexts of the sequences that decode.
    context_tokens: u64,
    kv_reserved_tokens: u64,
    /// The end of the step under way, or the earliest beginning of the next one.
    boundary_ns: i64,
    is_in_step: bool,
    steps_begun: u64,
}

#[derive(Debug)]
struct Sequence {
    request: u64,
    input_tokens: u32,
    output_tokens: u32,
    /// Prompt tokens that are still to be computed.
    prompt_left: u32,
    /// Prompt tokens that the step under way computes.
    prompt_in_step: u32,
    generated: u32,
    finish: Finish,
}

impl Sequence {
    fn reserved_tokens(&self) -> u64 {
        u64::from(self.input_tokens) + u64::from(self.output_tokens)
    }

    fn context_tokens(&self) -> u64 {
        u64::from(self.input_tokens) + u64::from(self.generated)
    }

    /// Generates one token, and says whether it was the last one.
    fn generate(&mut self, at_ns: i64, sink: &mut impl FnMut(Event)) -> bool {
        let request = self.request;
        let position = self.generated;
        self.generated += 1;
        sink(Event {
            at_ns,
            request,
            kind: EventKind::Token { position },
        });
        let is_last = self.generated == self.output_tokens;
        if is_last {
            sink(Event {
                at_ns,
                request,
                kind: EventKind::Finished(self.finish),
            });
        }
        is_last
    }
}

impl Batching {
    pub(super) fn new(settings: EngineSettings) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            running: Vec::new(),
            decoding: 0,
            context_tokens: 0,
            kv_reserved_tokens: 0,
            boundary_ns: i64::MIN,
            is_in_step: false,
            steps_begun: 0,
        }
    }

    pub(super) fn submit(&mut self, at_ns: i64, job: Job) -> Result<(), Rejection> {
        let needed_tokens = u64::from(job.input_tokens) + u64::from(job.output_tokens);
        if needed_tokens > self.settings.kv_capacity_tokens {
            return Err(Rejection::TooLarge {
                needed_tokens,
                capacity_tokens: self.settings.kv_capacity_tokens,
            });
        }
        let is_full = self
            .settings
            .max_queue
            .and_then(|limit| usize::try_from(limit).ok())
            .is_some_and(|limit| self.waiting.len() >= limit);
        if is_full {
            return Err(Rejection::QueueFull);
        }
        if !self.is_in_step && self.running.is_empty() && self.waiting.is_empty() {
            self.boundary_ns = self.boundary_ns.max(at_ns);
        }
        self.waiting.push_back(job);
        Ok(())
    }

    pub(super) fn cancel(&mut self, request: u64) -> bool {
        if let Some(index) = self.waiting.iter().position(|job| job.request == request) {
            self.waiting.remove(index);
            return true;
        }
        let Some(index) = self.running.iter().position(|run| run.request == request) else {
            return false;
        };
        // The step under way keeps its length, and its plan does without the sequence.
        let sequence = self.running.remove(index);
        self.kv_reserved_tokens -= sequence.reserved_tokens();
        if index < self.decoding {
            self.decoding -= 1;
            self.context_tokens -= sequence.context_tokens();
        }
        true
    }

    pub(super) fn next_ns(&self) -> Option<i64> {
        let has_work = self.is_in_step || !self.running.is_empty() || !self.waiting.is_empty();
        has_work.then_some(self.boundary_ns)
    }

    pub(super) fn tick(&mut self, sink: &mut impl FnMut(Event)) {
        if self.is_in_step {
            self.end_step(sink);
        } else if !self.running.is_empty() || !self.waiting.is_empty() {
            self.begin_step(sink);
        }
    }

    pub(super) fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_reserved_tokens: self.kv_reserved_tokens,
            kv_capacity_tokens: self.settings.kv_capacity_tokens,
        }
    }

    fn begin_step(&mut self, sink: &mut impl FnMut(Event)) {
        let decoding = u32::try_from(self.decoding).unwrap_or(u32::MAX);
        let budget = self.settings.step_token_budget.saturating_sub(decoding);
        let mut budget_left = budget;
        for sequence in &mut self.running[self.decoding..] {
            sequence.prompt_in_step = sequence.prompt_left.min(budget_left);
            budget_left -= sequence.prompt_in_step;
        }
        while budget_left > 0
            && let Some(mut sequence) = self.admit()
        {
            sequence.prompt_in_step = sequence.prompt_left.min(budget_left);
            budget_left -= sequence.prompt_in_step;
            sink(Event {
                at_ns: self.boundary_ns,
                request: sequence.request,
                kind: EventKind::Admitted,
            });
            self.running.push(sequence);
        }
        let step_ns = self.step_ns(budget - budget_left);
        self.boundary_ns = self.boundary_ns.saturating_add(step_ns);
        self.is_in_step = true;
        self.steps_begun += 1;
    }

    /// Takes the head of the queue, where the batch and the cache have room for it.
    fn admit(&mut self) -> Option<Sequence> {
        let places = usize::try_from(self.settings.max_batch).unwrap_or(usize::MAX);
        if self.running.len() >= places {
            return None;
        }
        let job = self.waiting.front()?;
        let needed_tokens = u64::from(job.input_tokens) + u64::from(job.output_tokens);
        if self.kv_reserved_tokens + needed_tokens > self.settings.kv_capacity_tokens {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.kv_reserved_tokens += needed_tokens;
        Some(Sequence {
            request: job.request,
            input_tokens: job.input_tokens,
            output_tokens: job.output_tokens,
            prompt_left: job.input_tokens,
            prompt_in_step: 0,
            generated: 0,
            finish: job.finish,
        })
    }

    fn step_ns(&self, prompt_tokens: u32) -> i64 {
        let settings = &self.settings;
        let prompt_ns =
            u64::from(prompt_tokens) * NS_PER_S / u64::from(settings.prefill_tokens_per_s);
        let mut step_ns = settings.step_overhead_ns.saturating_add_unsigned(prompt_ns);
        if self.decoding > 0 {
            let sequences = i64::try_from(self.decoding).unwrap_or(i64::MAX);
            let contexts = i64::try_from(self.context_tokens).unwrap_or(i64::MAX);
            step_ns = step_ns
                .saturating_add(settings.decode_base_ns)
                .saturating_add(settings.decode_per_sequence_ns.saturating_mul(sequences))
                .saturating_add(settings.decode_per_kv_token_ns.saturating_mul(contexts));
        }
        if settings.jitter > 0.0 {
            let spread = 2.0 * draw::unit(settings.seed, self.steps_begun) - 1.0;
            step_ns = scaled(step_ns, settings.jitter.mul_add(spread, 1.0));
        }
        step_ns.max(1)
    }

    fn end_step(&mut self, sink: &mut impl FnMut(Event)) {
        let at_ns = self.boundary_ns;
        let was_decoding = self.decoding;
        let mut has_finished = false;
        for sequence in &mut self.running[..was_decoding] {
            has_finished |= sequence.generate(at_ns, sink);
        }
        self.context_tokens += u64::try_from(was_decoding).unwrap_or(u64::MAX);
        for sequence in &mut self.running[was_decoding..] {
            sequence.prompt_left -= sequence.prompt_in_step;
            sequence.prompt_in_step = 0;
            if sequence.prompt_left == 0 {
                has_finished |= sequence.generate(at_ns, sink);
                // Prompts end in the order of admission, so this one is next to those that decode.
                self.decoding += 1;
                self.context_tokens += sequence.context_tokens();
            }
        }
        if has_finished {
            self.remove_finished();
        }
        self.is_in_step = false;
    }

    fn remove_finished(&mut self) {
        let Self {
            running,
            decoding,
            context_tokens,
            kv_reserved_tokens,
            ..
        } = self;
        running.retain(|sequence| {
            let is_finished = sequence.generated == sequence.output_tokens;
            if is_finished {
                *decoding -= 1;
                *context_tokens -= sequence.context_tokens();
                *kv_reserved_tokens -= sequence.reserved_tokens();
            }
            !is_finished
        });
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a step's length, of which jitter changes a part; the cast saturates"
)]
fn scaled(duration_ns: i64, factor: f64) -> i64 {
    (duration_ns as f64 * factor).round() as i64
}
