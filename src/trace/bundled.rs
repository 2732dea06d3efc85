//! The sample traces that come with the project: one a format, made by `samples.rs` from a seed.

/// A sample trace.
#[derive(Debug, Clone, Copy)]
pub struct BundledTrace {
    /// Name of its file.
    pub file_name: &'static str,
    /// Its bytes.
    pub text: &'static str,
}

/// The trace that the demo replays: a quarter of a minute with a burst in it.
pub const DEMO: BundledTrace = BundledTrace {
    file_name: "azure.csv",
    text: include_str!("../../traces/azure.csv"),
};

/// Every sample trace, one a format.
pub const BUNDLED: [BundledTrace; 3] = [
    DEMO,
    BundledTrace {
        file_name: "burstgpt.csv",
        text: include_str!("../../traces/burstgpt.csv"),
    },
    BundledTrace {
        file_name: "mooncake.jsonl",
        text: include_str!("../../traces/mooncake.jsonl"),
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::trace::{TraceOptions, TraceRow, open};

    use crate::trace::samples::{make_azure, make_burstgpt, make_mooncake};

    use super::{BUNDLED, DEMO};

    /// Set to 1, the test writes the samples anew instead of comparing them.
    const REFRESH: &str = "TOKENTAPE_REFRESH_SAMPLES";

    async fn rows(file_name: &str) -> (String, Vec<TraceRow>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("traces")
            .join(file_name);
        let options = TraceOptions {
            path,
            ..TraceOptions::default()
        };
        let mut reader = open(&options).await.unwrap();
        let mut rows = Vec::new();
        while let Some(row) = reader.next().await.unwrap() {
            rows.push(row);
        }
        (reader.format().name.clone(), rows)
    }

    #[test]
    fn samples_are_what_the_code_makes() {
        let made = [make_azure(), make_burstgpt(), make_mooncake()];
        for (sample, made) in BUNDLED.iter().zip(made) {
            if std::env::var(REFRESH).is_ok_and(|value| value == "1") {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
                std::fs::write(folder.join(sample.file_name), made).unwrap();
            } else {
                assert!(
                    sample.text == made,
                    "{} is not what the code makes; set {REFRESH}=1 to write it anew",
                    sample.file_name
                );
            }
        }
    }

    #[tokio::test]
    async fn every_sample_is_recognised() {
        for (sample, format) in BUNDLED.iter().zip(["azure", "burstgpt", "mooncake"]) {
            assert_eq!(rows(sample.file_name).await.0, format);
        }
    }

    #[tokio::test]
    async fn the_demo_is_short_has_a_burst_and_small_lengths() {
        let (_, rows) = rows(DEMO.file_name).await;
        assert!((200..=300).contains(&rows.len()), "{}", rows.len());
        assert!(rows.iter().all(|row| row.arrival_ns < 14_000_000_000));
        assert!(rows.iter().all(|row| (40..640).contains(&row.input_tokens)));
        assert!(
            rows.iter()
                .all(|row| (16..256).contains(&row.output_tokens))
        );
        let in_second = |second: i64| {
            let window = second * 1_000_000_000..(second + 1) * 1_000_000_000;
            rows.iter()
                .filter(|row| window.contains(&row.arrival_ns))
                .count()
        };
        assert!(in_second(6) > 3 * in_second(3), "a visible burst");
    }

    #[tokio::test]
    async fn the_samples_have_the_traits_of_their_formats() {
        let (_, burstgpt) = rows("burstgpt.csv").await;
        assert!(burstgpt.len() < 200, "some requests failed");
        assert!(burstgpt.iter().any(|row| row.session_id.is_none()));
        assert!(burstgpt.iter().any(|row| row.session_id.is_some()));
        let (_, mooncake) = rows("mooncake.jsonl").await;
        assert_eq!(mooncake.len(), 100);
        for row in &mooncake {
            let blocks = row.input_tokens.div_ceil(512) as usize;
            assert_eq!(row.prefix_blocks.len(), blocks);
            assert_eq!(row.prefix_blocks[0], 0);
        }
    }
}
