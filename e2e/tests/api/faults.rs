//! A layer around the operator's client that counts its writes and, on demand, makes it die at one of them.
//!
//! The product has no hooks: a crash is the operator's future being dropped, before a write was sent or after it was
//! answered. Lease renewals are not counted.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The operator dies before the write is sent.
    CrashBefore,
    /// It dies after the write was answered, without seeing the answer.
    CrashAfter,
    /// The write takes place, but the answer is lost on the way.
    LostReply,
}

/// A fault at the `nth` write, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub nth: usize,
    pub what: What,
}

/// Shared by the layer and the test.
#[derive(Clone, Default)]
pub struct Faults {
    fault: Option<Fault>,
    /// Whether no watch ever tells anything: every event is lost, and whatever the operator keeps in memory grows old.
    blind: bool,
    writes: Arc<Mutex<Vec<String>>>,
    /// Cancelled when the operator is to die.
    pub crash: CancellationToken,
}

impl Faults {
    pub fn at(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// Lists are answered, watches are not.
    pub fn blind() -> Self {
        Self { blind: true, ..Self::default() }
    }

    /// Every write so far: verb and path.
    pub fn writes(&self) -> Vec<String> {
        self.writes.lock().unwrap().clone()
    }

    /// Counts a write, and says what happens at it.
    fn count<B>(&self, request: &Request<B>) -> Option<What> {
        let path = request.uri().path();
        if request.method() == Method::GET || path.contains("/leases") {
            return None;
        }
        let mut writes = self.writes.lock().unwrap();
        writes.push(format!("{} {path}", request.method()));
        self.fault.filter(|fault| fault.nth == writes.len() - 1).map(|fault| fault.what)
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;
    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

#[derive(Clone)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

impl<S, B: 'static> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Answer<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        if self.faults.blind && watches {
            return Box::pin(pending());
        }
        let what = self.faults.count(&request);
        let crash = self.faults.crash.clone();
        match what {
            Some(What::CrashBefore) => Box::pin(async move {
                crash.cancel();
                pending().await
            }),
            Some(What::CrashAfter) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    drop(answer.await);
                    crash.cancel();
                    pending().await
                })
            }
            Some(What::LostReply) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    drop(answer.await);
                    Err(StatusCode::GATEWAY_TIMEOUT.to_string().into())
                })
            }
            None => {
                let answer = self.inner.call(request);
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
        }
    }
}
