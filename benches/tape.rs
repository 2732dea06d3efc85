//! A tape of stamped streams, read for what it cost and how precise it is.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use tokentape::capture::manifest::Manifest;
use tokentape::capture::schema::{ChunkRow, RequestRow, Status};

use crate::epoll_floor::Outcome;
use crate::epoll_floor::stamped::{Errors, Stamped};
use crate::rows;

/// What a tape says about the client that wrote it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// How far the arrivals on it are from the server's own times; empty without text.
    pub(crate) errors: Errors,
    /// Requests that ended well.
    pub(crate) complete_requests: usize,
    /// Size of the chunk tables over their rows, in bytes.
    pub(crate) bytes_per_chunk: f64,
}

/// Reads the tape at `folder`.
pub(crate) fn read(folder: &Path) -> Outcome<Measured> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(Manifest::path(folder))?)?;
    let anchor = manifest
        .clock_anchors
        .first()
        .ok_or("the tape has no clock anchor")?;
    let to_utc_ns = anchor.utc_ns - anchor.monotonic_ns;

    let mut sent_ns = HashMap::new();
    let mut complete_requests = 0;
    rows::each(&folder.join("requests"), RequestRow::rows, |row| {
        complete_requests += usize::from(row.status == Status::Ok);
        sent_ns.insert(row.request_id, row.sent_ns.map(|ns| ns + to_utc_ns));
    })?;
    let mut errors = Errors::default();
    let mut chunks = 0_u32;
    let mut stream = (None, Vec::new());
    let bytes = rows::each(&folder.join("chunks"), ChunkRow::rows, |row| {
        chunks += 1;
        if stream.0 != Some(row.request_id) {
            finish_stream(&mut stream, &sent_ns, &mut errors);
            stream.0 = Some(row.request_id);
        }
        let arrived_ns = row.arrival_ns + to_utc_ns;
        let text = row
            .text
            .as_deref()
            .filter(|_| row.channel.is_token_bearing());
        stream
            .1
            .extend(text.and_then(|text| Stamped::parse(text, arrived_ns)));
    })?;
    finish_stream(&mut stream, &sent_ns, &mut errors);
    Ok(Measured {
        errors,
        complete_requests,
        bytes_per_chunk: f64::from(u32::try_from(bytes)?) / f64::from(chunks),
    })
}

/// Takes the stamps of one stream into the errors, and empties them.
fn finish_stream(
    (request_id, stamps): &mut (Option<u64>, Vec<Stamped>),
    sent_ns: &HashMap<u64, Option<i64>>,
    errors: &mut Errors,
) {
    let sent_ns = request_id.and_then(|id| *sent_ns.get(&id)?);
    errors.add(stamps, sent_ns);
    stamps.clear();
}
