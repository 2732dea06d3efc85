//! Finds out what a server is driven with, where no name says it: for `--backend auto` by what the
//! server says when it is asked, for `--backend-template` by the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;

use serde_json::Value;
use url::Url;

use super::args::{BackendArg, Global, TargetArgs};
use super::talk::say;
use super::{drive, masks, plan};
use crate::backend::{Backend, SIGNS, Sign, of_template, unrecognized};
use crate::capture::schema::ErrorKind;
use crate::error::Error;
use crate::runtime::block_on;
use crate::secrets::Secrets;
use crate::wire::{Trust, get_text};

/// Reads the user's own backend, or asks the server what it is, where the user left that open, and says
/// what was found and by what.
pub(super) fn find_backend(target: &mut TargetArgs, global: &Global) -> Result<(), Error> {
    if let Some(path) = &target.backend_template {
        target.backend = own(path)?;
    }
    if !matches!(target.backend, BackendArg::Auto) {
        return Ok(());
    }
    if global.dry_run {
        return Err(Error::usage(
            "`--backend auto` asks the server, and `--dry-run` asks nobody",
            "name the backend that the plan is for",
        ));
    }
    let backend = match ask(target)? {
        Some((backend, sign)) => {
            let (name, path) = (backend.name(), sign.path);
            match sign.what {
                None => say(&format!("backend: {name}, by `{path}`")),
                Some(what) => say(&format!("backend: {name}, by `{path}`: {what}")),
            }
            backend
        }
        None => {
            let backend = unrecognized(target.endpoint.as_deref());
            say(&format!(
                "backend: {}, since nothing that the server says tells what it is",
                backend.name()
            ));
            backend
        }
    };
    target.backend = BackendArg::Named(backend);
    Ok(())
}

/// Reads a backend of the user's own.
fn own(path: &Path) -> Result<BackendArg, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    let backend = of_template(&text).map_err(|error| {
        Error::usage(
            format!("`{}` is no template of a backend: {error}", path.display()),
            "see docs/backends.md for what one has",
        )
    })?;
    Ok(BackendArg::Own { text, backend })
}

/// Asks one question after another until an answer tells. Returns the backend and that question;
/// nothing where none tells.
fn ask(target: &TargetArgs) -> Result<Option<(Backend, &'static Sign)>, Error> {
    let base = target.first_base_url().trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let connection = &target.connection;
    let trust = drive::trust(connection.ca_cert.as_deref(), connection.insecure)?;
    let mut answers: BTreeMap<&str, Option<Value>> = BTreeMap::new();
    for sign in &SIGNS {
        let answer = match answers.entry(sign.path) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let url = plan::join(base, sign.path)?;
                unknown.insert(answer(target, url, &trust)?)
            }
        };
        let found = answer
            .as_ref()
            .and_then(|answer| sign.backend(answer, target.endpoint.as_deref()));
        if let Some(backend) = found {
            return Ok(Some((backend, sign)));
        }
    }
    Ok(None)
}

/// Asks one question; nothing where the server does not answer it, or not to everybody.
fn answer(target: &TargetArgs, url: Url, trust: &Trust) -> Result<Option<Value>, Error> {
    let urls = [url];
    let key = drive::api_key(&urls);
    let [url] = urls;
    let headers = plan::headers(&target.header, key.as_deref())?;
    let answer = block_on(get_text(&url, &headers, trust, target.http2))
        .map_err(|error| Error::System("start the client".into(), error))?;
    let error = match answer {
        Ok(text) => return Ok(Some(serde_json::from_str(&text).unwrap_or_default())),
        Err(error) if error.is_status() || error.kind == ErrorKind::TooLarge => return Ok(None),
        Err(error) => error,
    };
    let secrets: Secrets = masks::secrets(
        &target.header,
        std::slice::from_ref(&url),
        &serde_json::Map::new(),
        &[],
    );
    let hint = if target.http2 {
        "check `--base-url`, leave out `--http2`, which the server may not speak, or name the backend \
         with `--backend`"
    } else {
        "check `--base-url`, or name the backend with `--backend`"
    };
    Err(Error::Target {
        message: format!(
            "could not ask `{}` what it is: {}",
            masks::masked(&url),
            secrets.mask(&error.message)
        ),
        hint: Some(hint.into()),
    })
}
