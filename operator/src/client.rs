//! The client of the API server: no hidden retries, a limit on every call, and a count of all of them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::metrics::Metrics;

/// How long the API server may take to answer; watches answer at once and then go on.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client for `config`.
///
/// # Errors
/// When the configuration cannot be used.
pub fn build(mut config: Config, metrics: Metrics) -> Result<Client, kube::Error> {
    // It would hold a round for minutes; rounds are tried again as a whole.
    config.default_retry = false;
    config.connect_timeout = Some(TIMEOUT);
    Ok(ClientBuilder::try_from(config)?.with_layer(&Watched(metrics)).build())
}

/// Bounds and counts requests.
#[derive(Clone)]
struct Watched(Metrics);

impl<S> Layer<S> for Watched {
    type Service = WatchedService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WatchedService { inner, metrics: self.0.clone() }
    }
}

#[derive(Clone)]
struct WatchedService<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for WatchedService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(format!("the API server did not answer in {} s", TIMEOUT.as_secs()).into()),
            };
            metrics.requested(verb, answer.as_ref().map_or(0, |a: &Response<B>| a.status().as_u16()));
            answer
        })
    }
}

fn verb(request: &Request<Body>) -> &'static str {
    if request.uri().query().is_some_and(|query| query.split('&').any(|q| q == "watch=true" || q == "watch=1")) {
        return "WATCH";
    }
    match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
