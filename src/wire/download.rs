//! Downloads of files, outside the measurement: streamed, with redirects followed.

use std::io::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::WireError;
use super::reqwest_wire::{Versions, classify, client_builder};
use super::trust::Trust;
use crate::capture::schema::ErrorKind;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// Time that opening a connection may take, and a wait for more of a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Downloads what is at `url` into `to`, `most` bytes of it at most. Returns how many they were. Headers
/// with credentials are not sent on to another host.
///
/// # Errors
///
/// [`WireError`] as for requests; also for any status but 2xx, for more bytes than that, and where they
/// can't be written.
pub async fn download(
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    (to, most): (&mut (dyn Write + Send), u64),
) -> Result<u64, WireError> {
    let failed = |error: reqwest::Error| classify(&error.without_url());
    let client = client_builder(url, &Trust::System, Versions::Any)?
        .redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS))
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .build()
        .map_err(|error| WireError::new(ErrorKind::Unsupported, &error))?;
    let headers: HeaderMap = headers.iter().cloned().collect();
    let request = client.get(url.clone()).headers(headers);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(WireError::of_status(status));
    }
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes += chunk.len() as u64;
        if bytes > most {
            return Err(WireError {
                kind: ErrorKind::TooLarge,
                message: format!("it has over {most} bytes"),
            });
        }
        to.write_all(&chunk).map_err(|error| WireError {
            kind: ErrorKind::Unsupported,
            message: format!("it can't be written: {error}"),
        })?;
    }
    Ok(bytes)
}
