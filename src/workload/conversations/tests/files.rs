//! Conversations of files.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{How, USUAL, contents, first, opened, refused};
use crate::workload::turns::Conversation;

const FILE: &str = r#"[
  {"id": "peaks", "conversations": [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "What is the tallest mountain?"},
    {"from": "gpt", "value": "Mount Everest, in Asia."},
    {"from": "human", "value": "And the second?"},
    {"from": "gpt", "value": "K2."},
    {"from": "human", "value": "Thanks a lot!"}]},
  {"id": "legs", "messages": [
    {"role": "assistant", "content": "How can I help?"},
    {"role": "user", "content": "How many legs has a spider?"},
    {"role": "assistant", "content": "Eight."}]},
  {"messages": []},
  {"conversations": [{"from": "human", "value": "One question?"}]},
  {"id": 7, "session_id": "x", "conversation": [
    {"role": "user", "content": "First", "output_tokens": 40},
    {"role": "assistant", "content": "One two three"},
    {"role": "user", "content": "Then", "delay": 1500.5},
    {"role": "assistant", "content": "Four five"}]}
]"#;

fn none() -> Value {
    json!({})
}

fn named(conversations: &[Conversation], id: &str) -> Conversation {
    conversations
        .iter()
        .find(|one| one.id == id)
        .unwrap()
        .clone()
}

#[test]
fn each_turn_has_what_is_new_in_it_and_the_reply_that_was_recorded() {
    let file = opened(FILE, &none(), USUAL).unwrap();
    assert_eq!(file.count(), Some(4));
    let all = first(&*file, 4);
    let peaks = named(&all, "peaks");
    assert_eq!(contents(&peaks.opening), ["Be brief."]);
    let said: Vec<_> = peaks
        .turns
        .iter()
        .map(|turn| (contents(&turn.messages), turn.reply.as_deref()))
        .collect();
    assert_eq!(
        said,
        [
            (
                vec!["What is the tallest mountain?"],
                Some("Mount Everest, in Asia.")
            ),
            (vec!["And the second?"], Some("K2.")),
            (vec!["Thanks a lot!"], None),
        ]
    );
    // Of a first turn with the opening.
    let tokens: Vec<_> = peaks.turns.iter().map(|turn| turn.tokens).collect();
    assert_eq!(tokens, [Some(7), Some(3), Some(3)]);
    let outputs: Vec<_> = peaks.turns.iter().map(|turn| turn.output_tokens).collect();
    assert_eq!(outputs, [4, 1, 0]);
    let legs = named(&all, "legs");
    assert!(legs.opening.is_empty() && legs.turns.len() == 1);
    assert_eq!(
        contents(&legs.turns[0].messages),
        ["How many legs has a spider?"]
    );
    assert_eq!(
        named(&all, "c4").turns.len(),
        1,
        "named by its place in the file"
    );
    let seven = named(&all, "7");
    let outputs: Vec<_> = seven.turns.iter().map(|turn| turn.output_tokens).collect();
    assert_eq!(outputs, [40, 2]);
    let pauses: Vec<_> = seven.turns.iter().map(|turn| turn.think_ns).collect();
    assert_eq!(pauses, [0, 1_500_500_000]);
    let note = file.note().unwrap();
    insta::assert_snapshot!(note, @"note: the 4 conversations of the file may be sent, and again under other names where the run has room for more; 1 of its 5 records has no words of a user (not sent); in 1 conversation the assistant speaks first (those words are not sent); nobody knows how long the answers to 2 of 7 turns are to be, so they are as long as the server makes them (`--conversation-output-len`)");
}

#[test]
fn lines_packed_or_not_are_read_as_an_array_is_and_the_seed_decides_the_order() {
    let all: Vec<Value> = serde_json::from_str(FILE).unwrap();
    let lines = all.iter().fold(String::new(), |mut lines, one| {
        writeln!(lines, "{one}").unwrap();
        lines
    });
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(lines.as_bytes()).unwrap();
    let of_array = first(&*opened(FILE, &none(), USUAL).unwrap(), 4);
    for bytes in [lines.into_bytes(), packed.finish().unwrap()] {
        assert_eq!(first(&*opened(bytes, &none(), USUAL).unwrap(), 4), of_array);
    }
    let orders: HashSet<String> = (0..8)
        .map(|seed| {
            let file = opened(FILE, &none(), How { seed, ..USUAL }).unwrap();
            first(&*file, 4)
                .into_iter()
                .map(|one| one.id + " ")
                .collect()
        })
        .collect();
    assert!(orders.len() > 1);
    // A smaller sample is the beginning of a larger one.
    let two = How {
        count: Some(2),
        ..USUAL
    };
    let two = opened(FILE, &none(), two).unwrap();
    assert_eq!(
        (two.count(), first(&*two, 2)),
        (Some(2), of_array[..2].to_vec())
    );
    assert!(!two.note().unwrap().contains("are sent, then"));
}

#[test]
fn a_file_that_is_sent_again_has_the_same_conversations_under_other_names() {
    let ten = How {
        count: Some(10),
        ..USUAL
    };
    let file = opened(FILE, &none(), ten).unwrap();
    let all = first(&*file, 10);
    let ids: HashSet<&str> = all.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids.len(), 10);
    assert!(ids.contains("peaks") && ids.contains("peaks-2"), "{ids:?}");
    for (one, again) in all.iter().zip(&all[4..]) {
        assert_eq!((&one.opening, &one.turns), (&again.opening, &again.turns));
    }
    assert!(file.note().unwrap().contains("again under other names"));
    let once = How {
        repeats: false,
        ..ten
    };
    let note = opened(FILE, &none(), once).unwrap().note().unwrap();
    assert!(note.contains("and the run ends with them"), "{note}");
    let four = How {
        count: Some(4),
        ..USUAL
    };
    let note = opened(FILE, &none(), four).unwrap().note().unwrap();
    assert!(!note.contains("are sent"), "{note}");
    let same = json!([
        { "id": "a", "messages": [{ "role": "user", "content": "one" }] },
        { "id": "a", "messages": [{ "role": "user", "content": "two" }] },
    ]);
    let same = opened(same.to_string(), &none(), USUAL).unwrap();
    let ids: Vec<String> = first(&*same, 4).into_iter().map(|one| one.id).collect();
    assert_eq!(ids, ["a", "a-2", "a-3", "a-4"]);
}

#[test]
fn flags_come_before_what_a_file_says() {
    let flags = json!({
        "conversation_output_len": "9",
        "think_time": "uniform:1:2",
        "max_turns": 2,
    });
    let file = opened(FILE, &flags, USUAL).unwrap();
    assert_eq!(file.typical_output_tokens(), Some(9));
    let all = first(&*file, 4);
    let turns = || all.iter().flat_map(|one| &one.turns);
    assert!(turns().all(|turn| turn.output_tokens == 9));
    assert_eq!(named(&all, "peaks").turns.len(), 2);
    for one in &all {
        assert_eq!(one.turns[0].think_ns, 0);
        for turn in &one.turns[1..] {
            assert!((1_000_000_000..2_000_000_000).contains(&turn.think_ns));
        }
    }
    assert_eq!(
        first(&*file, 4),
        first(&*opened(FILE, &flags, USUAL).unwrap(), 4)
    );
}

#[test]
fn without_a_tokenizer_nobody_knows_how_long_anything_is() {
    let without = How {
        counts: false,
        ..USUAL
    };
    let legs = json!({ "id": "a", "messages": [{ "role": "user", "content": "Legs?" },
                                               { "role": "assistant", "content": "Eight." }] });
    let file = opened(legs.to_string(), &none(), without).unwrap();
    let turn = &file.conversation(0).turns[0];
    assert_eq!((turn.tokens, turn.output_tokens), (None, 0));
    assert_eq!(file.typical_output_tokens(), None);
    let note = file.note().unwrap();
    assert!(
        note.contains("`--tokenizer` or `--conversation-output-len`"),
        "{note}"
    );
    let fixed = json!({ "conversation_output_len": "uniform:10:20" });
    let file = opened(legs.to_string(), &fixed, without).unwrap();
    assert_eq!(file.typical_output_tokens(), Some(15));
    assert!(!file.note().unwrap().contains("nobody knows"));
}

#[test]
fn a_warm_up_is_of_the_length_of_a_first_turn_in_other_words() {
    let file = opened(FILE, &none(), USUAL).unwrap();
    for index in 0..4 {
        let warmup = file.warmup(1 << 62 | index);
        let turn = &file.conversation(1 << 62 | index).turns[0];
        assert_eq!(warmup.tokens, turn.tokens);
        assert!(!contents(&turn.messages).contains(&warmup.text.as_str()));
        assert!(warmup.output_tokens > 0 && warmup.is_made_up);
    }
}

#[test]
fn what_is_no_file_of_conversations_is_told_by_its_place() {
    let long = format!("[{{\"messages\": [\"{}\"]}}]", "a".repeat(70 << 20));
    let messages = [
        refused("", &none()),
        refused("[]", &none()),
        refused("{}", &none()),
        refused("[1, 2]", &none()),
        refused("id,prompt\n1,a\n", &none()),
        refused(b"PAR1\0\0\0", &none()),
        refused("{\"messages\": []}\n{\"messages\": [", &none()),
        refused("[{\"messages\": [{\"role\": \"user\",]}]", &none()),
        refused("[{\"messages\": []}] x", &none()),
        refused(long, &none()),
        refused(
            r#"{"messages": [{"role": "narrator", "content": "Once"}]}"#,
            &none(),
        ),
        refused(
            r#"{"turns": [{"text": "What?", "image": "a.png"}]}"#,
            &none(),
        ),
    ];
    insta::assert_snapshot!(messages.join("\n"), @"
    it has no conversation
    it has no conversation
    it has no conversation that can be sent: its only record has no list of messages
    invalid type: integer `1`, expected an object at line 1 column 2
    expected value at line 1 column 1
    it is a file of Parquet
    EOF while parsing a list at line 2 column 14
    key must be a string at line 1 column 32
    trailing characters at line 1 column 20
    a conversation is over 64 MiB at line 1 column 2
    it has no conversation that can be sent: its only record has a message of someone who is not known, such as `narrator`
    it has no conversation that can be sent: its only record has images, audio or video, which are not read here
    ");
}

#[test]
fn conversations_that_can_not_be_sent_are_counted_beside_those_that_can() {
    let lines = [
        json!({ "messages": [{ "role": "user", "content": "a" }] }),
        json!({ "messages": [{ "role": "system", "content": "b" }] }),
        json!({ "messages": [{ "role": "user", "content": " " }] }),
        json!({ "text": "c" }),
        json!({ "messages": [{ "role": "narrator", "content": "d" }] }),
        json!({ "messages": [{ "content": "e" }] }),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let one = How {
        count: Some(1),
        ..USUAL
    };
    let file = opened(lines, &json!({ "conversation_output_len": "5" }), one).unwrap();
    assert_eq!(file.count(), Some(1));
    insta::assert_snapshot!(file.note().unwrap(), @"note: 1 of its 6 records has no list of messages (not sent); 2 of its 6 records have no words of a user (not sent); 2 of its 6 records have a message of someone who is not known, such as `narrator` (not sent)");
}

#[test]
fn what_of_conversations_is_not_sent_as_it_stands_is_told() {
    let lines = [
        json!({ "messages": [{ "role": "assistant", "content": "Hello" }, { "role": "user", "content": "Name" },
                             { "role": "assistant", "content": "Ann" }, { "role": "user", "content": "Why?" }] }),
        json!({ "messages": [{ "role": "user", "content": null }, { "role": "assistant", "content": "a" },
                             { "role": "user", "content": [{ "type": "image_url" }] }] }),
        json!({ "messages": [{ "role": "user", "content": "b" }, { "role": "function_call", "content": "c" },
                             { "role": "tool", "content": null }, { "role": "assistant", "content": "d" }] }),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let three = How {
        count: Some(3),
        ..USUAL
    };
    let file = opened(lines, &none(), three).unwrap();
    insta::assert_snapshot!(file.note().unwrap(), @"note: of 1 conversation with tools, results are sent and calls are not; in 1 conversation the assistant speaks first (those words are not sent); 1 message of a user has no text (not sent, nor the answers to them); images and the like of 1 conversation are sent, and not counted in lengths; nobody knows how long the answers to 3 of 5 turns are to be, so they are as long as the server makes them (`--conversation-output-len`)");
}

#[test]
fn a_flag_that_makes_no_sense_is_told_before_the_file_is_read() {
    let wrong = json!({ "think_time": "uniform:3" });
    let error = opened("[", &wrong, USUAL).err().unwrap().to_string();
    assert!(
        error.starts_with("`--think-time uniform:3`: `uniform` takes 2 numbers"),
        "{error}"
    );
}
