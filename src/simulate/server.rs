//! The HTTP front: the OpenAI API, `/health` and `/metrics`.
//!
//! The head of a streamed answer and its role event leave as soon as the request is taken, long
//! before the first token: a client that takes either for a token shows a TTFT near 0.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Outcome, Text, Ticket, TokenStream};
use super::engine::Engine;
use super::error::SimulateError;
use super::protocol::{self, Ask, Refusal};
use super::realtime::{EngineHandle, EngineTask};
use super::settings::ServerSettings;
use super::template::{Api, Identity, StreamTemplate, whole_answer};
use super::words;
use crate::http_server::{self, Limits};
use crate::time::clock::{Clock, utc_now_ns};
use crate::time::timer::PreciseTimer;

/// How long connections may take to close after the shutdown, before they are left behind.
const GRACE: Duration = Duration::from_secs(1);

/// How long the body of a request may take.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Files that the server opens beside its connections, with room to spare.
pub(super) const OWN_FILES: u64 = 24;

const NS_PER_S: i64 = 1_000_000_000;

/// Serves until `shutdown` is ready; answers under way are then given up.
pub(super) async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SimulateError> {
    let engine = Engine::new(&settings.engine)?;
    let timer = PreciseTimer::new().map_err(SimulateError::Timer)?;
    let (task, engine) =
        EngineTask::new(engine, Clock::start(), timer, settings.max_backlog_tokens);
    let (stopper, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    let front = Arc::new(Front {
        settings,
        engine,
        started_s: utc_now_ns() / NS_PER_S,
    });
    let server = http_server::serve(
        listener,
        router(front),
        Limits::beside(OWN_FILES, usize::MAX),
        async move {
            shutdown.await;
            let _ = stopper.send(true);
        },
    );
    let out_of_patience = async move {
        let mut stop = stop;
        let _ = stop.wait_for(|is_stopped| *is_stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = server => {}
        () = out_of_patience => {}
    }
    Ok(())
}

/// What all connections share; nothing in it changes but through the engine's handle.
#[derive(Debug)]
struct Front {
    settings: ServerSettings,
    engine: EngineHandle,
    started_s: i64,
}

fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(completions))
        .route("/tokenize", post(tokenize))
        .route("/v1/models", get(models))
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            let message = "There is nothing here. Try /v1/chat/completions.";
            refused(&Refusal::new(StatusCode::NOT_FOUND, message))
        })
        .with_state(front)
}

async fn chat_completions(State(front): State<Arc<Front>>, request: Request) -> Response {
    let answered = front.answer(Api::Chat, request).await;
    answered.unwrap_or_else(|refusal| refused(&refusal))
}

async fn completions(State(front): State<Arc<Front>>, request: Request) -> Response {
    let answered = front.answer(Api::Completions, request).await;
    answered.unwrap_or_else(|refusal| refused(&refusal))
}

async fn tokenize(State(front): State<Arc<Front>>, request: Request) -> Response {
    let counted = async {
        let body = front.body(request).await?;
        protocol::tokenize(&body, &front.settings)
    };
    match counted.await {
        Ok(count) => response(StatusCode::OK, JSON, count.to_string()),
        Err(refusal) => refused(&refusal),
    }
}

async fn models(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    match front.authorize(&headers) {
        Ok(()) => {
            let models = protocol::models(&front.settings, front.started_s);
            response(StatusCode::OK, JSON, models.to_string())
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let counts = front.engine.metrics.lock().clone();
    let page = counts.render(front.settings.model());
    response(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        page,
    )
}

const JSON: &str = "application/json";

fn refused(refusal: &Refusal) -> Response {
    let mut response = response(refusal.status(), JSON, refusal.body());
    if let Some(seconds) = refusal.retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

impl Front {
    async fn answer(&self, api: Api, request: Request) -> Result<Response, Refusal> {
        let body = self.body(request).await?;
        let received_ns = utc_now_ns();
        let request = self.engine.next_request();
        if let Some(refusal) = Refusal::by_chance(&self.settings, request) {
            self.engine.metrics.lock().rejected += 1;
            return Err(refusal);
        }
        let ask = protocol::parse(api, &body, &self.settings, request)?;
        drop(body);
        let ticket = self.engine.submit(request, &ask).await?;
        let identity = Identity {
            api,
            request,
            model: &ask.model,
            created_s: received_ns / NS_PER_S,
        };
        let text = if self.settings.stamp {
            Text::Stamps(received_ns)
        } else {
            Text::Words(words::answer_seed(self.settings.engine.seed, request))
        };
        if ask.is_streamed {
            let template = StreamTemplate::new(&identity, ask.usage, ask.input_tokens);
            let body = Body::new(TokenStream::new(ticket, template, text));
            let mut streamed = response(StatusCode::OK, "text/event-stream; charset=utf-8", body);
            let no_cache = header::HeaderValue::from_static("no-cache");
            streamed
                .headers_mut()
                .insert(header::CACHE_CONTROL, no_cache);
            Ok(streamed)
        } else {
            whole(&identity, &ask, ticket, text).await
        }
    }

    /// Takes the body of a request of somebody who may ask.
    async fn body(&self, request: Request) -> Result<Bytes, Refusal> {
        self.authorize(request.headers())?;
        let body = timeout(BODY_TIME, self.read(request)).await;
        body.map_err(|_| {
            let message = format!("The body took more than {} s.", BODY_TIME.as_secs());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        })?
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let borne = headers.get(header::AUTHORIZATION);
        protocol::authorize(&self.settings, borne.and_then(|value| value.to_str().ok()))
    }

    /// Reads the body of a request, up to the limit.
    async fn read(&self, request: Request) -> Result<Bytes, Refusal> {
        let limit = self.settings.max_body_bytes;
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|announced| announced > limit) {
            return Err(Refusal::too_large(limit));
        }
        let mut pieces = request.into_body().into_data_stream();
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0));
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                let message = format!("The body could not be read: {error}.");
                Refusal::new(StatusCode::BAD_REQUEST, message)
            })?;
            if body.len() + piece.len() > limit {
                return Err(Refusal::too_large(limit));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

/// Waits for the whole answer and renders it.
async fn whole(
    identity: &Identity<'_>,
    ask: &Ask,
    ticket: Ticket,
    text: Text,
) -> Result<Response, Refusal> {
    let Outcome::Finished(finish) = ticket.outcome().await else {
        let message = "The server gave this answer up.";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let mut words = BytesMut::new();
    for position in 0..ask.output_tokens {
        text.write(&mut words, position);
    }
    let words = String::from_utf8_lossy(&words);
    let body = whole_answer(
        identity,
        &words,
        finish,
        ask.input_tokens,
        ask.output_tokens,
    );
    Ok(response(StatusCode::OK, JSON, body))
}
