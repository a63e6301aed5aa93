//! Readers that go on while something happens to what they read, and what they saw.
//!
//! Each read is on a connection of its own, and each of its values is compared with DuckDB's for the revision that the answer
//! names. A read that is refused, or finds nobody, failed; one that was answered and should not have been so is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::online::{Answer, Cell, Client};
use e2e::oracle::{self, Row};

use crate::world::SHOPPER;

/// Features that a revision computes as DuckDB computes others.
pub type Changes = &'static [(&'static str, &'static str)];

/// Who must have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Every shopper of whom there was an event by then, and nobody else.
    OfAll,
    /// Those of whom some feature says something: a batch and a replay read nothing that is too old to count.
    OfWhoCounts,
}

/// Why a read did not give what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There was no answer.
    Failed(String),
    /// The answer should have been another one.
    Wrong(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) => write!(f, "failed: {what}"),
            Self::Wrong(what) => write!(f, "wrong: {what}"),
        }
    }
}

/// What a revision computes otherwise, if anything is known of it.
type ChangesOf = dyn Fn(&str) -> Option<Changes> + Send + Sync;

/// What is read, and what it must be.
pub struct Readers {
    url: String,
    features: Vec<String>,
    shoppers: Vec<(String, Row)>,
    as_of: i64,
    at_once: usize,
    rows: Rows,
    changes: Box<ChangesOf>,
    /// The revision that reads that begin from a moment on must be of, once it is known to be live.
    settled: Mutex<Option<(Instant, String)>>,
    next: AtomicUsize,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    of_revision: BTreeMap<String, usize>,
    slowest: Duration,
    /// When a read began that came to nothing, and why.
    pub problems: Vec<(Instant, Problem)>,
}

impl Readers {
    /// Readers of some shoppers, all in one read, whichever revision answers.
    pub fn new(url: String, features: Vec<String>, shoppers: Vec<(String, Row)>, as_of: i64) -> Self {
        let changes = Box::new(|_: &str| Some::<Changes>(&[]));
        let at_once = shoppers.len();
        let (settled, next, rows) = (Mutex::default(), AtomicUsize::default(), Rows::OfWhoCounts);
        Self { url, features, shoppers, as_of, at_once, rows, changes, settled, next }
    }

    /// So many shoppers in one read, one after the other.
    pub fn at_once(self, shoppers: usize) -> Self {
        Self { at_once: shoppers, ..self }
    }

    /// Who must have a row.
    pub fn rows(self, rows: Rows) -> Self {
        Self { rows, ..self }
    }

    /// What a revision computes otherwise; of one of which nothing is said no read may be.
    pub fn changing(self, changes: impl Fn(&str) -> Option<Changes> + Send + Sync + 'static) -> Self {
        Self { changes: Box::new(changes), ..self }
    }

    /// The revision of an answer whose every value is right, of the shoppers whose turn it is.
    pub fn read(&self) -> Result<String, Problem> {
        let chunks = self.shoppers.len().div_ceil(self.at_once);
        let chunk = self.next.fetch_add(1, Ordering::Relaxed) % chunks;
        self.read_some(self.shoppers.chunks(self.at_once).nth(chunk).unwrap_or_default())
    }

    /// Reads every shopper once.
    pub fn read_all(&self) -> Result<(), Problem> {
        self.shoppers.chunks(self.at_once).try_for_each(|some| self.read_some(some).map(drop))
    }

    fn read_some(&self, shoppers: &[(String, Row)]) -> Result<String, Problem> {
        let users: Vec<String> = shoppers.iter().map(|(user, _)| user.clone()).collect();
        let answer = Client::new(&self.url).get(SHOPPER, &self.features, "user_id", &users, Some(self.as_of));
        self.check(&answer.map_err(|e| Problem::Failed(e.to_string()))?, shoppers).map_err(Problem::Wrong)
    }

    fn check(&self, answer: &Answer, shoppers: &[(String, Row)]) -> Result<String, String> {
        let revision = answer.metadata["views"][SHOPPER]["revision"].as_str().ok_or("it names no revision")?.to_owned();
        let changes = (self.changes)(&revision).ok_or_else(|| format!("it is of revision {revision}"))?;
        for feature in &self.features {
            let changed = changes.iter().find(|(name, _)| name == feature);
            let computed_as = changed.map_or(feature.as_str(), |(_, other)| other);
            for ((user, row), cell) in shoppers.iter().zip(&answer.features[feature]) {
                if !self.agrees(cell, row, computed_as) {
                    let (value, status, computed) = (&cell.value, &cell.status, &row[computed_as]);
                    return Err(format!("{revision}: {feature} of {user} is {value} ({status}), not {computed}"));
                }
            }
        }
        Ok(revision)
    }

    fn agrees(&self, cell: &Cell, row: &Row, computed_as: &str) -> bool {
        let known = row["_known"].as_i64().unwrap_or(0) > 0;
        match (self.rows, cell.status.as_str()) {
            (Rows::OfAll, "NOT_FOUND") => !known,
            (Rows::OfAll, _) => known && oracle::agrees(cell, &row[computed_as]),
            (Rows::OfWhoCounts, _) => oracle::agrees_or_has_no_row(cell, &row[computed_as]),
        }
    }

    /// From now on every read that begins must be of this revision; of any, if of none.
    pub fn settle(&self, revision: Option<&str>) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = revision.map(|r| (Instant::now(), r.to_owned()));
    }

    /// Reads all the while that `body` takes, `threads` at once.
    #[expect(clippy::unused_async, reason = "the body is awaited on this thread, while others read")]
    pub async fn during<T>(&self, threads: usize, body: impl Future<Output = T>) -> (T, Seen) {
        let stop = AtomicBool::new(false);
        let handle = tokio::runtime::Handle::current();
        let (outcome, seen) = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.read_until(&stop))).collect();
                let outcome = catch_unwind(AssertUnwindSafe(|| handle.block_on(body)));
                stop.store(true, Ordering::Relaxed);
                (outcome, threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>())
            })
        });
        let mut all = Seen::default();
        for seen in seen {
            all.add(seen);
        }
        let outcome = outcome.unwrap_or_else(|panic| {
            println!("{all}");
            resume_unwind(panic)
        });
        (outcome, all)
    }

    fn read_until(&self, stop: &AtomicBool) -> Seen {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match self.read() {
                Ok(revision) => {
                    let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some((since, live)) = settled.filter(|(since, live)| begun > *since && *live != revision) {
                        let stale = format!("stale: {revision}, {live} was live for {:?}", begun - since);
                        seen.problems.push((begun, Problem::Wrong(stale)));
                    }
                    *seen.of_revision.entry(revision).or_default() += 1;
                }
                Err(problem) => {
                    seen.problems.push((begun, problem));
                    // Who is refused at once would ask in a loop, of a machine that has other things to do: a pace, no wait.
                    #[allow(clippy::disallowed_methods)]
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            seen.slowest = seen.slowest.max(begun.elapsed());
        }
        seen
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.slowest = self.slowest.max(other.slowest);
        self.problems.extend(other.problems);
        for (revision, reads) in other.of_revision {
            *self.of_revision.entry(revision).or_default() += reads;
        }
    }

    /// How many reads were of a revision.
    pub fn of(&self, revision: &str) -> usize {
        self.of_revision.get(revision).copied().unwrap_or_default()
    }

    /// How many reads were right.
    pub fn reads(&self) -> usize {
        self.of_revision.values().sum()
    }

    /// No read may have failed or been wrong.
    pub fn assert_right(&self) {
        let first: Vec<String> = self.problems.iter().take(5).map(|(_, problem)| problem.to_string()).collect();
        assert!(first.is_empty(), "{} reads: {first:?}", self.problems.len());
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.problems.iter().filter(|(_, problem)| matches!(problem, Problem::Wrong(_))).count();
        let (failed, slowest) = (self.problems.len() - wrong, self.slowest);
        let of = &self.of_revision;
        write!(
            f,
            "reads by revision {of:?}: {wrong} wrong, mixed or stale, {failed} failed; the slowest took {slowest:?}"
        )
    }
}

/// What DuckDB computes for shoppers as of a time.
pub fn expected(clickstream: &Clickstream, users: Vec<String>, as_of: i64) -> Vec<(String, Row)> {
    let reads: Vec<_> = users.iter().map(|user| (user.clone(), as_of)).collect();
    users.into_iter().zip(oracle::ask(clickstream, &reads).unwrap()).collect()
}
