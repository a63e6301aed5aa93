//! The clickstream of the demo: 31,106 real events of 600 shoppers over six months.
//!
//! Invariant: events are in the order of their time; shifting moves all of them by the same number of milliseconds, which
//! the oracle is told, so that both sides see the same stream.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use thiserror::Error;

/// Why the clickstream could not be had.
#[derive(Debug, Error)]
pub enum ClickstreamError {
    /// Fetching it failed.
    #[error("e2e/clickstream/fetch failed: {0}; it needs python3 with venv and pip, and PyPI within reach")]
    Fetch(String),
    /// A line does not read as an event.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// One event of a shopper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub user: String,
    /// In which session.
    pub session: String,
    /// What: `product_view`, `add_to_cart`, `purchase`, …
    pub event: String,
    /// When, in milliseconds.
    pub ts: i64,
    /// On which device; no feature reads it.
    pub platform: String,
}

impl Event {
    /// The event as the topic carries it.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { user, session, event, ts, platform } = self;
        serde_json::json!({"user_id": user, "session_id": session, "event": event, "ts": ts, "platform": platform})
            .to_string()
    }
}

/// The events and where they came from.
#[derive(Clone, Debug)]
pub struct Clickstream {
    /// Where the file, and the Python with DuckDB, are.
    pub folder: PathBuf,
    /// By how many milliseconds the times were moved.
    pub shift_ms: i64,
    /// In the order of their time.
    pub events: Vec<Event>,
}

impl Clickstream {
    /// Fetches the file if the cache lacks it, and reads it.
    ///
    /// # Errors
    /// [`ClickstreamError`].
    pub fn fetch() -> Result<Self, ClickstreamError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clickstream/fetch");
        let output = Command::new(script).output().map_err(|e| ClickstreamError::Fetch(e.to_string()))?;
        if !output.status.success() {
            return Err(ClickstreamError::Fetch(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Self::read(Path::new(String::from_utf8_lossy(&output.stdout).trim()))
    }

    fn read(folder: &Path) -> Result<Self, ClickstreamError> {
        let path = folder.join("ecom.csv");
        let text = std::fs::read_to_string(&path).map_err(|e| ClickstreamError::Line {
            path: path.clone(),
            line: 0,
            message: e.to_string(),
        })?;
        let mut events = Vec::new();
        for (i, line) in text.lines().enumerate().skip(1) {
            let event =
                event(line).map_err(|message| ClickstreamError::Line { path: path.clone(), line: i + 1, message })?;
            events.push(event);
        }
        events.sort_by_key(|e| e.ts);
        Ok(Self { folder: folder.to_owned(), shift_ms: 0, events })
    }

    /// Moves all events so that the last one is at `t`.
    #[must_use]
    pub fn ending_at(mut self, t: i64) -> Self {
        let shift = t - self.events.last().map_or(t, |e| e.ts);
        self.shift_ms += shift;
        for event in &mut self.events {
            event.ts += shift;
        }
        self
    }

    /// Every shopper, in the order of their names.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        self.events.iter().map(|e| e.user.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// One line: `user_id,session_id,event,timestamp,platform,…`, no quoting.
fn event(line: &str) -> Result<Event, String> {
    let mut cells = line.split(',');
    let mut next = |name: &str| cells.next().map(str::to_owned).ok_or_else(|| format!("no {name}"));
    let (user, session, event, time) = (next("user_id")?, next("session_id")?, next("event")?, next("timestamp")?);
    let platform = next("platform")?;
    let time: DateTime = time.parse().map_err(|e| format!("timestamp {time:?}: {e}"))?;
    let ts = time.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?.timestamp().as_millisecond();
    Ok(Event { user, session, event, ts, platform })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_an_event_and_a_broken_one_is_named() {
        let line = "user_0000,sess_000001,home,2024-03-13 10:21:14,desktop,email,2024-01,returning";
        let event = event(line).unwrap();
        assert_eq!(
            (event.user.as_str(), event.ts, event.platform.as_str()),
            ("user_0000", 1_710_325_274_000, "desktop")
        );
        assert!(super::event("a,b,c,yesterday,d").unwrap_err().contains("yesterday"));
        assert!(super::event("a,b").unwrap_err().contains("event"));
    }

    #[test]
    fn shifting_keeps_distances_and_is_known() {
        let folder = PathBuf::new();
        let at = |ts| Event { user: "u".into(), session: "s".into(), event: "e".into(), ts, platform: "p".into() };
        let moved = Clickstream { folder, shift_ms: 0, events: vec![at(10), at(30)] }.ending_at(100);
        assert_eq!(moved.events.iter().map(|e| e.ts).collect::<Vec<_>>(), [80, 100]);
        assert_eq!(moved.shift_ms, 70);
    }
}
