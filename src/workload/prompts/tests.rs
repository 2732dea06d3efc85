//! What holds for every file of prompts.

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::testing::shared_file;
use crate::workload::Tokenizer;

fn settings(patterns: &[Pattern], languages: &[PromptLanguage], count: u64) -> PromptSettings {
    PromptSettings {
        patterns: patterns.to_vec(),
        count,
        languages: languages.to_vec(),
        input_tokens: None,
        output_tokens: None,
        seed: 0,
        tokenizer: None,
    }
}

fn made(settings: PromptSettings) -> Vec<MadePrompt> {
    let mut maker = PromptMaker::new(settings).unwrap();
    let mut all = Vec::new();
    loop {
        let batch = maker.next_batch().unwrap();
        if batch.is_empty() {
            return all;
        }
        all.extend(batch);
    }
}

fn tokenizer(name: &str) -> Option<Arc<Tokenizer>> {
    let path = shared_file(&format!("tokenizers/{name}/tokenizer.json.gz"))?;
    Some(Arc::new(Tokenizer::load(&path).unwrap()))
}

#[test]
fn every_prompt_has_exactly_the_length_that_was_drawn_for_it() {
    for name in ["qwen3", "gptoss"] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        let mut settings = settings(&Pattern::ALL, &PromptLanguage::ALL, 60);
        settings.tokenizer = Some(Arc::clone(&tokenizer));
        for prompt in made(settings) {
            let (input, output) = (
                prompt.pattern.input_tokens(),
                prompt.pattern.output_tokens(),
            );
            assert!((input.least..=input.most).contains(&prompt.wanted_tokens));
            assert!((output.least..=output.most).contains(&prompt.output_tokens));
            assert_eq!(prompt.input_tokens, prompt.wanted_tokens, "{}", prompt.text);
            assert_eq!(tokenizer.count(&prompt.text), Some(prompt.input_tokens));
        }
    }
}

#[test]
fn lengths_of_ones_own_are_met_too() {
    let Some(tokenizer) = tokenizer("qwen3") else {
        return;
    };
    for (pattern, least, most) in [
        (Pattern::ShortInLongOut, 18, 24),
        (Pattern::ShortInLongOut, 200, 260),
        (Pattern::LongInShortOut, 150, 170),
        (Pattern::LongInLongOut, 4_000, 4_100),
    ] {
        let mut settings = settings(&[pattern], &PromptLanguage::ALL, 12);
        settings.input_tokens = Some(TokenRange { least, most });
        settings.tokenizer = Some(Arc::clone(&tokenizer));
        for prompt in made(settings) {
            assert!((least..=most).contains(&prompt.wanted_tokens));
            assert_eq!(prompt.input_tokens, prompt.wanted_tokens, "{}", prompt.text);
        }
    }
}

#[test]
fn estimates_are_near_the_counts() {
    for name in ["qwen3", "gptoss"] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        for language in PromptLanguage::ALL {
            for pattern in Pattern::ALL {
                let (mut estimated, mut counted) = (0, 0);
                for prompt in made(settings(&[pattern], &[language], 60)) {
                    assert_eq!(prompt.input_tokens, prompt.wanted_tokens);
                    estimated += prompt.input_tokens;
                    counted += tokenizer.count(&prompt.text).unwrap();
                }
                let ratio = f64::from(estimated) / f64::from(counted);
                let what = format!("{name} {} {}: {ratio}", language.name(), pattern.name());
                assert!((0.85..1.15).contains(&ratio), "{what}");
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_prompts_and_another_one_others() {
    let of = |seed| {
        let mut settings = settings(&Pattern::ALL, &PromptLanguage::ALL, 30);
        settings.seed = seed;
        made(settings)
    };
    assert_eq!(of(7), of(7));
    let texts: HashSet<String> = of(7).into_iter().map(|prompt| prompt.text).collect();
    assert!(of(8).iter().all(|prompt| !texts.contains(&prompt.text)));
}

#[test]
fn a_prompt_is_the_same_however_many_are_made() {
    let few = made(settings(&Pattern::ALL, &[PromptLanguage::English], 5));
    let many = made(settings(&Pattern::ALL, &[PromptLanguage::English], 200));
    assert_eq!(few, many[..few.len()]);
}

#[test]
fn no_two_prompts_are_equal_and_all_domains_come() {
    let prompts = made(settings(
        &[Pattern::ShortInLongOut],
        &PromptLanguage::ALL,
        4_000,
    ));
    let texts: HashSet<&str> = prompts.iter().map(|prompt| prompt.text.as_str()).collect();
    assert_eq!(texts.len(), 4_000);
    let domains: HashSet<&str> = prompts.iter().map(|prompt| prompt.domain).collect();
    assert_eq!(domains.len(), 14);
}

#[test]
fn where_all_prompts_have_come_it_is_said() {
    let mut settings = settings(
        &[Pattern::ShortInLongOut],
        &[PromptLanguage::Chinese],
        1_000_000,
    );
    settings.input_tokens = Some(TokenRange { least: 9, most: 9 });
    let mut maker = PromptMaker::new(settings).unwrap();
    let error = loop {
        match maker.next_batch() {
            Ok(batch) => assert!(!batch.is_empty(), "all of them are different"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("`--count`") || error.contains("raise"),
        "{error}"
    );
}

#[test]
fn a_length_that_is_too_short_is_told_with_the_shortest_there_was() {
    let mut settings = settings(&[Pattern::LongInLongOut], &[PromptLanguage::English], 1);
    settings.input_tokens = Some(TokenRange {
        least: 10,
        most: 10,
    });
    let error = PromptMaker::new(settings)
        .unwrap()
        .next_batch()
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("`long-in-long-out` can't be as short as 10 tokens"),
        "{message}"
    );
}

#[test]
fn short_prompts_are_requests_and_long_ones_a_document_with_a_task() {
    let prompts = made(settings(&Pattern::ALL, &PromptLanguage::ALL, 40));
    for prompt in &prompts {
        let paragraphs: Vec<&str> = prompt.text.split("\n\n").collect();
        let is_long = prompt.pattern != Pattern::ShortInLongOut;
        assert_eq!(paragraphs.len() >= 5, is_long, "{}", prompt.text);
        assert_eq!(paragraphs.len() == 1, !is_long, "{}", prompt.text);
        assert!(
            paragraphs
                .iter()
                .all(|paragraph| !paragraph.trim().is_empty())
        );
        assert!(
            prompt.text.ends_with(['.', '?', '。', '？']),
            "{}",
            prompt.text
        );
    }
    let short = prompts
        .iter()
        .filter(|prompt| prompt.pattern == Pattern::ShortInLongOut);
    let texts: Vec<&str> = short.map(|prompt| prompt.text.as_str()).take(4).collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    Prepare a detailed case study that shows hospital managers how to deal with shortages of common medicines. The text should have some 560 words. Use headings for each part.
    请以华屿医院门诊部的名义，写一份关于老年人疫苗接种计划的简报。全文大约950字。请说明护士呼叫系统如何帮助减少常用药品短缺。请解释每一个专业术语。
    I work at Kestrel Savings Bank and need a practical white paper for retail investors about fraud detection in card payments. Aim for about 370 words. Where numbers are missing, say which ones would be needed.
    请写一份全面的讲稿，告诉个人投资者如何应对还款逾期。篇幅约950字。请说明资金部的职责。
    ");
}
