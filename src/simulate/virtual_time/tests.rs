//! What a perfect client records, and what it does in a closed loop.

use super::*;

fn arrivals(count: i64, every_ns: i64) -> Vec<Arrival> {
    (0..count)
        .map(|k| Arrival {
            at_ns: k * every_ns,
            lengths: Lengths {
                input_tokens: 100 + u32::try_from(k % 50).unwrap(),
                output_tokens: 1 + u32::try_from(k % 120).unwrap(),
            },
        })
        .collect()
}

#[test]
fn rows_are_those_of_a_perfect_client() {
    let settings = EngineSettings::default();
    let recording = open_loop(&settings, &arrivals(300, 5_000_000)).unwrap();
    assert_eq!(recording.requests.len(), 300);
    assert!(
        recording
            .chunks
            .is_sorted_by_key(|chunk| (chunk.request_id, chunk.seq))
    );
    let mut chunks = recording.chunks.iter().peekable();
    for row in &recording.requests {
        let own: Vec<&ChunkRow> =
            std::iter::from_fn(|| chunks.next_if(|c| c.request_id == row.request_id)).collect();
        let content: Vec<&&ChunkRow> = own
            .iter()
            .filter(|chunk| chunk.channel == Channel::Content)
            .collect();
        assert_eq!(own[0].channel, Channel::Role);
        assert_eq!(row.usage_output_tokens, row.output_tokens_planned);
        assert_eq!(Some(row.chunk_count), row.usage_output_tokens);
        assert_eq!(content.len(), usize::try_from(row.chunk_count).unwrap());
        assert_eq!(Some(content[0].arrival_ns), row.first_token_ns);
        assert_eq!(
            content.last().map(|chunk| chunk.arrival_ns),
            row.last_token_ns
        );
        assert_eq!(
            content.iter().filter_map(|chunk| chunk.gap_ns).max(),
            row.max_gap_ns
        );
        assert_eq!(content[0].gap_ns, None);
        let bytes: i64 = own.iter().map(|chunk| i64::from(chunk.bytes)).sum();
        assert_eq!(bytes, row.response_bytes);
        assert_eq!(
            (row.status, row.sent_ns),
            (Status::Ok, Some(row.intended_ns))
        );
        let tail: Vec<Channel> = own[own.len() - 3..].iter().map(|c| c.channel).collect();
        assert_eq!(tail, [Channel::Finish, Channel::Usage, Channel::Done]);
    }
    assert_eq!(chunks.next(), None);
}

#[test]
fn a_closed_loop_sends_the_next_request_when_one_ends() {
    let requests = [Lengths {
        input_tokens: 50,
        output_tokens: 10,
    }; 40];
    let recording = closed_loop(&EngineSettings::default(), 4, &requests).unwrap();
    let rows = &recording.requests;
    let mut ends: Vec<i64> = rows.iter().filter_map(|row| row.end_ns).collect();
    ends.sort_unstable();
    for (row, end_ns) in rows[4..].iter().zip(&ends) {
        assert_eq!(row.intended_ns, *end_ns);
    }
    assert!(rows.iter().all(|row| row.status == Status::Ok));
}

#[test]
fn what_the_server_would_refuse_is_a_failed_row() {
    let settings = EngineSettings {
        max_queue: Some(1),
        ..EngineSettings::default()
    };
    let mut burst = arrivals(3, 0);
    burst[2].lengths.input_tokens = 1_000_000;
    let recording = open_loop(&settings, &burst).unwrap();
    let kinds: Vec<_> = recording
        .requests
        .iter()
        .map(|row| (row.http_status, row.error_kind.as_ref().map(Label::as_str)))
        .collect();
    let expected = [
        (Some(200), None),
        (Some(429), Some("http_429")),
        (Some(400), Some("http_4xx")),
    ];
    assert_eq!(kinds, expected);
    assert!(recording.chunks.iter().all(|chunk| chunk.request_id == 0));
}

#[test]
fn arrivals_out_of_order_are_run_in_order_and_keep_their_numbers() {
    let mut rows = arrivals(30, 3_000_000);
    let in_order = open_loop(&EngineSettings::default(), &rows).unwrap();
    rows.reverse();
    let reversed = open_loop(&EngineSettings::default(), &rows).unwrap();
    let times = |recording: &Recording| -> Vec<Option<i64>> {
        recording
            .requests
            .iter()
            .map(|row| row.last_token_ns)
            .collect()
    };
    let mut expected = times(&in_order);
    expected.reverse();
    assert_eq!(times(&reversed), expected);
}
