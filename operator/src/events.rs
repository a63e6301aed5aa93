//! Kubernetes events. Invariant: an event that cannot be written is logged and never fails a round.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::apply::Object;
use crate::context::Context;

/// The longest note that the API server takes is 1,024 bytes.
const MAX_NOTE: usize = 1000;

/// So many notes are known at once; of one that was forgotten a new event is written.
const MOST_NOTES: usize = 4096;

/// Writes events: of one note once, and after that how often.
///
/// A [`Recorder`] counts events of one object and reason as one, under the note that came first: "revision a is live" would stand
/// for b too. So each note has a recorder of its own.
pub struct Recorders {
    client: Client,
    reporter: Reporter,
    by_note: Mutex<HashMap<u64, Recorder>>,
}

impl Recorders {
    /// None is known yet.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, by_note: Mutex::default() }
    }

    fn of(&self, note: &str) -> Recorder {
        let mut hasher = DefaultHasher::new();
        note.hash(&mut hasher);
        let mut known = self.by_note.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_NOTES {
            known.clear();
        }
        let made = || Recorder::new(self.client.clone(), self.reporter.clone());
        known.entry(hasher.finish()).or_insert_with(made).clone()
    }
}

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
    let recorder = context.recorders.of(&note);
    let event = Event { type_: severity, reason, note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(%error, "an event could not be written");
    }
}
