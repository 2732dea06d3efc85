//! The flags of sampling, as fields of a request.

use serde_json::{Map, Value};

use super::args::{DriveArgs, SamplingArgs};
use super::plan;
use crate::backend::Backend;
use crate::error::Error;

/// Returns the fields that are merged into every body: those of the flags, and the user's own on top of
/// them.
///
/// # Errors
///
/// Wrong usage for a flag that the backend has no field for, and for an extra body that is no object.
pub(super) fn extra_body(args: &DriveArgs) -> Result<Map<String, Value>, Error> {
    let backend = args.target.backend();
    let mut fields = of_flags(&args.request.sampling, backend)?;
    for (name, value) in plan::extra_body(args.request.extra_body.as_deref())? {
        match (fields.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(own))
                if backend.sampling().object == Some(name.as_str()) =>
            {
                known.extend(own);
            }
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
    Ok(fields)
}

fn of_flags(args: &SamplingArgs, backend: Backend) -> Result<Map<String, Value>, Error> {
    let refused = |flag: &str| {
        Error::usage(
            format!(
                "the backend `{}` has no field for `--{flag}`",
                backend.name()
            ),
            "leave the flag out, or give a field that the server knows with `--extra-body`",
        )
    };
    let known = backend.sampling();
    let mut sampling = Map::new();
    for (name, value) in [
        ("top_p", args.top_p.map(Value::from)),
        ("top_k", args.top_k.map(Value::from)),
        ("min_p", args.min_p.map(Value::from)),
        ("frequency_penalty", args.frequency_penalty.map(Value::from)),
        ("presence_penalty", args.presence_penalty.map(Value::from)),
        (
            "repetition_penalty",
            args.repetition_penalty.map(Value::from),
        ),
    ] {
        let Some(value) = value else { continue };
        let field = known.names.iter().find(|(flag, _)| *flag == name);
        let (_, field) = field.ok_or_else(|| refused(&name.replace('_', "-")))?;
        sampling.insert((*field).to_owned(), value);
    }
    let mut fields = match known.object {
        Some(object) if !sampling.is_empty() => {
            Map::from_iter([(object.to_owned(), sampling.into())])
        }
        _ => sampling,
    };
    if let Some(others) = args.logprobs {
        fields.extend(
            backend
                .logprobs(others)
                .ok_or_else(|| refused("logprobs"))?,
        );
    }
    if args.return_token_ids {
        fields.extend(
            backend
                .token_ids()
                .ok_or_else(|| refused("return-token-ids"))?,
        );
    }
    Ok(fields)
}
