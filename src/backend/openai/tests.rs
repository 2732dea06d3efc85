//! What each shape of event means, for every shape that servers of the OpenAI protocols send.

use std::fmt::Write;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::backend::sse::Decoder;
use crate::capture::schema::TokensSource;

/// Writes a reading on one line, leaving out what is absent.
fn line(reading: &Reading) -> String {
    let mut line = reading.channel.to_string();
    if reading.has_choices {
        line.push_str(" choices");
    }
    if let Some(text) = &reading.text {
        write!(line, " {text:?}").expect("fits in memory");
    }
    if let (Some(tokens), Some(source)) = (reading.tokens, reading.tokens_source)
        && source != TokensSource::Event
    {
        write!(line, " tokens={tokens}/{source}").expect("fits in memory");
    }
    if let Some(usage) = reading.usage {
        let counts = [usage.input, usage.output, usage.reasoning, usage.cached];
        let counts = counts.map(|count| count.map_or("-".to_owned(), |count| count.to_string()));
        write!(line, " usage={}", counts.join("/")).expect("fits in memory");
    }
    if let Some(reason) = &reading.finish_reason {
        write!(line, " finish={reason}").expect("fits in memory");
    }
    if let Some(id) = &reading.response_id {
        write!(line, " id={id}").expect("fits in memory");
    }
    if let Some(error) = &reading.error {
        let code = error.code.as_deref().unwrap_or("-");
        write!(line, " error={code}:{:?}", error.message).expect("fits in memory");
    }
    if let Some(field) = &reading.unread_text {
        write!(line, " unread={field}").expect("fits in memory");
    }
    for (flag, word) in [(reading.is_done, " done"), (reading.is_broken, " broken")] {
        line.push_str(if flag { word } else { "" });
    }
    line
}

/// Reads each item as the data of an event of one response.
fn read_all<'a>(events: impl IntoIterator<Item = &'a str>) -> String {
    let mut reader = OpenAiReader::new(true);
    let lines: Vec<String> = events
        .into_iter()
        .map(|event| line(&reader.read(event.as_bytes())))
        .collect();
    lines.join("\n")
}

/// Decodes `stream` and reads its events.
fn read_stream(stream: &str) -> String {
    let mut reader = OpenAiReader::new(true);
    let mut lines = Vec::new();
    Decoder::new()
        .push(stream.as_bytes(), |event| {
            lines.push(line(&reader.read_event(&event)));
        })
        .expect("the input is small");
    lines.join("\n")
}

/// Reads each delta as that of a chat of its own.
fn read_deltas(deltas: &[&str]) -> String {
    let lines: Vec<String> = deltas
        .iter()
        .map(|delta| {
            read_all([format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).as_str()])
        })
        .collect();
    lines.join("\n")
}

#[test]
fn reads_a_chat_stream_from_role_to_end_mark() {
    assert_snapshot!(read_stream(concat!(
        ": ping\n\n",
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#, "\n\n",
        r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#, "\n\n",
        r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"lo \u00e9\n"},"finish_reason":null}]}"#, "\n\n",
        r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, "\n\n",
        r#"data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#, "\n\n",
        "data: [DONE]\n\n",
    )), @r#"
    comment
    role choices id=chatcmpl-1
    content choices "Hel"
    content choices "lo é\n"
    finish choices finish=stop
    usage usage=9/2/0/4
    done done
    "#);
}

#[test]
fn reads_a_completions_stream() {
    assert_snapshot!(read_all([
        r#"{"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":" a","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}"#,
        r#"{"id":"cmpl-1","choices":[{"index":0,"text":"","finish_reason":null}]}"#,
        r#"{"id":"cmpl-1","choices":[{"index":0,"text":" b","finish_reason":"length"}]}"#,
        r#"{"id":"cmpl-1","choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#,
        r#"{"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}"#,
    ]), @r#"
    content choices " a" id=cmpl-1
    empty choices
    content choices " b" finish=length
    finish choices finish=stop
    usage usage=3/2/-/-
    "#);
}

#[test]
fn tells_token_bearing_deltas_from_the_others() {
    assert_snapshot!(read_deltas(&[
        r#"{"content":"a"}"#,
        r#"{"content":""}"#,
        r#"{"content":null}"#,
        r#"{}"#,
        r#"null"#,
        r#"{"role":"assistant"}"#,
        r#"{"role":"assistant","content":"a"}"#,
        r#"{"reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"reasoning_content":"hm","reasoning":"hm"}"#,
        r#"{"reasoning_content":"","reasoning":"hm","content":""}"#,
        r#"{"reasoning":"hm","content":"a"}"#,
        r#"{"tool_calls":[{"index":0,"id":"call-1","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"call-1","function":{"arguments":""}}]}"#,
        r#"{"tool_calls":[]}"#,
        r#"{"function_call":{"name":"f","arguments":"1"}}"#,
        r#"{"refusal":"no"}"#,
        r#"{"audio":{"id":"audio-1"}}"#,
        r#"{"audio":{"data":"UklG"}}"#,
        r#"{"audio":{"transcript":"hi"}}"#,
        r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
    ]), @r#"
    content choices "a"
    empty choices
    empty choices
    empty choices
    empty choices
    role choices
    content choices "a"
    reasoning choices "hm"
    reasoning choices "hm"
    reasoning choices "hm"
    reasoning choices "hm"
    content choices "hma"
    tool choices "f"
    tool choices "{\"x\":"
    empty choices
    empty choices
    tool choices "f1"
    refusal choices "no"
    empty choices
    audio choices ""
    audio choices "hi"
    content choices "ab"
    reasoning choices "hm"
    "#);
}

#[test]
fn counts_tokens_by_a_running_usage_and_carries_those_without_text() {
    assert_snapshot!(read_all([
        r#"{"choices":[{"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":7,"completion_tokens":0}}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#,
        r#"{"choices":[{"delta":{"content":"bcd"}}],"usage":{"prompt_tokens":7,"completion_tokens":4}}"#,
        r#"{"choices":[{"delta":{"content":"!"}}],"usage":{"prompt_tokens":7,"completion_tokens":4}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#,
    ]), @r#"
    role choices usage=7/0/-/-
    content choices "a" tokens=1/usage usage=7/1/-/-
    usage choices usage=7/2/-/-
    content choices "bcd" tokens=3/usage usage=7/4/-/-
    content choices "!" tokens=0/usage usage=7/4/-/-
    finish choices usage=7/5/-/- finish=stop
    usage usage=7/5/-/-
    "#);
}

#[test]
fn trusts_no_usage_that_is_not_a_running_count() {
    // Once at the end of a stream that had none; always 0 until the end; falling.
    for usages in [["null", "null", "9"], ["0", "0", "9"], ["5", "3", "9"]] {
        let mut reader = OpenAiReader::new(false);
        let tokens: Vec<Option<u16>> = usages
            .iter()
            .map(|usage| {
                let event = format!(
                    r#"{{"choices":[{{"text":"x"}}],"usage":{{"completion_tokens":{usage}}}}}"#
                );
                reader.read(event.as_bytes()).tokens
            })
            .collect();
        let first = if usages[0] == "5" { 5 } else { 1 };
        assert_eq!(tokens, [Some(first), Some(1), Some(1)], "{usages:?}");
    }
}

#[test]
fn running_counts_of_several_choices_are_not_one_count() {
    let event = |choice: u32, text: &str, counted: u32| {
        format!(
            r#"{{"choices":[{{"index":{choice},"text":"{text}"}}],"usage":{{"completion_tokens":{counted}}}}}"#
        )
    };
    let events = [
        event(0, "a", 1),
        event(1, "b", 1),
        event(0, "c", 2),
        event(1, "d", 2),
    ];
    assert_snapshot!(read_all(events.iter().map(String::as_str)), @r#"
    content choices "a" tokens=1/usage usage=-/1/-/-
    content choices "b" usage=-/1/-/-
    content choices "c" usage=-/2/-/-
    content choices "d" usage=-/2/-/-
    "#);
}

#[test]
fn usage_may_stand_in_the_choice_and_cached_tokens_beside_the_others() {
    let events = [
        r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":8}}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":7}}"#,
        r#"{"choices":[{"index":0,"usage":{"completion_tokens":1}},{"index":1}]}"#,
    ];
    assert_snapshot!(read_all(events), @r#"
    usage choices usage=9/2/-/8
    usage usage=9/2/-/7
    empty choices
    "#);
}

#[test]
fn counts_tokens_by_ids_or_log_probabilities() {
    assert_snapshot!(read_all([
        r#"{"choices":[{"text":"ab","token_ids":[5,6]}]}"#,
        r#"{"choices":[{"text":"","token_ids":[7]}]}"#,
        r#"{"choices":[{"text":"c","token_ids":[8]}]}"#,
        r#"{"choices":[{"text":"d","token_ids":null,"logprobs":{"tokens":["d"],"token_logprobs":[-0.1]}}]}"#,
        r#"{"choices":[{"delta":{"content":"ef"},"logprobs":{"content":[{"token":"e"},{"token":"f"}],"refusal":null}}]}"#,
        r#"{"choices":[{"delta":{"content":"g"},"token_ids":[]}]}"#,
        r#"{"choices":[{"delta":{"content":"h"},"logprobs":{"content":null}}]}"#,
    ]), @r#"
    content choices "ab" tokens=2/ids
    empty choices
    content choices "c" tokens=2/ids
    content choices "d" tokens=1/ids
    content choices "ef" tokens=2/ids
    content choices "g"
    content choices "h"
    "#);
}

#[test]
fn tokens_of_an_echoed_prompt_are_not_of_the_answer() {
    let read = |choice: &str| {
        let mut reader = OpenAiReader::new(false);
        let reading = reader.read(format!(r#"{{"choices":[{choice}]}}"#).as_bytes());
        (reading.tokens, reader.tally().by_ids)
    };
    for (choice, told) in [
        (
            r#"{"text":"p q a","logprobs":{"tokens":["p"," q"," a"],"token_logprobs":[null,-1,-1]},"prompt_token_ids":[1,2]}"#,
            Some(1),
        ),
        // Ids that were asked for are there without an echo too, beside those of the answer.
        (
            r#"{"text":"a b","logprobs":{"tokens":["a"," b"],"token_logprobs":[-1,-1]},"token_ids":[3,4],"prompt_token_ids":[1,2]}"#,
            Some(2),
        ),
        (
            r#"{"text":"a b","logprobs":{"tokens":["a"," b"],"token_logprobs":[-1,-1]},"prompt_token_ids":[1,2]}"#,
            Some(2),
        ),
        // Nobody says where the prompt ends.
        (
            r#"{"text":"p q a","logprobs":{"tokens":["p"," q"," a"],"token_logprobs":[null,-1,-1]}}"#,
            None,
        ),
        (
            r#"{"text":"p","logprobs":{"tokens":["p"],"token_logprobs":[null]},"prompt_token_ids":[1,2]}"#,
            None,
        ),
    ] {
        let tokens = told.unwrap_or(1);
        let (read, by_ids) = read(choice);
        assert_eq!(
            (read.map(u32::from), by_ids),
            (Some(tokens), told),
            "{choice}"
        );
    }
}

#[test]
fn ids_beside_the_choices_number_the_tokens_of_an_event() {
    let mut reader = OpenAiReader::new(false);
    let mut read = |event: &str| {
        let reading = reader.read(event.as_bytes());
        reading.tokens.zip(reading.tokens_source)
    };
    let ids = |tokens| Some((tokens, TokensSource::Ids));
    let event = r#"{"choices":[{"delta":{"content":"a"}}],"nvext":{"completion_token_ids":[1,2]}}"#;
    assert_eq!(read(event), ids(2));
    let event = r#"{"choices":[{"delta":{"content":""}}],"nvext":{"completion_token_ids":[3]}}"#;
    assert_eq!(read(event), None);
    let event = r#"{"choices":[{"delta":{"content":"b"}}],"nvext":{"completion_token_ids":[4]}}"#;
    assert_eq!(read(event), ids(2));
    let event = r#"{"choices":[],"nvext":{"token_ids":[8,8,8]}}"#;
    assert_eq!(read(event), None);
    assert_eq!(reader.tally().by_ids, Some(4));
}

#[test]
fn recognises_an_error_in_every_shape() {
    assert_snapshot!(read_stream(concat!(
        r#"data: {"error":{"message":"out of memory","type":"InternalServerError","param":null,"code":500}}"#, "\n\n",
        r#"data: {"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#, "\n\n",
        r#"data: {"error":{"message":"busy","type":"server_error","code":null}}"#, "\n\n",
        r#"data: {"error":"overloaded","error_type":"overloaded"}"#, "\n\n",
        r#"data: {"error":{}}"#, "\n\n",
        r#"data: {"id":"x","error":{"message":"cut","code":502},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#, "\n\n",
        r#"data: {"error":null,"choices":[{"text":"fine"}]}"#, "\n\n",
        "event: error\ndata: the engine died\n\n",
        "event: error\ndata: {\"message\":\"died\",\"type\":\"x\"}\n\n",
        "event: error\ndata: {\"choices\":[{\"text\":\"cut\"}]}\n\n",
        "event: message\ndata: {\"choices\":[{\"text\":\"fine\"}]}\n\n",
    )), @r#"
    error error=500:"out of memory"
    error error=400:"too long"
    error error=server_error:"busy"
    error error=-:"overloaded"
    error error=-:"the server gave no reason"
    finish choices finish=error id=x error=502:"cut"
    content choices "fine"
    error error=-:"the engine died"
    error error=x:"died"
    content choices "cut" error=-:"{\"choices\":[{\"text\":\"cut\"}]}"
    content choices "fine"
    "#);
}

#[test]
fn marks_what_is_not_json_as_broken() {
    assert_snapshot!(read_all([
        r#"{"choices":[{"text":"a"}]"#,
        "not JSON",
        "{} {}",
        "[DONE",
        "\u{feff}{}",
    ]), @r"
    other broken
    other broken
    other broken
    other broken
    other broken
    ");
    assert!(OpenAiReader::new(true).read(b"{\"id\":\"\xFF\"}").is_broken);
}

#[test]
fn reads_odd_but_legal_json() {
    assert_snapshot!(read_all([
        "",
        "  [DONE] ",
        "17",
        "[]",
        "null",
        r#"{"choices":null}"#,
        r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"{"choices":[17,{"text":5},{"text":"a","finish_reason":""}],"usage":[]}"#,
        r#"{"choices":{"text":"a"},"id":7,"usage":{}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":"9","completion_tokens":99999999999,"prompt_tokens_details":null,"completion_tokens_details":[1]}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":12.0,"prompt_tokens_details":{"cached_tokens":1.5}}}"#,
        r#"{"choices":[{"text":"first","text":"last"}],"usage":null}"#,
        r#"{"choices":[{"index":0,"text":"a"},{"index":1,"text":"b","finish_reason":"stop"}]}"#,
    ]), @r#"
    empty
    done done
    other
    other
    other
    other
    other
    content choices "a"
    content choices "a"
    other
    usage usage=-/12/-/-
    content choices "last"
    content choices "ab" finish=stop
    "#);
}

#[test]
fn keeps_text_and_the_response_id_only_as_asked() {
    let event = br#"{"id":"r","choices":[{"text":"a"}]}"#;
    let mut reader = OpenAiReader::new(false);
    let first = reader.read(event);
    assert_eq!((first.channel, first.text), (Channel::Content, None));
    assert_eq!(first.response_id.as_deref(), Some("r"));
    assert_eq!(reader.read(event).response_id, None);
}

#[test]
fn survives_deep_nesting() {
    let mut reader = OpenAiReader::new(true);
    let depth = 100_000;
    let unknown = format!(
        r#"{{"x":{}{},"choices":[{{"text":"a"}}]}}"#,
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert!(
        !reader
            .read(unknown.as_bytes())
            .channel
            .to_string()
            .is_empty()
    );
    let content = format!(
        r#"{{"choices":[{{"delta":{{"content":{}"#,
        r#"[{"thinking":"#.repeat(depth)
    );
    assert!(reader.read(content.as_bytes()).is_broken);
}

/// Fragments that make events which are nearly right.
fn event_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(r#"{"choices":[{"delta":{"#.to_owned()),
        Just(r#""content":"#.to_owned()),
        Just(r#""usage":{"completion_tokens":"#.to_owned()),
        Just(r#""error":"#.to_owned()),
        Just(r#""text""#.to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        Just("1e400".to_owned()),
        Just("-0.0".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        "[ -~]{0,6}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn never_panics_and_keeps_its_promises(
        events in proptest::collection::vec(
            prop_oneof![event_bytes(), proptest::collection::vec(any::<u8>(), 0..64)], 1..6),
    ) {
        let mut reader = OpenAiReader::new(true);
        for event in &events {
            let reading = reader.read(event);
            prop_assert_eq!(reading.tokens.is_some(), reading.tokens_source.is_some());
            prop_assert_eq!(reading.text.is_some(), reading.channel.is_token_bearing());
            prop_assert!(!reading.is_broken || reading.channel == Channel::Other);
        }
    }
}

/// One event of a kind that streams repeat, with `text` put in as it is.
fn repeated(kind: usize, text: &str) -> String {
    match kind {
        0 => format!(r#"{{"id":"r","choices":[{{"index":0,"text":"{text}"}}],"usage":null}}"#),
        1 => format!(r#"{{"id":"r","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#),
        2 => format!(
            r#"{{"choices":[{{"delta":{{"reasoning_content":"{text}","reasoning":"{text}"}}}}]}}"#
        ),
        3 => format!(r#"{{"choices":[{{"delta":{{"role":"assistant","content":"{text}"}}}}]}}"#),
        4 => format!(r#"{{"choices":[{{"text":"{text}","finish_reason":"length"}}]}}"#),
        5 => format!(
            r#"{{"choices":[{{"text":"{text}","token_ids":[1,2]}}],"id":"q","x":"{text}"}}"#
        ),
        6 => format!(r#"{{"choices":[{{"text":"{text}"}}],"usage":{{"completion_tokens":3}}}}"#),
        7 => format!(r#"{{"choices":[{{"text":"{text}"}},{{"text":"b"}}]}}"#),
        8 => format!(r#"{{"choices":[{{"text":"a","text":"{text}"}}]}}"#),
        9 => format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"arguments":"{text}"}}}}]}}}}]}}"#
        ),
        10 => format!(r#"{{"choices":[{{"text":"{text}"}}],"error":"e"}}"#),
        _ => text.to_owned(),
    }
}

proptest! {
    #[test]
    fn an_event_that_repeats_another_reads_as_it_does_alone(
        events in prop::collection::vec(
            (
                0_usize..12,
                prop_oneof![
                    "[ -~]{0,6}",
                    Just(String::new()),
                    Just("a".to_owned()),
                    Just("é 漢".to_owned()),
                    Just("\\n\\u00e9".to_owned()),
                    Just("\",\"x\":\"".to_owned()),
                    Just("\u{1}".to_owned()),
                    Just("a\"},{\"text\":\"b".to_owned()),
                ],
                1_usize..4,
            ),
            1..12,
        ),
        keeps_text in any::<bool>(),
    ) {
        let mut short = OpenAiReader::new(keeps_text);
        let mut full = OpenAiReader::new(keeps_text);
        for (kind, text, times) in events {
            for time in 0..times {
                let data = repeated(kind, &if time == 1 { format!("{text}!") } else { text.clone() });
                full.templates.forget();
                prop_assert_eq!(
                    short.read(data.as_bytes()),
                    full.read(data.as_bytes()),
                    "{}", data
                );
            }
        }
    }
}

#[test]
fn a_stream_that_varies_is_not_chased() {
    let mut reader = OpenAiReader::new(true);
    for number in 0..100 {
        let event = format!(r#"{{"choices":[{{"text":"a"}}],"obfuscation":"{number}"}}"#);
        assert_eq!(reader.read(event.as_bytes()).text.as_deref(), Some("a"));
    }
}

#[test]
fn names_that_a_server_gives_are_kept_on_one_line_and_short() {
    let long = format!("\u{1b}[2J\n{}", "x".repeat(1 << 20));
    let event = serde_json::json!({
        "id": long,
        "choices": [{ "index": 0, "delta": {}, "finish_reason": long }],
    });
    let reading = OpenAiReader::new(false).read(event.to_string().as_bytes());
    for name in [reading.response_id.unwrap(), reading.finish_reason.unwrap()] {
        assert!(name.starts_with("[2J x") && name.ends_with('…'), "{name}");
        assert_eq!(name.chars().count(), 501);
    }
    let blank = r#"{"id":" \u0007","choices":[{"delta":{},"finish_reason":"\n"}]}"#;
    let mut reader = OpenAiReader::new(false);
    let reading = reader.read(blank.as_bytes());
    assert_eq!((reading.response_id, reading.finish_reason), (None, None));
    let named = reader.read(br#"{"id":"r","choices":[]}"#);
    assert_eq!(named.response_id.as_deref(), Some("r"));
}
