//! Conditions: built in a fixed order, with a transition time that moves only when the status does.

use crds::condition::{Condition, ConditionStatus};
use k8s_openapi::jiff::Timestamp;

/// The longest message that is kept; Kubernetes refuses much longer ones, and nobody reads them.
const MAX_MESSAGE: usize = 4096;

/// The conditions of one report.
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    all: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// None yet; `previous` are those that stand.
    #[must_use]
    pub fn new(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, all: Vec::new() }
    }

    /// Adds one.
    pub fn set(&mut self, type_: &str, status: impl Into<ConditionStatus>, reason: &str, message: impl Into<String>) {
        let status = status.into();
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        let since = find(self.previous, type_).filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
        self.all.push(Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(|| seconds(self.now)),
            reason: reason.to_owned(),
            message,
        });
    }

    /// All that were added.
    #[must_use]
    pub fn finish(self) -> Vec<Condition> {
        self.all
    }
}

/// A condition by its type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// RFC 3339 to the second, as Kubernetes writes times.
#[must_use]
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
