//! `simulate`: the simulated server until Ctrl-C.

use std::io;
use std::net::SocketAddr;
use std::thread;

use futures::poll;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::args::SimulateArgs;
use super::interrupt;
use super::talk::say;
use crate::error::Error;
use crate::simulate::serve;

pub(super) fn run(args: &SimulateArgs) -> Result<(), Error> {
    args.settings.check()?;
    let stdin_closes = watch_stdin(args.until_stdin_closes)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::System("start the server".into(), error))?;
    runtime.block_on(async {
        let wanted = SocketAddr::new(args.host, args.port);
        let refused = |error| Error::System(format!("listen on {wanted}"), error);
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let mut told = Box::pin(interrupt::once());
        // From here on a signal is noted.
        if poll!(told.as_mut()).is_ready() {
            return Ok(());
        }
        say(&format!(
            "model `{}` is served on http://{address}",
            args.settings.model()
        ));
        let shutdown = async move {
            let closed = async {
                if stdin_closes.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = told => say("stopping: answers under way are given up"),
                () = closed => {}
            }
        };
        Ok(serve(listener, args.settings.clone(), shutdown).await?)
    })
}

/// Reads stdin to its end on a thread of its own, where that is wanted; the receiver hears of it.
///
/// A pipe closes however the process at its other end has died, which no signal tells as surely.
fn watch_stdin(is_wanted: bool) -> Result<oneshot::Receiver<()>, Error> {
    let (closed, receiver) = oneshot::channel();
    if is_wanted {
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || {
                // An input that can't be read is as good as one that is closed.
                let _ = io::copy(&mut io::stdin(), &mut io::sink());
                closed.send(())
            })
            .map_err(|error| Error::System("watch stdin".into(), error))?;
    }
    Ok(receiver)
}
