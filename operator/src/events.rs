//! Kubernetes events. Invariant: an event that cannot be written is logged and never fails a round.

use kube::runtime::events::{Event, EventType};

use crate::apply::Object;
use crate::context::Context;

/// The longest note that the API server takes is 1,024 bytes.
const MAX_NOTE: usize = 1000;

/// Something that happened to an object.
pub struct Happening {
    /// Whether a person should look.
    pub severity: EventType,
    /// A stable word.
    pub reason: String,
    /// What was being done.
    pub action: &'static str,
    /// One sentence.
    pub note: String,
}

impl Happening {
    /// Something that happened.
    pub fn new(severity: EventType, reason: &str, action: &'static str, note: impl Into<String>) -> Self {
        Self { severity, reason: reason.to_owned(), action, note: note.into() }
    }
}

/// Tells people, and the log.
pub async fn emit<K: Object>(context: &Context, object: &K, happening: Happening) {
    let Happening { severity, reason, action, mut note } = happening;
    tracing::info!(object = crate::apply::describe(object), reason, note, "event");
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    let event = Event { type_: severity, reason, note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(%error, "an event could not be written");
    }
}
