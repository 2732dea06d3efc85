//! Flags that other tools of the field have and this one does not, with what to do about each.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Error;

/// Flags of `vllm bench serve`, without their dashes, and what to do in their place. One that ends in a dash
/// stands for all that begin so.
const FLAGS: [(&str, &str); 26] = [
    (
        "append-result",
        "leave it out: each run has a tape of its own, and `analyze` takes several",
    ),
    ("asr-", "leave it out: clips are sent at their full length"),
    (
        "blazedit-",
        "choose the rows beforehand, and name the file with `--dataset-name hf`",
    ),
    (
        "chat-template-kwargs",
        "write it into `--extra-body`, as {\"chat_template_kwargs\": {...}}",
    ),
    (
        "custom-skip-chat-template",
        "leave it out: prompts are sent as they are, and a chat's template is the server's",
    ),
    (
        "enable-multimodal-chat",
        "leave it out: on backends of chats, images are parts of messages",
    ),
    ("endpoint-type", "name the protocol with `--backend`"),
    (
        "hf-name",
        "name the repository of the data set with `--dataset-path`",
    ),
    (
        "no-reranker",
        "leave it out: reranking is not measured here",
    ),
    (
        "no-self-timed",
        "leave it out: `load` goes by its own rates, and `replay` by a trace's times",
    ),
    (
        "no-stream",
        "leave it out: without a stream there are no times of tokens",
    ),
    (
        "plot-dataset-stats",
        "leave it out: `tokentape sql TAPE` has the lengths of all prompts and answers",
    ),
    (
        "plot-timeline",
        "leave it out: reports have a timeline, and single requests drawn",
    ),
    (
        "probe-request-rate",
        "leave it out: run a second `load` beside this one, of one token at a low rate",
    ),
    (
        "profile",
        "leave it out, and have the server profiled by its own commands",
    ),
    (
        "random-batch-size",
        "leave it out: a request has one prompt",
    ),
    (
        "random-mm-",
        "name files with images with `--dataset-name custom`: none are made up",
    ),
    (
        "ready-check-timeout-sec",
        "leave it out, and start the run when the server answers",
    ),
    (
        "request-id-prefix",
        "leave it out: the tape tells requests apart by numbers",
    ),
    (
        "self-timed",
        "replay the trace at its own times with `tokentape replay`",
    ),
    (
        "skip-chat-template",
        "leave it out: prompts are sent as they are, and a chat's template is the server's",
    ),
    (
        "skip-tokenizer-init",
        "leave it out: without `--tokenizer` none is read",
    ),
    (
        "spec-bench-",
        "name the file with `--dataset-name custom` or `hf`, which have lengths of answers too",
    ),
    (
        "speed-bench-",
        "name the file with `--dataset-name custom` or `hf`, which have lengths of answers too",
    ),
    (
        "timeline-itl-thresholds",
        "leave it out: `--stall` of `analyze` says from where on a gap is shown as a stall",
    ),
    (
        "use-beam-search",
        "write it into `--extra-body`, as {\"use_beam_search\": true}",
    ),
];

/// What is said of a command line that was refused for a flag of another tool; none where the refusal
/// itself says enough.
pub(super) fn about(refused: &clap::Error) -> Option<Error> {
    if refused.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = refused.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = flag.strip_prefix("--")?;
    let is_it = |known: &str| name == known || (known.ends_with('-') && name.starts_with(known));
    let (_, remedy) = FLAGS.iter().find(|(known, _)| is_it(known))?;
    let message = format!("`--{name}` is a flag of another benchmark, and of none here");
    Some(Error::usage(message, *remedy))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::args::App;

    fn refused(words: &str) -> clap::Error {
        App::try_parse_from(words.split(' ')).expect_err("it is refused")
    }

    #[test]
    fn a_flag_of_another_tool_is_told_with_its_remedy() {
        let error = refused("tokentape load --base-url http://a --plot-timeline");
        let told = about(&error).unwrap();
        assert_eq!(
            told.to_string(),
            "`--plot-timeline` is a flag of another benchmark, and of none here"
        );
        let error = refused("tokentape load --base-url http://a --random-mm-limit=3");
        assert!(
            about(&error)
                .unwrap()
                .to_string()
                .contains("random-mm-limit")
        );
        for other in ["load --strange", "load --num-prompts many", "strange"] {
            assert!(about(&refused(&format!("tokentape {other}"))).is_none());
        }
    }

    #[test]
    fn no_flag_of_another_tool_is_one_of_ours() {
        let app = App::command();
        let load = app.find_subcommand("load").unwrap();
        let ours: Vec<&str> = load
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .collect();
        for (known, _) in FLAGS {
            let is_ours =
                |flag: &&str| *flag == known || (known.ends_with('-') && flag.starts_with(known));
            assert_eq!(ours.iter().find(|flag| is_ours(flag)), None);
        }
        assert!(FLAGS.is_sorted());
    }
}
