//! Makes the bundled sample traces.
//!
//! They show each format and let the demo run without any data set. They model nobody's traffic.
//! Only whole numbers go into them, so that they come out the same on every machine. The test in
//! `bundled.rs` compares the files in `traces/` with what this makes, and can write them anew.

use std::fmt::Write;

use crate::draw::{Draw, field};

const SEED: u64 = 2026;

/// Makes the sample in the layout of Azure's traces: 14 seconds, with a burst in the middle.
pub(super) fn make_azure() -> String {
    const END_US: u64 = 14_000_000;
    const BURST_US: std::ops::Range<u64> = 6_000_000..7_500_000;
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n".to_owned();
    let mut at_us = 0;
    for row in 0.. {
        let mut draw = Draw::new(SEED, row, field::BUNDLED_TRACE);
        let (context, generated) = (length(&mut draw, 40, 4), length(&mut draw, 16, 4));
        let seconds = at_us / 1_000_000;
        let fraction = at_us % 1_000_000;
        // As published: seven digits, of which the last is always 0; no break after the last row.
        let line =
            format!("2026-01-05 09:00:{seconds:02}.{fraction:06}0,{context},{generated}\r\n");
        text.push_str(&line);
        let mean_gap_us = if BURST_US.contains(&at_us) {
            15_000
        } else {
            90_000
        };
        at_us += 1 + draw.below(2 * mean_gap_us);
        if at_us >= END_US {
            break;
        }
    }
    text.trim_end().to_owned()
}

/// Makes the sample in the layout of BurstGPT with sessions: ten minutes in whole seconds.
pub(super) fn make_burstgpt() -> String {
    const ROWS: u64 = 200;
    let mut text = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,\
                    Total tokens,Log Type\n"
        .to_owned();
    let mut second = 1_000_000;
    for row in 0..ROWS {
        let mut draw = Draw::new(SEED + 1, row, field::BUNDLED_TRACE);
        second += draw.below(7);
        let model = if draw.below(4) == 0 {
            "GPT-4"
        } else {
            "ChatGPT"
        };
        let is_api = draw.below(5) == 0;
        let is_failed = draw.below(30) == 0;
        let (request, response) = match is_failed {
            true => (0, 0),
            false => (length(&mut draw, 60, 4), length(&mut draw, 20, 5)),
        };
        let elapsed = response / 30;
        let (session, log) = match is_api {
            true => (String::new(), "API log"),
            false => (session_id(draw.below(40)), "Conversation log"),
        };
        let total = request + response;
        writeln!(
            text,
            "{second}.0,{session},{elapsed},{model},{request},{response},{total},{log}"
        )
        .expect("a string takes all that is written");
    }
    text
}

/// Makes the sample in the layout of Mooncake: conversations that grow, in batches of 3 seconds.
pub(super) fn make_mooncake() -> String {
    const ROWS: u64 = 100;
    const BLOCK: u64 = 512;
    const CONVERSATIONS: u64 = 25;
    // All conversations begin with block 0, a system prompt.
    let mut conversations = vec![vec![0_u64]; 25];
    let mut next_id = 1;
    let mut text = String::new();
    for row in 0..ROWS {
        let mut draw = Draw::new(SEED + 2, row, field::BUNDLED_TRACE);
        let conversation = usize::try_from(draw.below(CONVERSATIONS)).unwrap_or(0);
        let blocks = &mut conversations[conversation];
        for _ in 0..=draw.below(4) {
            blocks.push(next_id);
            next_id += 1;
        }
        let whole_blocks = u64::try_from(blocks.len()).unwrap_or(1) - 1;
        let input = whole_blocks * BLOCK + 1 + draw.below(BLOCK);
        let output = length(&mut draw, 30, 4);
        let timestamp = row / 5 * 3_000;
        let ids: Vec<String> = blocks.iter().map(u64::to_string).collect();
        let ids = ids.join(", ");
        writeln!(
            text,
            "{{\"timestamp\": {timestamp}, \"input_length\": {input}, \
             \"output_length\": {output}, \"hash_ids\": [{ids}]}}"
        )
        .expect("a string takes all that is written");
        // The next turn sees the last block filled up, and a filled block is another block.
        if let Some(last) = blocks.last_mut() {
            *last = next_id;
            next_id += 1;
        }
    }
    text
}

/// Returns a length between `least` and `least × 2^doublings`, short ones more often.
fn length(draw: &mut Draw, least: u64, doublings: u64) -> u64 {
    let base = least << draw.below(doublings);
    base + draw.below(base)
}

/// Returns an id that looks like a UUID.
fn session_id(number: u64) -> String {
    let mut draw = Draw::new(SEED + 3, number, field::BUNDLED_TRACE);
    let (high, low) = (draw.next(), draw.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}
