//! Makes a trace of ServeGen's client pools, which have rates and lengths and no requests.
//!
//! A folder holds one model, with a pair of files a client (`folder`): its rate and the shape of its
//! gaps in windows of ten minutes (`rates`), and distributions of its lengths in windows of six
//! hours (`lengths`, `pdf`). Each client sends by itself (`client`, `gaps`); the trace is all of
//! them together, in order of arrival.
//!
//! ServeGen draws gaps and then stretches them so that each window has exactly its count of
//! requests. Here the gaps of a window are a stationary renewal process: they have the mean that the
//! rate says and the shape that is stated, and the number of requests is what comes out, equal to
//! rate times length on average. Stretching would make the gaps of a bursty client, of which a
//! window has few, less bursty than stated, and would put a request at the end of each window. The
//! price is that a single window of a bursty client may have far more or fewer requests than in
//! ServeGen's data; over all clients and windows that evens out.
//!
//! Every draw is a function of the seed, the client, the window and the request, so that a stretch
//! of a trace is the same as in the whole one.

mod client;
mod folder;
mod gaps;
mod lengths;
mod merge;
mod pdf;
mod rates;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use self::client::{Client, Stretch};
use self::folder::Folder;
use super::error::{ServeGenError, TraceError};
use super::write::{Failure, Target, write_rows};
use crate::draw::{Draw, field};
use crate::units::seconds;

/// Largest mean rate of all clients together, in requests a second.
const RATE_MAX_PER_S: f64 = 1e6;

/// Which clients send, when and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeGen {
    /// The folder of one model.
    pub folder: PathBuf,
    /// Start of the stretch to make, in nanoseconds since the start of the files.
    pub from_ns: i64,
    /// Length of the stretch, in nanoseconds; none up to the last window of all clients.
    pub for_ns: Option<i64>,
    /// Mean rate of all clients over the stretch, in requests a second; none for the clients' own.
    pub rate_per_s: Option<f64>,
    /// How many clients send, chosen by the seed; none for all.
    pub clients: Option<usize>,
    /// Seed of every draw.
    pub seed: u64,
    /// Name of the output, for messages.
    pub output: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServeGenMade {
    /// Rows that were written.
    pub written: u64,
    /// Clients that could send; not all need have.
    pub clients: usize,
    /// Mean rate that was drawn from, in requests a second.
    pub rate_per_s: f64,
    /// Length of the stretch, in nanoseconds.
    pub length_ns: i64,
    /// Names of files whose other half is missing, so that their clients are left out.
    pub left_out: Vec<String>,
    /// Windows with traffic but without lengths, which have those of another window.
    pub borrowed: usize,
}

/// Makes a trace and writes it to `output` as Parquet, in order of arrival.
///
/// The same files, seed and stretch give the same rows. Memory: that of the clients' files, and
/// some megabytes. The future may block on files.
///
/// # Errors
///
/// A folder or a file that is not ServeGen's, by name and line or key; a choice that makes no sense
/// or leaves nothing; an output that can't be written. What was written until then is no Parquet
/// file.
pub async fn generate<W: Write + Send>(
    asked: &ServeGen,
    output: W,
) -> Result<ServeGenMade, TraceError> {
    let folder = folder::list(&asked.folder)?;
    let clients = choose(&folder, asked)?;
    let stretch = stretch(&clients, asked)?;
    let expected: f64 = clients
        .iter()
        .map(|(_, client)| client.expected(stretch))
        .sum();
    let length_ns = stretch.to_ns - stretch.from_ns;
    let own_rate_per_s = expected / seconds(length_ns);
    if expected <= 0.0 {
        return wrong(format!(
            "no client of `{}` sends anything in what was asked for",
            asked.folder.display()
        ));
    }
    let rate_per_s = asked.rate_per_s.unwrap_or(own_rate_per_s);
    let borrowed = clients
        .iter()
        .map(|(_, client)| client.borrowed(stretch))
        .sum();
    let count = clients.len();
    let factor = rate_per_s / own_rate_per_s;
    let failure = Failure::default();
    let rows = merge::rows(clients, factor, stretch);
    let target = Target {
        input: &asked.folder,
        output: &asked.output,
        sort_bytes: None,
    };
    let written = write_rows(rows, target, &failure, output).await?;
    if written == 0 {
        return wrong(format!("no request came in {} s", seconds(length_ns)));
    }
    Ok(ServeGenMade {
        written,
        clients: count,
        rate_per_s,
        length_ns,
        left_out: folder.single,
        borrowed,
    })
}

/// Reads the clients that were chosen, each with a seed of its own.
fn choose(folder: &Folder, asked: &ServeGen) -> Result<Vec<(u64, Client)>, TraceError> {
    let all = folder.pairs.len();
    let count = asked.clients.unwrap_or(all);
    if !(1..=all).contains(&count) {
        return wrong(format!(
            "`--clients {count}` is not between 1 and the {all} clients that `{}` has",
            asked.folder.display()
        ));
    }
    let own = |number: u64| Draw::new(asked.seed, number, field::SERVEGEN_CLIENT);
    let mut numbers: Vec<u64> = folder.pairs.keys().copied().collect();
    // The first word decides who is in, the second one is the client's seed.
    numbers.sort_by_key(|&number| (own(number).next(), number));
    numbers.truncate(count);
    numbers.sort_unstable();
    let chosen = numbers.into_iter().filter_map(|number| {
        let pair = folder.pairs.get(&number)?;
        let mut draw = own(number);
        draw.next();
        Some(pair.read(number).map(|client| (draw.next(), client)))
    });
    Ok(chosen.collect::<Result<_, ServeGenError>>()?)
}

/// Says from when to when the clients send.
fn stretch(clients: &[(u64, Client)], asked: &ServeGen) -> Result<Stretch, TraceError> {
    if let Some(rate) = asked
        .rate_per_s
        .filter(|rate| !(*rate > 0.0 && *rate <= RATE_MAX_PER_S))
    {
        return wrong(format!(
            "`--rate {rate}` is not above 0 and up to {RATE_MAX_PER_S}"
        ));
    }
    let ends = clients.iter().map(|(_, client)| client.rates.end_s);
    let end_ns = i64::from(ends.max().unwrap_or(0)) * 1_000_000_000;
    if asked.from_ns < 0 || asked.from_ns >= end_ns {
        return wrong(format!(
            "`--from` lies outside the {} s that the clients' files cover",
            seconds(end_ns)
        ));
    }
    if asked.for_ns.is_some_and(|for_ns| for_ns <= 0) {
        return wrong("`--for` is not above 0".to_owned());
    }
    let for_ns = asked.for_ns.unwrap_or(i64::MAX);
    Ok(Stretch {
        from_ns: asked.from_ns,
        to_ns: asked.from_ns.saturating_add(for_ns).min(end_ns),
    })
}

fn wrong<T>(message: String) -> Result<T, TraceError> {
    Err(TraceError::Selection { message })
}
