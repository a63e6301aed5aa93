//! Every feature of every shopper, checked while six months of events come in.
//!
//! Events are fed up to a time, features are asked as of times up to it, and DuckDB is asked the same at the end. Two kinds
//! of reads: all shoppers at twenty and more times, and single shoppers just after one of their events, so many that no
//! feature can pass by being zero.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use crate::clickstream::{Clickstream, Event};
use crate::feed::Feed;
use crate::online::{Client, OnlineError};
use crate::oracle::{self, Row};

const MINUTE: i64 = 60_000;
/// The steps; each is shorter than the view's lateness of three days, within which `as_of` reads are exact.
pub const STEPS: usize = 63;
/// Every third step asks for all shoppers.
const WHOLE_EVERY: usize = 3;
/// How many requests are under way at once.
const THREADS: usize = 8;

/// The view that is checked, and the reader of it.
pub struct Check<'a> {
    /// The events.
    pub clickstream: &'a Clickstream,
    /// The server.
    pub client: &'a Client,
    /// The view's name.
    pub view: &'a str,
    /// All its features.
    pub features: Vec<String>,
}

/// One request: who, as of when, and which features.
#[derive(Clone, Debug)]
struct Ask {
    users: Vec<String>,
    as_of: i64,
    features: Vec<String>,
}

/// One served value, to be compared.
struct Seen {
    user: String,
    as_of: i64,
    feature: String,
    value: serde_json::Value,
    status: String,
}

/// What was looked at and how it compared, by feature.
#[derive(Debug, Default)]
pub struct Report {
    /// By feature: checked, and of these neither zero nor NULL.
    pub counts: BTreeMap<String, (usize, usize)>,
    /// The first differences, in words.
    pub wrong: Vec<String>,
    /// How many differed.
    pub differing: usize,
    /// At how many times all shoppers were asked for.
    pub whole_reads: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checked: usize = self.counts.values().map(|c| c.0).sum();
        writeln!(f, "{checked} values checked, {} differ; all shoppers at {} times", self.differing, self.whole_reads)?;
        for (feature, (checked, telling)) in &self.counts {
            writeln!(f, "  {feature:<16} {checked:>7} checked, {:>5.1} % non-zero", share(*checked, *telling) * 100.0)?;
        }
        self.wrong.iter().try_for_each(|w| writeln!(f, "  WRONG {w}"))
    }
}

#[allow(clippy::cast_precision_loss)] // Counts are far below 2^52.
fn share(checked: usize, telling: usize) -> f64 {
    telling as f64 / checked.max(1) as f64
}

impl Report {
    /// The feature with the smallest share of values that are not zero.
    #[must_use]
    pub fn least_telling(&self) -> f64 {
        self.counts.values().map(|&(checked, telling)| share(checked, telling)).fold(1.0, f64::min)
    }
}

impl Check<'_> {
    /// Feeds and asks in [`STEPS`] steps. `place` gives the key and partition of the i-th event; `settle` is awaited after
    /// each feeding and returns once all that was sent can be read; `disturb` is awaited before it, with the step.
    ///
    /// # Errors
    /// What failed, in words.
    pub async fn run(
        &self,
        feed: &Feed,
        place: impl Fn(usize, &Event) -> (String, Option<i32>),
        mut disturb: impl AsyncFnMut(usize) -> Result<(), String>,
        mut settle: impl AsyncFnMut() -> Result<(), String>,
    ) -> Result<Report, String> {
        let events = &self.clickstream.events;
        let (first, last) = match (events.first(), events.last()) {
            (Some(a), Some(b)) => (a.ts, b.ts),
            _ => return Err("there are no events".into()),
        };
        let users = self.clickstream.users();
        let mut seen = Vec::new();
        let (mut next, mut whole_reads) = (0, 0);
        for step in 1..=STEPS {
            let length = (last - first) / i64::try_from(STEPS).unwrap_or(1);
            // Whole minutes, the view's finest tile, so that all that a read up to here may count has been fed.
            let until = (first + length * i64::try_from(step).unwrap_or(1) + MINUTE) / MINUTE * MINUTE;
            let from = next;
            while next < events.len() && events[next].ts < until {
                let event = &events[next];
                let (key, partition) = place(next, event);
                feed.send(key.as_bytes(), event.json().as_bytes(), event.ts, partition).map_err(|e| e.to_string())?;
                next += 1;
            }
            feed.flush().map_err(|e| e.to_string())?;
            disturb(step).await?;
            settle().await?;
            let mut asks: Vec<Ask> = events[from..next].iter().flat_map(|e| after(e, until)).collect();
            if step % WHOLE_EVERY == 0 {
                whole_reads += 1;
                asks.push(Ask { users: users.clone(), as_of: until - 1, features: self.features.clone() });
            }
            seen.extend(self.ask_all(&asks)?);
        }
        self.compare(seen, whole_reads)
    }

    /// Asks in parallel.
    fn ask_all(&self, asks: &[Ask]) -> Result<Vec<Seen>, String> {
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (asks.chunks(asks.len().div_ceil(THREADS).max(1)))
                .map(|chunk| {
                    let seen = &seen;
                    scope.spawn(move || {
                        for ask in chunk {
                            let answer = self.ask(ask).map_err(|e| e.to_string())?;
                            seen.lock().map_err(|e| e.to_string())?.extend(answer);
                        }
                        Ok::<(), String>(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a reader panicked".to_owned())?)
        })?;
        seen.into_inner().map_err(|e| e.to_string())
    }

    fn ask(&self, ask: &Ask) -> Result<Vec<Seen>, OnlineError> {
        let answer = self.client.get(self.view, &ask.features, "user_id", &ask.users, Some(ask.as_of))?;
        let mut seen = Vec::new();
        for feature in &ask.features {
            let cells = answer.features.get(feature).ok_or(OnlineError::Shape("column for a feature asked for"))?;
            if cells.len() != ask.users.len() {
                return Err(OnlineError::Shape("value for every entity asked for"));
            }
            seen.extend(ask.users.iter().zip(cells).map(|(user, cell)| Seen {
                user: user.clone(),
                as_of: ask.as_of,
                feature: feature.clone(),
                value: cell.value.clone(),
                status: cell.status.clone(),
            }));
        }
        Ok(seen)
    }

    /// Asks DuckDB for all that was seen, and compares.
    fn compare(&self, seen: Vec<Seen>, whole_reads: usize) -> Result<Report, String> {
        let mut places: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for s in &seen {
            let next = places.len();
            places.entry((s.user.clone(), s.as_of)).or_insert(next);
        }
        let mut reads = vec![(String::new(), 0); places.len()];
        for (read, &i) in &places {
            reads[i] = read.clone();
        }
        let rows = oracle::ask(self.clickstream, &reads).map_err(|e| e.to_string())?;
        let mut report = Report { whole_reads, ..Report::default() };
        for s in seen {
            let row = &rows[places[&(s.user.clone(), s.as_of)]];
            let count = report.counts.entry(s.feature.clone()).or_default();
            count.0 += 1;
            count.1 += usize::from(oracle::telling(&row[&s.feature]));
            if let Some(wrong) = difference(&s, row) {
                report.differing += 1;
                if report.wrong.len() < 20 {
                    report.wrong.push(wrong);
                }
            }
        }
        Ok(report)
    }
}

/// What is wrong with a served value, if anything. A shopper without any event so far must be `NOT_FOUND`.
fn difference(seen: &Seen, row: &Row) -> Option<String> {
    let computed = &row[&seen.feature];
    let known = row["_known"].as_i64().unwrap_or(0) > 0;
    let right = match (known, seen.status.as_str()) {
        (false, status) => status == "NOT_FOUND" && seen.value.is_null(),
        (true, "PRESENT") => !computed.is_null() && oracle::equal(&seen.value, computed),
        (true, "NULL_VALUE") => computed.is_null() && seen.value.is_null(),
        (true, _) => false,
    };
    (!right).then(|| {
        let Seen { user, as_of, feature, value, status } = seen;
        format!("{feature} of {user} as of {as_of}: served {value} ({status}), DuckDB {computed}")
    })
}

/// The reads just after an event: of the features it makes non-zero, at times within the hour that follows it.
fn after(event: &Event, until: i64) -> Vec<Ask> {
    let (family, times): (&str, i64) = match event.event.as_str() {
        "purchase" => ("purchases", 13),
        "add_to_cart" => ("carts", 5),
        "product_view" => ("views", 1),
        "search" => ("searches", 2),
        _ => return Vec::new(),
    };
    let windows = ["1h", "24h", "7d", "30d"];
    let mut features: Vec<_> = [family, "sessions"].iter().flat_map(|f| windows.map(|w| format!("{f}_{w}"))).collect();
    features.extend(["last_event", "last_seen"].map(String::from));
    if family == "purchases" {
        features.push("conversion_30d".into());
    }
    if family != "searches" {
        features.extend(["preference_7d", "preference_30d"].map(String::from));
    }
    (0..times)
        // The first read is one millisecond after the event, the others are spread over the hour.
        .map(|n| event.ts + 1 + n * 59 * MINUTE / times)
        .filter(|&as_of| as_of < until)
        .map(|as_of| Ask { users: vec![event.user.clone()], as_of, features: features.clone() })
        .collect()
}
