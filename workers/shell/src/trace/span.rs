//! What a place in a trace was, from when to when.

use std::num::NonZeroU64;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Trace, export};

/// What a span is to who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal,
    /// The answer to a request.
    Server,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which.
    pub trace: Trace,
    /// The one that it is a part of.
    pub parent: Option<NonZeroU64>,
    /// What was done.
    pub name: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// When it began, in nanoseconds since the epoch.
    pub began_ns: u64,
    /// And ended.
    pub ended_ns: u64,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A span that goes on; it ends when this is dropped, also where the work is given up. It is nothing unless spans are sent.
#[must_use]
pub struct Open(Option<Box<Span>>);

impl Open {
    /// Begins it, if it is to be sent.
    pub(super) fn begin(trace: Trace, name: &str, kind: Kind) -> Self {
        if !trace.sampled || !export::is_on() {
            return Self(None);
        }
        Self(Some(Box::new(Span {
            trace,
            parent: trace.parent,
            name: name.to_owned(),
            kind,
            began_ns: now_ns(),
            ended_ns: 0,
            attributes: Vec::new(),
            failure: None,
        })))
    }

    /// Notes what is known of it.
    pub fn note(&mut self, key: &'static str, value: &impl ToString) {
        if let Some(span) = &mut self.0 {
            span.attributes.push((key, value.to_string()));
        }
    }

    /// Notes that it failed.
    pub fn fail(&mut self, why: &dyn std::fmt::Display) {
        if let Some(span) = &mut self.0 {
            span.failure = Some(why.to_string());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut span) = self.0.take() {
            span.ended_ns = now_ns();
            export::ended(*span);
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
