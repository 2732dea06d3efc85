//! Made-up conversations, by flags and by the file of vLLM's benchmark.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{How, USUAL, contents, first, opened, opened_at, refused};
use crate::workload::turns::{Conversation, Conversations};

fn made_up(options: &Value, seed: u64) -> Box<dyn Conversations> {
    opened_at(None, options, How { seed, ..USUAL }).unwrap()
}

/// Flags under which everything is drawn.
fn drawn() -> Value {
    json!({
        "conversation_turns": "uniform:1:6",
        "conversation_first_len": "lognormal:40:20",
        "conversation_turn_len": "gamma:12:6",
        "conversation_output_len": "poisson:30",
        "conversation_prefix_len": "uniform:5:15",
        "conversation_prefixes": 7,
        "conversation_prefix_zipf": 1.0,
        "think_time": "exponential:2",
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// The user's words in each turn.
fn of_user(conversation: &Conversation) -> Vec<&str> {
    let turns = conversation.turns.iter();
    turns.flat_map(|turn| contents(&turn.messages)).collect()
}

#[test]
fn without_flags_conversations_have_five_turns_of_128_tokens() {
    let made_up = made_up(&json!({}), 1);
    assert_eq!((made_up.count(), made_up.note()), (None, None));
    assert_eq!(made_up.typical_output_tokens(), Some(128));
    let conversation = made_up.conversation(3);
    assert_eq!(conversation.id, "c4");
    assert!(conversation.opening.is_empty());
    assert_eq!(conversation.shared_tokens, Some(0));
    assert_eq!(conversation.turns.len(), 5);
    for turn in &conversation.turns {
        assert_eq!((turn.tokens, turn.output_tokens), (Some(128), 128));
        assert_eq!((turn.think_ns, turn.reply.as_ref()), (0, None));
        assert_eq!(words(contents(&turn.messages)[0]).len(), 128);
        assert_eq!(turn.messages[0]["role"], "user");
    }
}

#[test]
fn everything_that_is_drawn_is_as_the_flags_say() {
    let made_up = made_up(&drawn(), 1);
    let all = first(&*made_up, 2_000);
    let mean = |values: &[f64]| {
        let count = u32::try_from(values.len()).unwrap();
        values.iter().sum::<f64>() / f64::from(count)
    };
    let near = |values: &[f64], wanted: f64| {
        let mean = mean(values);
        assert!(
            (mean - wanted).abs() < 0.05 * wanted,
            "{mean}, not {wanted}"
        );
    };
    let lengths = |from: usize, to: usize| -> Vec<f64> {
        let turns = all
            .iter()
            .flat_map(|one| one.turns.iter().take(to).skip(from));
        turns.map(|turn| f64::from(turn.tokens.unwrap())).collect()
    };
    let turns: Vec<f64> = all
        .iter()
        .map(|one| f64::from(u32::try_from(one.turns.len()).unwrap()))
        .collect();
    near(&turns, 3.5);
    let system: Vec<f64> = all
        .iter()
        .map(|one| f64::from(u32::try_from(words(contents(&one.opening)[0]).len()).unwrap()))
        .collect();
    let first_with_system = mean(&lengths(0, 1)) - mean(&system);
    near(&[first_with_system], 40.0);
    near(&lengths(1, 99), 12.0);
    let turns = || all.iter().flat_map(|one| &one.turns);
    let outputs: Vec<f64> = turns().map(|turn| f64::from(turn.output_tokens)).collect();
    near(&outputs, 30.0);
    #[expect(clippy::cast_precision_loss, reason = "pauses of seconds")]
    let pauses: Vec<f64> = all
        .iter()
        .flat_map(|one| &one.turns[1..])
        .map(|turn| turn.think_ns as f64 / 1e9)
        .collect();
    near(&pauses, 2.0);
    assert!(all.iter().all(|one| one.turns[0].think_ns == 0));
}

#[test]
fn no_two_messages_are_alike_and_system_prompts_are_told_as_shared() {
    let made_up = made_up(&drawn(), 1);
    let all = first(&*made_up, 200);
    let mut seen = HashSet::new();
    let mut systems = HashSet::new();
    for conversation in &all {
        for text in of_user(conversation) {
            assert!(seen.insert(text.to_owned()), "{text}");
        }
        let system = contents(&conversation.opening)[0];
        let tokens = u32::try_from(words(system).len()).unwrap();
        let shared = if systems.insert(system.to_owned()) {
            0
        } else {
            tokens
        };
        assert_eq!(conversation.shared_tokens, Some(shared));
        assert_eq!(conversation.opening[0]["role"], "system");
        let own = u32::try_from(words(of_user(conversation)[0]).len()).unwrap();
        assert_eq!(conversation.turns[0].tokens, Some(tokens + own));
    }
    assert!((4..=7).contains(&systems.len()), "{}", systems.len());
    for index in 0..50 {
        let warmup = made_up.warmup(1 << 62 | index);
        assert!(seen.insert(warmup.text.clone()));
        assert!(
            !systems
                .iter()
                .any(|system| warmup.text.starts_with(system.as_str()))
        );
    }
}

#[test]
fn fewer_turns_are_the_first_of_more() {
    let all = first(&*made_up(&drawn(), 1), 50);
    let mut few = drawn();
    few["max_turns"] = json!(2);
    for (few, all) in first(&*made_up(&few, 1), 50).iter().zip(&all) {
        let most = all.turns.len().min(2);
        assert_eq!(few.turns, all.turns[..most]);
    }
    let mut many = json!({ "conversation_turns": "1e9", "conversation_turn_len": "1" });
    assert_eq!(made_up(&many, 1).conversation(0).turns.len(), 10_000);
    many["conversation_turn_len"] = json!("4e9");
    let long = made_up(&many, 1).conversation(0);
    assert_eq!(
        (long.turns.len(), long.turns[0].tokens),
        (1, Some(16 << 20))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_conversation_is_the_same_in_whatever_order_it_is_asked_for(
        seed: u64,
        indexes in prop::collection::vec(0_u64..60, 1..40),
    ) {
        let in_order = first(&*made_up(&drawn(), seed), 60);
        let other = made_up(&drawn(), seed);
        for index in indexes {
            let at = usize::try_from(index).unwrap();
            prop_assert_eq!(&other.conversation(index), &in_order[at]);
        }
    }
}

/// A file of vLLM's benchmark of conversations.
fn config() -> Value {
    json!({
        "filetype": "generate_conversations",
        "num_conversations": 24,
        "text_files": ["pg1184.txt"],
        "print_stats": false,
        "prompt_input": {
            "num_turns": { "distribution": "uniform", "min": 3, "max": 9 },
            "common_prefix_num_tokens": { "distribution": "constant", "value": 20 },
            "prefix_num_tokens": { "distribution": "lognormal", "average": 50, "max": 90 },
            "num_tokens": { "distribution": "uniform", "min": 25, "max": 30 },
        },
        "prompt_output": { "num_tokens": { "distribution": "uniform", "min": 80, "max": 120 } },
    })
}

#[test]
fn a_file_of_the_benchmark_of_conversations_means_what_it_means_there() {
    let file = opened(config().to_string(), &json!({}), USUAL).unwrap();
    assert_eq!(file.count(), Some(24));
    assert_eq!(file.typical_output_tokens(), Some(100));
    let all = first(&*file, 24);
    // Messages are counted, of which two are a turn: 3 to 9 are 2 to 5 turns.
    let turns: HashSet<usize> = all.iter().map(|one| one.turns.len()).collect();
    assert!(
        turns.iter().all(|turns| (2..=5).contains(turns)),
        "{turns:?}"
    );
    assert!(turns.contains(&2) && turns.contains(&5), "{turns:?}");
    let common = words(of_user(&all[0])[0])[..20].join(" ");
    let mut begins = HashSet::new();
    for (number, conversation) in all.iter().enumerate() {
        assert!(conversation.opening.is_empty());
        assert_eq!(
            conversation.shared_tokens,
            Some(if number == 0 { 0 } else { 20 })
        );
        let said = of_user(conversation);
        assert!(said[0].starts_with(&common));
        assert!(begins.insert(words(said[0])[20..].join(" ")));
        // The common words are in the length of the message, its own prefix is not.
        let tokens = conversation.turns[0].tokens.unwrap();
        assert!((26..=120).contains(&tokens), "{tokens}");
        for turn in &conversation.turns[1..] {
            assert!((25..=30).contains(&turn.tokens.unwrap()));
            assert!((80..=120).contains(&turn.output_tokens));
        }
    }
    let again = file.conversation(24);
    assert_eq!((again.id.as_str(), &again.turns), ("c1-2", &all[0].turns));
    assert_eq!(again.shared_tokens, again.turns[0].tokens);
    insta::assert_snapshot!(file.note().unwrap(), @"note: the 24 conversations of the file may be sent, and again under other names where the run has room for more; the files that `text_files` names are not read: words are made up");
    let flags = json!({ "conversation_output_len": "7", "max_turns": 1, "think_time": "2" });
    let file = opened(config().to_string(), &flags, USUAL).unwrap();
    let one = file.conversation(5);
    assert_eq!((one.turns.len(), one.turns[0].output_tokens), (1, 7));
}

#[test]
fn a_common_prefix_that_is_longer_than_the_message_leaves_a_word_of_its_own() {
    let mut long = config();
    long["prompt_input"]["common_prefix_num_tokens"]["value"] = json!(500);
    long["prompt_input"]["prefix_num_tokens"] = json!({ "distribution": "constant", "value": 0 });
    let file = opened(long.to_string(), &json!({}), USUAL).unwrap();
    let tokens: HashSet<Option<u32>> = first(&*file, 24)
        .iter()
        .map(|one| one.turns[0].tokens)
        .collect();
    assert_eq!(tokens, HashSet::from([Some(501)]));
}

#[test]
fn what_such_a_file_lacks_is_told() {
    let without = |change: &dyn Fn(&mut Value)| {
        let mut config = config();
        change(&mut config);
        refused(config.to_string(), &json!({}))
    };
    let remove = |object: &mut Value, name: &str| {
        object.as_object_mut().unwrap().remove(name);
    };
    let messages = [
        without(&|config| remove(config, "num_conversations")),
        without(&|config| config["num_conversations"] = json!(0)),
        without(&|config| remove(config, "prompt_input")),
        without(&|config| config["prompt_output"] = json!(5)),
        without(&|config| remove(&mut config["prompt_input"], "num_turns")),
        without(&|config| remove(&mut config["prompt_input"], "num_tokens")),
        without(&|config| remove(&mut config["prompt_output"], "num_tokens")),
        without(&|config| {
            config["prompt_input"]["num_turns"] = json!({ "distribution": "uniform", "min": 5 });
        }),
        without(&|config| config["prompt_input"]["num_tokens"]["max"] = json!(2)),
        refused(format!("{}\n{{}}", config()), &json!({})),
    ];
    insta::assert_snapshot!(messages.join("\n"), @"
    it has no `num_conversations`
    its `num_conversations` is 0, and no whole number above 0
    it has no `prompt_input`
    its `prompt_output` is no object
    its `prompt_input` has no `num_turns`
    its `prompt_input` has no `num_tokens`
    its `prompt_output` has no `num_tokens`
    `num_turns` of its `prompt_input`: it has no `max`
    `num_tokens` of its `prompt_input`: its lowest value 25 is above its highest 2
    something follows its object of `generate_conversations`
    ");
}
