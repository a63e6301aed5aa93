//! The HTTP port: bounds, time limits and JSON errors around [`answer_of`].
//!
//! Invariants: a request is refused before its body is read when too many are in flight; every answer, good or bad, is
//! counted; every error has a JSON body, those of unknown paths too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, State};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use shell::admin::Readiness;
use shell::clock::now_ms;
use shell::trace::{Kind, TRACEPARENT, Trace};

use crate::answer::{Answered, answer_of};
use crate::failure::Failure;
use crate::read::Reader;
use crate::shadow::Shadows;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the routes share.
pub struct Server {
    /// Reads views.
    pub reader: Reader,
    /// Takes samples of what is answered.
    pub shadows: Shadows,
    /// Whether new requests are welcome.
    pub readiness: Readiness,
    /// The most requests in flight.
    pub max_in_flight: usize,
    /// The most bytes of a body.
    pub max_body_bytes: usize,
    /// Requests in flight now.
    in_flight: AtomicUsize,
    /// The second in which a request was last said to be unanswered.
    told: AtomicI64,
}

impl Server {
    /// A server that nobody has asked yet.
    #[must_use]
    pub fn new(
        reader: Reader,
        shadows: Shadows,
        readiness: Readiness,
        max_in_flight: usize,
        max_body_bytes: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            reader,
            shadows,
            readiness,
            max_in_flight,
            max_body_bytes,
            in_flight: AtomicUsize::new(0),
            told: AtomicI64::new(0),
        })
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/get-online-features", post(get_online_features))
            .route("/health", get(health))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(self.max_body_bytes))
            .with_state(self)
    }

    async fn features(&self, request: Request<Body>) -> Result<Vec<u8>, Failure> {
        let _place = Place::take(&self.in_flight, self.max_in_flight)?;
        let body = self.body(request).await?;
        let Answered { body, views, asked } = answer_of(&self.reader, &body, now_ms()).await?;
        self.shadows.offer(views, asked);
        Ok(body)
    }

    /// What is broken is always told; of what is away for now an example a second; of the rest, who listens closely is told.
    fn log(&self, result: &Result<Vec<u8>, Failure>, code: u16, took: Duration) {
        match result {
            Ok(body) => tracing::debug!(code, ?took, bytes = body.len(), "answered"),
            Err(failure @ Failure::Internal { .. }) => tracing::error!(code, ?took, %failure, "a request failed"),
            Err(failure @ (Failure::Unavailable { .. } | Failure::Overloaded { .. }))
                if self.is_first_of_its_second() =>
            {
                tracing::warn!(code, ?took, %failure, "a request was not answered, as others may be in this second");
            }
            Err(failure) => tracing::debug!(code, ?took, %failure, "a request was refused"),
        }
    }

    fn is_first_of_its_second(&self) -> bool {
        let second = now_ms() / 1000;
        self.told.swap(second, Ordering::Relaxed) != second
    }

    async fn body(&self, request: Request<Body>) -> Result<Bytes, Failure> {
        match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Failure::TooLarge { limit: self.max_body_bytes })
            }
            Ok(Err(error)) => {
                Err(Failure::Invalid { field: None, message: format!("the body could not be read: {error}") })
            }
            Err(_) => {
                let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                Err(Failure::Invalid { field: None, message })
            }
        }
    }
}

/// One place among the requests in flight, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(in_flight: &'a AtomicUsize, limit: usize) -> Result<Self, Failure> {
        let place = Self(in_flight);
        // The place is taken before it is looked at, so that two requests never both get the last one.
        if in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(Failure::Overloaded { limit });
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn get_online_features(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let trace = Trace::answering(request.headers().get(TRACEPARENT).and_then(|header| header.to_str().ok()));
    let work = async {
        let mut span = trace.open("POST /get-online-features", Kind::Server);
        let began = Instant::now();
        let result = server.features(request).await;
        let code = result.as_ref().map_or_else(Failure::code, |_| 200);
        let took = began.elapsed();
        server.reader.metrics.answered(code, took);
        server.log(&result, code, took);
        span.note("http.response.status_code", &code);
        if let Err(failure @ (Failure::Internal { .. } | Failure::Unavailable { .. })) = &result {
            span.fail(failure);
        }
        match result {
            Ok(body) => json(StatusCode::OK, body),
            Err(failure) => refused(&failure),
        }
    };
    let mut response = trace.scope(work).await;
    // Its text is of digits: it always is a header.
    if let Ok(header) = HeaderValue::try_from(trace.to_string()) {
        response.headers_mut().insert(TRACEPARENT, header);
    }
    response
}

/// 200 while requests can be answered, else 503 with the reasons.
async fn health(State(server): State<Arc<Server>>) -> Response {
    let report = server.readiness.report();
    if report.ready {
        return json(StatusCode::OK, Vec::new());
    }
    let reasons: Vec<_> = report.reasons.iter().map(|(subject, reason)| format!("{subject}: {reason}")).collect();
    refused(&Failure::unavailable(reasons.join("; ")))
}

async fn unknown_path(uri: Uri) -> Response {
    let message = format!("there is no {}; features are served at POST /get-online-features", uri.path());
    refused(&Failure::Unknown { field: String::new(), message })
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}; features are asked for by POST, health by GET", uri.path());
    let mut response = refused(&Failure::Invalid { field: None, message });
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn refused(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, failure.body());
    if matches!(failure, Failure::Overloaded { .. } | Failure::Unavailable { .. }) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
