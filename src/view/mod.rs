//! The report as a live local page, with SQL.
//!
//! A server for one person at this machine: it listens on loopback alone, answers nobody without
//! its token (`guard.rs`), and only ever reads the tapes. The pages are those of `report/`, made
//! anew when a form asks for other goals or when a tape has changed.

mod fields;
mod pages;
mod questions;
mod response;
#[cfg(test)]
mod tests;
mod token_auth;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http_server;

pub(crate) use fields::Fields;
use pages::Pages;
pub(crate) use pages::{Reader, View, Wanted};
use response::plain;
use token_auth::TokenAuth;
pub(crate) use token_auth::new_token;

/// Files that are open beside connections: of the server, of an analysis, and of questions.
const OWN_FILES: u64 = 32;

/// Most connections at a time: a few for each of a person's windows.
const MOST_CONNECTIONS: usize = 256;

/// Serves for as long as it is polled. What is being answered then is given up: it can be asked
/// again.
///
/// Must run inside [`crate::runtime::block_on`].
///
/// # Errors
///
/// Fails where the system refuses the socket.
pub(crate) async fn serve(listener: TcpListener, view: View) -> io::Result<()> {
    let desk = AppState::new(view, listener.local_addr()?);
    // Whoever opens the page a moment later finds the report made, or being made.
    let first = Arc::clone(&desk);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { first.pages.report(&Fields::default()).await });
    let limits = http_server::Limits::beside(OWN_FILES, MOST_CONNECTIONS);
    http_server::serve(listener, router(desk), limits, pending()).await;
    Ok(())
}

/// What all requests share.
struct AppState {
    guard: TokenAuth,
    pages: Pages,
}

impl AppState {
    fn new(view: View, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            guard: TokenAuth::new(&view.token, address),
            pages: Pages::new(view),
        })
    }
}

fn router(desk: Arc<AppState>) -> Router {
    Router::new().fallback(answer).with_state(desk)
}

async fn answer(State(desk): State<Arc<AppState>>, request: Request) -> Response {
    let mut response = match desk.guard.pass(request.uri().path(), request.headers()) {
        Err(reason) => plain(StatusCode::FORBIDDEN, reason),
        Ok(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "nothing can be changed here",
        ),
        Ok(path) => {
            let fields = Fields::of_query(request.uri().query().unwrap_or_default());
            match path {
                "" => desk.pages.report(&fields).await,
                "sql" => desk.pages.sql(&fields).await,
                "sql.csv" => desk.pages.csv(&fields).await,
                _ => plain(StatusCode::NOT_FOUND, "there is no such page"),
            }
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
