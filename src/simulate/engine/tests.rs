//! What holds for every run of the engine, and what a few known ones must give.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
struct Arrival {
    at_ns: i64,
    input_tokens: u32,
    output_tokens: u32,
}

/// Runs arrivals, which are in order, and returns the events and the most load ever seen.
fn run(settings: &EngineSettings, arrivals: &[Arrival]) -> (Vec<Event>, Load, Vec<u64>) {
    let mut engine = Engine::new(settings).unwrap();
    let mut events = Vec::new();
    let mut peak = Load::default();
    let mut rejected = Vec::new();
    let mut pending = (0_u64..).zip(arrivals).peekable();
    loop {
        let next_ns = engine.next_ns();
        if let Some((request, arrival)) =
            pending.next_if(|(_, arrival)| next_ns.is_none_or(|next_ns| arrival.at_ns <= next_ns))
        {
            let job = Job {
                request,
                input_tokens: arrival.input_tokens,
                output_tokens: arrival.output_tokens,
                finish: Finish::Length,
            };
            if engine.submit(arrival.at_ns, job).is_err() {
                rejected.push(request);
            }
            continue;
        }
        if next_ns.is_none() {
            break;
        }
        engine.tick(&mut |event| events.push(event));
        let load = engine.load();
        peak.running = peak.running.max(load.running);
        peak.waiting = peak.waiting.max(load.waiting);
        peak.kv_reserved_tokens = peak.kv_reserved_tokens.max(load.kv_reserved_tokens);
    }
    assert_eq!(engine.load().running, 0);
    assert_eq!(engine.load().kv_reserved_tokens, 0);
    (events, peak, rejected)
}

fn token_times(events: &[Event], request: u64) -> Vec<i64> {
    let of_request = events.iter().filter(|event| event.request == request);
    of_request
        .filter(|event| matches!(event.kind, EventKind::Token { .. }))
        .map(|event| event.at_ns)
        .collect()
}

fn at(at_ns: i64, input_tokens: u32, output_tokens: u32) -> Arrival {
    Arrival {
        at_ns,
        input_tokens,
        output_tokens,
    }
}

#[test]
fn a_lone_request_takes_what_the_cost_model_says() {
    let settings = EngineSettings::default();
    let (events, _, _) = run(&settings, &[at(7, 5_000, 4)]);
    // 5,000 tokens at 2,048 a step are three steps.
    let first_ns = 7 + 3 * 500_000 + 5_000 * 125_000;
    let decode_ns = 500_000 + 12_000_000 + 150_000;
    let expected: Vec<i64> = (0..4).map(|k| first_ns + k * decode_ns).collect();
    assert_eq!(token_times(&events, 0), expected);
    assert_eq!(
        events.first().map(|event| (event.at_ns, event.kind)),
        Some((7, EventKind::Admitted))
    );
    assert_eq!(
        events.last().map(|event| event.kind),
        Some(EventKind::Finished(Finish::Length))
    );
}

#[test]
fn contexts_cost_what_they_are_set_to_cost() {
    let settings = EngineSettings {
        decode_per_kv_token_ns: 10,
        ..EngineSettings::default()
    };
    let (events, _, _) = run(&settings, &[at(0, 100, 3)]);
    let times = token_times(&events, 0);
    assert_eq!(times[1] - times[0], 12_650_000 + 10 * 101);
    assert_eq!(times[2] - times[1], 12_650_000 + 10 * 102);
}

#[test]
fn a_bigger_batch_makes_every_step_longer() {
    let settings = EngineSettings::default();
    let (events, peak, _) = run(&settings, &[at(0, 8, 50); 64]);
    assert_eq!(peak.running, 64);
    let times = token_times(&events, 63);
    assert_eq!(times[49] - times[48], 500_000 + 12_000_000 + 64 * 150_000);
}

#[test]
fn a_long_prompt_slows_those_that_decode_by_pieces() {
    let settings = EngineSettings::default();
    let (events, _, _) = run(&settings, &[at(0, 8, 40), at(100_000_000, 8_000, 1)]);
    let times = token_times(&events, 0);
    let longest_ns = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    // The budget of a step less the one decoded token, at the prefill rate.
    assert_eq!(longest_ns, Some(12_650_000 + 2_047 * 125_000));
}

#[test]
fn beyond_capacity_the_queue_grows_and_first_tokens_wait() {
    let settings = EngineSettings::default();
    let arrivals: Vec<_> = (0..400).map(|k| at(k * 10_000_000, 64, 100)).collect();
    let (events, peak, _) = run(&settings, &arrivals);
    let ttft_ns = |request: u64, arrived_ns: i64| token_times(&events, request)[0] - arrived_ns;
    assert!(peak.waiting > 50, "{peak:?}");
    assert!(ttft_ns(399, 3_990_000_000) > 10 * ttft_ns(0, 0));
}

#[test]
fn a_full_queue_rejects_and_an_impossible_request_is_named() {
    let settings = EngineSettings {
        max_queue: Some(2),
        ..EngineSettings::default()
    };
    let (_, _, rejected) = run(&settings, &[at(0, 8, 8); 5]);
    assert_eq!(rejected, [2, 3, 4]);

    let mut engine = Engine::new(&settings).unwrap();
    let job = Job {
        request: 0,
        input_tokens: 200_000,
        output_tokens: 1,
        finish: Finish::Stop,
    };
    let rejection = engine.submit(0, job).unwrap_err();
    assert!(matches!(
        rejection,
        Rejection::TooLarge {
            needed_tokens: 200_001,
            ..
        }
    ));
}

#[test]
fn a_cancelled_request_frees_its_place_and_is_not_named_again() {
    let settings = EngineSettings {
        max_batch: 1,
        ..EngineSettings::default()
    };
    let mut engine = Engine::new(&settings).unwrap();
    let job = |request| Job {
        request,
        input_tokens: 8,
        output_tokens: 1_000,
        finish: Finish::Length,
    };
    for request in 0..3 {
        engine.submit(0, job(request)).unwrap();
    }
    let mut events = Vec::new();
    engine.advance(100_000_000, &mut |event| events.push(event));
    assert!(engine.cancel(0) && engine.cancel(1) && !engine.cancel(7));
    events.clear();
    engine.advance(200_000_000, &mut |event| events.push(event));
    assert!(!events.is_empty() && events.iter().all(|event| event.request == 2));
    assert!(engine.cancel(2));
    engine.advance(i64::MAX, &mut |event| events.push(event));
    assert_eq!(
        (engine.next_ns(), engine.load().kv_reserved_tokens),
        (None, 0)
    );
}

#[test]
fn streams_keep_their_own_pace_from_their_own_arrival() {
    let settings = EngineSettings {
        stream_rate: Some(20.0),
        stream_ttft_ns: 80_000_000,
        ..EngineSettings::default()
    };
    let arrivals: Vec<_> = (0..500).map(|k| at(k * 777_777, 8, 30)).collect();
    let (events, peak, _) = run(&settings, &arrivals);
    assert_eq!(peak.running, 500);
    assert!(events.is_sorted_by_key(|event| event.at_ns));
    for (request, arrival) in (0..).zip(&arrivals) {
        let expected: Vec<i64> = (0..30)
            .map(|k| arrival.at_ns + 80_000_000 + k * 50_000_000)
            .collect();
        assert_eq!(token_times(&events, request), expected);
    }
}

fn settings() -> impl Strategy<Value = EngineSettings> {
    (
        1_u32..6,
        8_u32..64,
        60_u64..300,
        0_i64..3,
        0.0..0.5,
        any::<u64>(),
    )
        .prop_map(
            |(max_batch, step_token_budget, kv_capacity_tokens, per_kv_ns, jitter, seed)| {
                EngineSettings {
                    max_batch,
                    step_token_budget,
                    kv_capacity_tokens,
                    decode_per_kv_token_ns: per_kv_ns,
                    jitter,
                    seed,
                    ..EngineSettings::default()
                }
            },
        )
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0_i64..40_000_000, 1_u32..40, 1_u32..20);
    proptest::collection::vec(one, 1..60).prop_map(|rows| {
        let mut now_ns = 0;
        rows.into_iter()
            .map(|(gap_ns, input_tokens, output_tokens)| {
                now_ns += gap_ns;
                at(now_ns, input_tokens, output_tokens)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_run_keeps_its_limits_and_loses_nothing(
        settings in settings(),
        arrivals in arrivals(),
    ) {
        let (events, peak, rejected) = run(&settings, &arrivals);
        prop_assert!(rejected.is_empty());
        prop_assert!(peak.running <= usize::try_from(settings.max_batch).unwrap());
        prop_assert!(peak.kv_reserved_tokens <= settings.kv_capacity_tokens);
        prop_assert!(events.is_sorted_by_key(|event| event.at_ns));
        let mut by_request: HashMap<u64, Vec<Event>> = HashMap::new();
        for event in &events {
            by_request.entry(event.request).or_default().push(*event);
        }
        for (request, arrival) in (0..).zip(&arrivals) {
            let own = &by_request[&request];
            prop_assert_eq!(own.len(), usize::try_from(arrival.output_tokens).unwrap() + 2);
            prop_assert_eq!(own[0].kind, EventKind::Admitted);
            prop_assert!(own[0].at_ns >= arrival.at_ns);
            for (position, event) in (0..arrival.output_tokens).zip(&own[1..]) {
                prop_assert_eq!(event.kind, EventKind::Token { position });
            }
            // One step gives at most one token of a sequence.
            prop_assert!(own[..own.len() - 1].windows(2).all(|pair| pair[0].at_ns < pair[1].at_ns));
            prop_assert_eq!(own[own.len() - 1].kind, EventKind::Finished(Finish::Length));
        }
        prop_assert_eq!(&run(&settings, &arrivals).0, &events, "the same calls, the same events");
    }

    /// Nothing overtakes, and the engine never idles while something waits.
    #[test]
    fn the_queue_is_in_order_and_the_engine_conserves_work(
        settings in settings(),
        arrivals in arrivals(),
    ) {
        let (events, _, _) = run(&settings, &arrivals);
        let admitted: Vec<&Event> =
            events.iter().filter(|event| event.kind == EventKind::Admitted).collect();
        prop_assert!(admitted.is_sorted_by_key(|event| event.request));
        let longest_step_ns = 2 * (13_000_000 + 6 * 150_000 + 64 * 125_000 + 300 * 3);
        for pair in events.windows(2) {
            if pair[1].at_ns - pair[0].at_ns > longest_step_ns {
                // A pause this long is one without work: all that arrived before it is finished.
                let begun = arrivals.iter().filter(|arrival| arrival.at_ns <= pair[0].at_ns).count();
                let finished = events
                    .iter()
                    .filter(|event| event.at_ns <= pair[0].at_ns)
                    .filter(|event| matches!(event.kind, EventKind::Finished(_)))
                    .count();
                prop_assert_eq!(begun, finished);
            }
        }
    }
}
