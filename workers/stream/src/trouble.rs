//! What keeps this worker from its work, told where the operator reads: beside the markers, and as the container's last
//! words when it ends.
//!
//! Invariants: a trouble is told only once it has lasted, so that what heals by itself within seconds makes no noise; it is
//! told again before it expires, and taken back at once when it heals. Telling never fails the worker.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use engine::plan::Assignments;
use engine::row::{Trouble, trouble_key};
use shell::admin::Readiness;
use shell::clock::now_ms;
use shell::store::RowStore;
use tokio_util::sync::CancellationToken;

use crate::link::Link;

/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a trouble must have lasted before it is told, in milliseconds.
const PATIENCE_MS: i64 = 2_000;
/// How often it is told again, in milliseconds.
const REPEAT_MS: i64 = 10_000;
/// How long what was told stands without being told again, in milliseconds.
const TTL_MS: i64 = 60_000;

/// Tells what `readiness` says, under each of `keys`, until `stop`.
pub(crate) async fn tell<S: RowStore>(
    readiness: Readiness,
    link: Link<S>,
    keys: Vec<String>,
    worker: String,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut teller = Teller::default();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(connected) = link.current() else {
            // What the store holds of us is unknown after a new connection.
            teller.told = None;
            continue;
        };
        let Some(word) = teller.next(&readiness.report().reasons, now_ms()) else { continue };
        for key in &keys {
            if let Err(error) = connected.store.say_trouble(key, &worker, word.trouble(), TTL_MS).await {
                // A store that takes no writes shows in readiness and in the log; the next look tries again.
                tracing::debug!(%error, "a trouble could not be told");
                teller.told = None;
                break;
            }
        }
    }
    if let Some(connected) = link.current() {
        for key in &keys {
            // A worker that left has no trouble; if this fails, what was told expires.
            drop(connected.store.say_trouble(key, &worker, None, TTL_MS).await);
        }
    }
}

/// The keys of the plans in a file of assignments; none if it does not read, which readiness tells.
pub(crate) fn keys(assignments: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(assignments).unwrap_or_default();
    let read = serde_json::from_str(&text).map_or_else(|_| Vec::new(), |read: Assignments| read.assignments);
    read.iter().map(|a| trouble_key(&a.plan.view.uid, &a.plan.revision, a.incarnation)).collect()
}

/// What is told of a worker.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    /// Nothing keeps it from its work.
    Well,
    /// This does.
    Troubled(Trouble),
}

impl Word {
    fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Well => None,
            Self::Troubled(trouble) => Some(trouble),
        }
    }
}

/// What was told last, and since when there is trouble. Pure but for its memory.
#[derive(Debug, Default)]
struct Teller {
    since: Option<i64>,
    /// `None`: it is not known what the store holds of us.
    told: Option<Word>,
}

impl Teller {
    /// What is to be told now; `None`: nothing.
    fn next(&mut self, reasons: &BTreeMap<String, String>, now: i64) -> Option<Word> {
        let word = word(reasons);
        self.since = word.as_ref().map(|_| self.since.unwrap_or(now));
        let next = match word.zip(self.since) {
            None => Word::Well,
            Some((_, since_ms)) if now - since_ms < PATIENCE_MS => return None,
            Some(((reason, message), since_ms)) => Word::Troubled(Trouble { reason, message, since_ms, said_ms: now }),
        };
        let same = |told: &Word| match (told, &next) {
            (Word::Troubled(a), Word::Troubled(b)) => {
                a.reason == b.reason && a.message == b.message && b.said_ms - a.said_ms < REPEAT_MS
            }
            (Word::Well, Word::Well) => true,
            _ => false,
        };
        if self.told.as_ref().is_some_and(same) {
            return None;
        }
        self.told = Some(next.clone());
        Some(next)
    }
}

/// The worst of the reasons, as a stable word and a sentence; `None` if there is none.
///
/// A reason that begins with a word of its own and a colon, such as `SourceGap: …`, is named by it. What stands still for
/// good comes before what is tried again.
fn word(reasons: &BTreeMap<String, String>) -> Option<(String, String)> {
    let begins = |text: &str| ["starting", "stopped", "not yet connected"].contains(&text);
    let named = reasons.iter().filter(|(_, text)| !begins(text)).map(|(subject, text)| match text.split_once(": ") {
        Some((word, rest)) if is_word(word) => (0, word.to_owned(), rest.to_owned()),
        _ if subject == "topic" => (1, "TopicMissing".to_owned(), text.clone()),
        _ if subject == "kafka" => (2, "KafkaUnreachable".to_owned(), text.clone()),
        _ if subject == "redis" => (2, "StoreUnreachable".to_owned(), text.clone()),
        _ if subject == "dead-letters" => (2, "DeadLettersRefused".to_owned(), text.clone()),
        _ => (3, "WorkerNotReady".to_owned(), text.clone()),
    });
    let (_, reason, message) = named.min_by_key(|(rank, ..)| *rank)?;
    Some((reason, message))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.len() > 3
        && text.chars().all(|c| c.is_ascii_alphabetic())
        && text.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reasons(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(subject, text)| ((*subject).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_reason_is_named_by_its_own_word_and_what_stands_for_good_comes_first() {
        let gap = "SourceGap: partition 3 of clicks no longer holds [5, 9)";
        let (reason, message) =
            word(&reasons(&[("kafka", "the brokers do not answer"), ("partition-3", gap)])).unwrap();
        assert_eq!((reason.as_str(), message.starts_with("partition 3")), ("SourceGap", true));
        assert_eq!(word(&reasons(&[("redis", "redis at r: refused")])).unwrap().0, "StoreUnreachable");
        assert_eq!(word(&reasons(&[("setup", "view shop/a: no")])).unwrap().0, "WorkerNotReady");
        assert_eq!(word(&reasons(&[("setup", "starting")])), None);
    }

    #[test]
    fn a_trouble_is_told_once_it_lasts_again_before_it_expires_and_taken_back_at_once() {
        let mut teller = Teller::default();
        let bad = reasons(&[("topic", "topic clicks is gone")]);
        assert_eq!(
            teller.next(&reasons(&[]), 0),
            Some(Word::Well),
            "what an earlier life of the pod said is taken back"
        );
        assert_eq!(teller.next(&reasons(&[]), 500), None);
        assert_eq!(teller.next(&bad, 1_000), None);
        assert_eq!(teller.next(&reasons(&[]), 1_500), None, "it healed before anybody heard of it");
        assert_eq!(teller.next(&bad, 2_000), None);
        let told = teller.next(&bad, 4_000).unwrap().trouble().cloned().unwrap();
        assert_eq!((told.reason.as_str(), told.since_ms, told.said_ms), ("TopicMissing", 2_000, 4_000));
        assert_eq!(teller.next(&bad, 13_999), None);
        assert_eq!(teller.next(&bad, 14_000).unwrap().trouble().unwrap().since_ms, 2_000);
        assert_eq!(teller.next(&reasons(&[]), 14_500), Some(Word::Well));
    }
}
