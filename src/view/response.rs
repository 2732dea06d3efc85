//! Responses: pages, texts and streams.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

/// A text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    typed(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// A page.
pub(super) fn page(status: StatusCode, html: String) -> Response {
    typed(status, "text/html; charset=utf-8", html)
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response {
    streamed(status, content_type, Body::from(text))
}

/// A body that comes in pieces.
pub(super) fn streamed(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
