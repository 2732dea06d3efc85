//! Opens connections: DNS, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::socket::{StampedSocket, Stream};
use super::tls::Tls;
use crate::capture::schema::ErrorKind;
use crate::time::clock::Clock;
use crate::wire::{Target, Trust, WireError};

/// How long the addresses of a name are believed: a burst of connections asks once.
const NAME_TTL_NS: i64 = 1_000_000_000;

/// Opens connections to one host.
pub(super) struct Dialer {
    host: Host<String>,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    connect_timeout: Duration,
    clock: Clock,
    known: Mutex<Option<Known>>,
    /// Held by the one who asks for the addresses; the others wait for what it learns.
    asking: tokio::sync::Mutex<()>,
}

/// The addresses of the host, the one that served last first.
#[derive(Debug, Clone)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    at_ns: i64,
}

impl Dialer {
    pub(super) fn new(target: &Target, clock: Clock) -> Result<Self, WireError> {
        let missing = |message: &str| WireError {
            kind: ErrorKind::Unsupported,
            message: message.to_owned(),
        };
        let host = target.url.host().ok_or_else(|| missing("no host"))?;
        let port = target.url.port_or_known_default();
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or_else(|| missing("no port"))?,
            tls: if target.url.scheme() == "https" {
                Some(tls(&target.url, &target.trust)?)
            } else {
                None
            },
            connect_timeout: target.connect_timeout,
            clock,
            known: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// Opens a connection, within the time that DNS, TCP and TLS have together.
    pub(super) async fn dial(&self) -> Result<Stream, WireError> {
        let late = |_| WireError {
            kind: ErrorKind::TimeoutConnect,
            message: "no connection within the time given".to_owned(),
        };
        timeout(self.connect_timeout, self.connect())
            .await
            .map_err(late)?
    }

    async fn connect(&self) -> Result<Stream, WireError> {
        let addresses = self.addresses().await?;
        let mut failure = None;
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        for (index, address) in addresses.iter().enumerate() {
            // One that swallows packets must leave time for the others.
            let patience = self.connect_timeout / count;
            let connected = match timeout(patience, TcpStream::connect(address)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            match connected {
                Ok(socket) => {
                    if index > 0 {
                        self.prefer(&addresses, index);
                    }
                    return self.secure(socket).await;
                }
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        let kind = if failure.kind() == io::ErrorKind::TimedOut {
            ErrorKind::TimeoutConnect
        } else {
            ErrorKind::Connect
        };
        Err(WireError::new(kind, &failure))
    }

    async fn secure(&self, socket: TcpStream) -> Result<Stream, WireError> {
        let failed = |kind| move |error: io::Error| WireError::new(kind, &error);
        socket
            .set_nodelay(true)
            .map_err(failed(ErrorKind::Connect))?;
        let socket = StampedSocket::new(socket, self.clock);
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::plain(socket));
        };
        let secured = async {
            let tls = Tls::new(Arc::clone(config), name.clone())?;
            Stream::secured(socket, tls).await
        };
        secured.await.map_err(failed(ErrorKind::Tls))
    }

    async fn addresses(&self) -> Result<Arc<[SocketAddr]>, WireError> {
        let name = match &self.host {
            Host::Domain(name) => name,
            Host::Ipv4(address) => return Ok([SocketAddr::from((*address, self.port))].into()),
            Host::Ipv6(address) => return Ok([SocketAddr::from((*address, self.port))].into()),
        };
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let _asking = self.asking.lock().await;
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let found = tokio::net::lookup_host((name.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| WireError::new(ErrorKind::Dns, &error))?
            .collect();
        if found.is_empty() {
            return Err(WireError {
                kind: ErrorKind::Dns,
                message: "the name has no address".to_owned(),
            });
        }
        Ok(self.remember(found))
    }

    fn fresh(&self) -> Option<Arc<[SocketAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        let is_fresh = self.clock.now_ns() - known.at_ns < NAME_TTL_NS;
        is_fresh.then(|| Arc::clone(&known.addresses))
    }

    /// Notes addresses that were found, in an order that honours what was learnt before.
    fn remember(&self, mut found: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let preferred = known.as_ref().and_then(|known| known.addresses.first());
        if let Some(at) = found.iter().position(|address| Some(address) == preferred) {
            found.swap(0, at);
        }
        let addresses: Arc<[SocketAddr]> = found.into();
        *known = Some(Known {
            addresses: Arc::clone(&addresses),
            at_ns: self.clock.now_ns(),
        });
        addresses
    }

    /// Puts the address that served to the front, before those that did not.
    fn prefer(&self, addresses: &[SocketAddr], index: usize) {
        let mut order = addresses.to_vec();
        order.swap(0, index);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut() {
            known.addresses = order.into();
        }
    }
}

/// Makes what TLS to the host of `url` needs.
fn tls(url: &Url, trust: &Trust) -> Result<(Arc<ClientConfig>, ServerName<'static>), WireError> {
    let config = trust.config(&["http/1.1"])?;
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => url.host_str().unwrap_or_default().to_owned(),
    };
    let name =
        ServerName::try_from(host).map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
    Ok((Arc::new(config), name))
}
