//! All views and architectures, each with the version of the board at which it last changed, so that a page that knows a
//! version is sent what changed since. Pure.
//!
//! Invariants: what did not change has no new version; memory grows with the number of views and not with time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::flow::House;
use super::row::Row;
use super::seen::Lag;

/// How many measurements of a view's lag are remembered.
const TRAIL: usize = 40;
/// How far apart they are at least, in seconds; the last one is always the newest.
const SPACING: i64 = 15;
/// How many views that went are remembered, for pages that knew them.
const GONE: usize = 4_096;

/// For how long a measurement stands that hardly differs from the next, in seconds.
const STANDS: i64 = 60;

/// A lag as it is measured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub seconds: i64,
    pub records: i64,
    pub tier: Option<i64>,
}

/// When a lag was measured.
fn measured(lag: &Lag) -> Option<Timestamp> {
    lag.measured_time.as_ref()?.parse().ok()
}

/// Namespace and name.
pub type Key = (String, String);

/// Everything that the page's list is made of.
#[derive(Debug, Default)]
pub struct Board {
    version: u64,
    /// Below this version it is not known what went: who knows less is sent everything.
    floor: u64,
    views: BTreeMap<Key, Entry>,
    houses: BTreeMap<Key, House>,
    houses_version: u64,
    gone: VecDeque<(u64, Key)>,
    listed: BTreeSet<&'static str>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    row: Row,
    trail: Trail,
}

/// Lag as it was seen: when, in seconds since the epoch, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trail(VecDeque<(i64, i64)>);

impl Trail {
    fn add(&mut self, at: i64, seconds: i64) {
        // The last one stands for now: a newer one takes its place if it came too soon after the one before it.
        if let [.., (before, _), (last, _)] = self.0.make_contiguous()
            && *last < *before + SPACING
        {
            self.0.pop_back();
        }
        self.0.push_back((at, seconds));
        if self.0.len() > TRAIL {
            self.0.pop_front();
        }
    }
}

/// What changed since a version, or everything.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes<'a> {
    pub version: u64,
    /// Whether this is everything there is, and not only what changed.
    pub whole: bool,
    /// Whether all has been listed once: before that, what is missing may only not have been seen yet.
    pub listed: bool,
    /// Why what is shown may be old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'a str>,
    pub views: Vec<ShownRow<'a>>,
    pub gone: Vec<&'a Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<&'a House>>,
}

/// A line with its lag as it went.
#[derive(Debug, PartialEq, Serialize)]
pub struct ShownRow<'a> {
    #[serde(flatten)]
    row: &'a Row,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trail: Vec<(i64, i64)>,
}

impl Board {
    /// The version, which changes with all that can be seen.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A view as it is now; its lag was measured `at`, in seconds since the epoch.
    pub fn set(&mut self, mut row: Row, at: i64) {
        let key = (row.namespace.clone(), row.name.clone());
        let known = self.views.get(&key);
        // What was measured here since is newer than what status says.
        if let (Some(lag), Some(newer)) = (&mut row.lag, known.and_then(|known| known.row.lag.as_ref()))
            && newer.tier == lag.tier
            && measured(newer) > measured(lag)
        {
            lag.clone_from(newer);
        }
        if known.is_some_and(|known| known.row == row) {
            return;
        }
        let mut trail = known.map(|known| known.trail.clone()).unwrap_or_default();
        if let Some(seconds) = row.lag.as_ref().and_then(|lag| lag.seconds)
            && known.is_none_or(|known| known.row.lag != row.lag)
        {
            trail.add(at, seconds);
        }
        self.version += 1;
        self.views.insert(key, Entry { version: self.version, row, trail });
    }

    /// The lag of a view as it was measured by this process, which tells status of it only when it moved noticeably. So it is
    /// here: rows do not change by the second.
    pub fn measure(&mut self, key: &Key, figure: Figure, now: Timestamp) {
        let Some(entry) = self.views.get_mut(key) else { return };
        let Figure { seconds, records, tier } = figure;
        let before = entry.row.lag.clone().unwrap_or_default();
        let old = before.seconds.unwrap_or(i64::MAX);
        let moved = seconds.abs_diff(old) > old.unsigned_abs() / 4 + 1 || before.tier != tier;
        if !moved && measured(&before).is_some_and(|then| now.duration_since(then).as_secs() < STANDS) {
            return;
        }
        let (seconds, records, measured_time) = (Some(seconds), Some(records), Some(crate::conditions::seconds(now)));
        // What was said of how fast it falls was of another time.
        let changed =
            Lag { seconds, records, tier, measured_time, drained_per_second: None, eta_seconds: None, ..before };
        entry.trail.add(now.as_second(), changed.seconds.unwrap_or_default());
        entry.row.lag = Some(changed);
        self.version += 1;
        entry.version = self.version;
    }

    /// The views that there are.
    pub fn keys(&self) -> Vec<Key> {
        self.views.keys().cloned().collect()
    }

    /// A view is gone.
    pub fn remove(&mut self, key: &Key) {
        if self.views.remove(key).is_none() {
            return;
        }
        self.version += 1;
        self.gone.push_back((self.version, key.clone()));
        if self.gone.len() > GONE {
            self.floor = self.gone.pop_front().map_or(self.floor, |(version, _)| version);
        }
    }

    /// All views that there are were seen: what is not among them went unseen.
    pub fn retain(&mut self, seen: &BTreeSet<Key>) {
        let lost: Vec<Key> = self.views.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        for key in &lost {
            self.remove(key);
        }
    }

    /// An architecture as it is now.
    pub fn set_house(&mut self, house: House) {
        let key = (house.namespace.clone(), house.name.clone());
        if self.houses.get(&key) != Some(&house) {
            self.houses.insert(key, house);
            self.houses_changed();
        }
    }

    /// An architecture is gone.
    pub fn remove_house(&mut self, key: &Key) {
        if self.houses.remove(key).is_some() {
            self.houses_changed();
        }
    }

    /// As [`Self::retain`], of architectures.
    pub fn retain_houses(&mut self, seen: &BTreeSet<Key>) {
        let before = self.houses.len();
        self.houses.retain(|key, _| seen.contains(key));
        if self.houses.len() != before {
            self.houses_changed();
        }
    }

    fn houses_changed(&mut self) {
        self.version += 1;
        self.houses_version = self.version;
    }

    /// All of a kind were listed.
    pub fn listed(&mut self, kind: &'static str) {
        if self.listed.insert(kind) {
            self.version += 1;
        }
    }

    /// Why what is known may be old; none if it is not.
    pub fn trouble(&mut self, problem: Option<String>) {
        if self.problem != problem {
            self.problem = problem;
            self.version += 1;
        }
    }

    /// Whether what is known may be old.
    pub fn is_troubled(&self) -> bool {
        self.problem.is_some()
    }

    /// What is not known at a version; everything if there is none, or it is too old, or not of this board.
    pub fn since(&self, version: Option<u64>) -> Changes<'_> {
        let known = version.filter(|version| (self.floor..=self.version).contains(version));
        let after = known.unwrap_or_default();
        let whole = known.is_none();
        let shown = |entry: &Entry| whole || entry.version > after;
        let views = self.views.values().filter(|entry| shown(entry));
        Changes {
            version: self.version,
            whole,
            listed: self.listed.len() == 2,
            problem: self.problem.as_deref(),
            views: views
                .map(|entry| ShownRow { row: &entry.row, trail: entry.trail.0.iter().copied().collect() })
                .collect(),
            gone: self.gone.iter().filter(|(at, _)| !whole && *at > after).map(|(_, key)| key).collect(),
            architectures: (whole || self.houses_version > after).then(|| self.houses.values().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::console::fixtures::named;
    use crate::console::seen::Seen;

    fn row(name: &str, lag: i64) -> Row {
        Row::of(&Seen::of(&named(name, json!({"phase": "Live", "lag": {"seconds": lag}}))))
    }

    fn names(changes: &Changes<'_>) -> Vec<String> {
        changes.views.iter().map(|shown| shown.row.name.clone()).collect()
    }

    #[test]
    fn a_page_is_sent_what_it_does_not_know() {
        let mut board = Board::default();
        board.set(row("a", 1), 0);
        board.set(row("b", 1), 0);
        let all = board.since(None);
        assert!(all.whole && names(&all) == ["a", "b"] && all.architectures.is_some());
        let version = board.version();
        assert_eq!(names(&board.since(Some(version))), Vec::<String>::new());

        board.set(row("a", 1), 9);
        assert_eq!(board.version(), version, "nothing changed");
        board.set(row("b", 2), 9);
        board.remove(&("shop".to_owned(), "a".to_owned()));
        let changed = board.since(Some(version));
        assert!(!changed.whole && names(&changed) == ["b"] && changed.architectures.is_none());
        assert_eq!(changed.gone, [&("shop".to_owned(), "a".to_owned())]);
        // One of another process, which began anew.
        assert!(board.since(Some(board.version() + 1)).whole);
    }

    #[test]
    fn what_went_unseen_is_gone_and_too_much_of_it_is_everything_anew() {
        let mut board = Board::default();
        for i in 0..=GONE {
            board.set(row(&format!("v{i}"), 1), 0);
        }
        let version = board.version();
        board.retain(&BTreeSet::new());
        assert!(board.since(Some(version)).whole, "not all that went is known any more");
        assert_eq!(board.since(Some(version + 1)).gone.len(), GONE);
        assert_eq!(board.gone.len(), GONE);
    }

    #[test]
    fn a_trail_is_as_long_as_it_may_be_and_ends_with_the_newest() {
        let mut trail = Trail::default();
        for at in 0..2_000 {
            trail.add(at, at * 2);
        }
        assert_eq!((trail.0.len(), trail.0.back()), (TRAIL, Some(&(1_999, 3_998))));
        let times: Vec<i64> = trail.0.iter().map(|(at, _)| *at).collect();
        assert!(times[..TRAIL - 1].windows(2).all(|pair| pair[1] - pair[0] >= SPACING), "{times:?}");

        let mut board = Board::default();
        board.set(row("a", 1), 100);
        board.set(row("a", 5), 200);
        assert_eq!(board.since(None).views[0].trail, [(100, 1), (200, 5)]);
    }

    #[test]
    fn what_is_measured_here_is_newer_than_status_and_no_news_by_the_second() {
        let mut board = Board::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap_or_default();
        let status = json!({"lag": {"seconds": 3, "records": 30, "measuredTime": at(0).to_string(), "etaSeconds": 9}});
        let row = || Row::of(&Seen::of(&named("a", status.clone())));
        board.set(row(), at(0).as_second());
        let key = ("shop".to_owned(), "a".to_owned());
        let figure = |seconds| Figure { seconds, records: seconds * 10, tier: None };
        let version = board.version();
        board.measure(&key, figure(4), at(15));
        assert_eq!(board.version(), version, "hardly another");
        board.measure(&key, figure(9), at(30));
        board.measure(&key, figure(9), at(60));
        assert_eq!(board.version(), version + 1);
        board.set(row(), at(61).as_second());
        let changes = board.since(None);
        let lag = changes.views[0].row.lag.clone().unwrap_or_default();
        assert_eq!((lag.seconds, lag.records, lag.eta_seconds), (Some(9), Some(90), None));
        assert_eq!(changes.views[0].trail.last().map(|(_, seconds)| *seconds), Some(9));
        board.measure(&key, figure(9), at(95));
        assert_eq!(board.views[&key].row.lag.as_ref().and_then(measured), Some(at(95)));
        board.measure(&("shop".to_owned(), "nobody".to_owned()), figure(1), at(99));
        assert_eq!(board.keys(), [key]);
    }

    #[test]
    fn a_thousand_views_are_half_a_megabyte() {
        let mut board = Board::default();
        let seen = |i: usize| Seen::of(&named(&format!("view-{i}"), crate::console::fixtures::rollout()));
        for i in 0..1_000 {
            board.set(Row::of(&seen(i)), 0);
        }
        let bytes = serde_json::to_string(&board.since(None)).map_or(usize::MAX, |text| text.len());
        assert!((100_000..700_000).contains(&bytes), "{bytes}");
    }
}
