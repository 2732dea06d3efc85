//! `simulate`: the simulated server until Ctrl-C.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::args::SimulateArgs;
use super::interrupt;
use super::talk::say;
use crate::error::Error;
use crate::load::Stop;
use crate::simulate::serve;

pub(super) fn run(args: &SimulateArgs) -> Result<(), Error> {
    args.settings.check()?;
    let mut stop = interrupt::listen()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::System("start the server".into(), error))?;
    runtime.block_on(async {
        let wanted = SocketAddr::new(args.host, args.port);
        let refused = |error| Error::System(format!("listen on {wanted}"), error);
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        say(&format!(
            "model `{}` is served on http://{address}",
            args.settings.model()
        ));
        let shutdown = async move {
            // A sender that is gone will never ask to stop.
            if stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Ok(serve(listener, args.settings.clone(), shutdown).await?)
    })
}
