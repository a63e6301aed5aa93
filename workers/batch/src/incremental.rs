//! Whether a run may read only what is new, and what it would be: pure, from observed facts.
//!
//! A lane before an older horizon, merged with the lane of the events from there to the new one, is the lane of them all,
//! byte for byte, if three things hold:
//! 1. every event before the old horizon that the source holds now was there then: no rows were removed, and no file that
//!    was added since holds an earlier event, by its statistics;
//! 2. the lanes of the last generation are all in the store, which the run finds out when it loads those of the entities
//!    that the feature table names, and that table still names as many as were published;
//! 3. an entity whose events have all become too old can be told by its lane alone: see [`keeps_every_event`].

use engine::plan::{Plan, TimestampUnit};

/// What was done to a source since the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whether columns or properties changed, rows were removed, or a log entry is not there any more.
    pub other: Option<&'static str>,
    /// Of each file that was added, the earliest event time in milliseconds, if its statistics tell.
    pub added: Vec<Option<i64>>,
}

/// What there is to go by.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Whether a full refresh was asked for.
    pub full_refresh: bool,
    /// The horizon of the generation in the store, if there is one of this incarnation whose source is known.
    pub before: Option<i64>,
    /// Whether the feature table, which names its entities, holds all of its rows.
    pub whole: bool,
    /// The new horizon.
    pub horizon: i64,
    /// Whether somebody was erased from the view since: rows went with what they held of later events.
    pub erased: bool,
    /// What was done to the source since; `None` if it has no history.
    pub changes: Option<&'a Changes>,
}

/// What a run reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything, and why.
    All(String),
    /// Events from this time on, in milliseconds: the old horizon.
    Since(i64),
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Reading {
    let all = |why: &str| Reading::All(why.to_owned());
    let Some(before) = facts.before else { return all("there is no generation before to go on from") };
    if facts.full_refresh {
        return all("a full refresh was asked for");
    }
    if facts.erased {
        return all("an entity was erased since the last generation");
    }
    if facts.horizon < before {
        return all("the horizon went back");
    }
    if !facts.whole {
        return all("the feature table does not hold the last generation as it was published");
    }
    if !keeps_every_event(facts.plan) {
        return all(
            "no feature counts every event for as long as any is kept, so that entities could not be told to be gone",
        );
    }
    let Some(changes) = facts.changes else { return all("the source keeps no history of its changes") };
    if let Some(other) = changes.other {
        return all(other);
    }
    match changes.added.iter().find(|earliest| earliest.is_none_or(|earliest| earliest < before)) {
        None => Reading::Since(before),
        Some(None) => all("a file was added without statistics of its event times"),
        Some(Some(_)) => all("a file was added that holds events before the last horizon"),
    }
}

/// Whether every event leaves a tile for as long as the plan keeps any: then an entity has a row exactly as long as its
/// lane has a tile. A plan that keeps events for ever never lets an entity go.
#[must_use]
pub fn keeps_every_event(plan: &Plan) -> bool {
    plan.time.retention_ms.is_none_or(|retention| {
        plan.aggregates.iter().any(|aggregate| {
            let last = aggregate.ladder.rungs.last().map(|rung| rung.keep_ms);
            aggregate.condition.is_none() && aggregate.input.is_none() && last == Some(retention)
        })
    })
}

/// The smallest value of column `name` in a file, by the JSON of its statistics, as a time in milliseconds, never too late.
/// `instants`: the column is of a type of instants, and not of numbers in `unit`.
#[must_use]
pub fn earliest(stats: &str, name: &str, unit: TimestampUnit, instants: bool) -> Option<i64> {
    let stats: serde_json::Value = serde_json::from_str(stats).ok()?;
    let least = stats.get("minValues")?.get(name)?;
    if instants {
        // Statistics of instants are cut to the millisecond.
        return least.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    }
    let least = least.as_i64()?;
    match unit {
        TimestampUnit::Seconds => least.checked_mul(1_000),
        TimestampUnit::Milliseconds => Some(least),
        TimestampUnit::Microseconds => Some(least.div_euclid(1_000)),
        TimestampUnit::Rfc3339 => None,
    }
}

/// Whether every row of a file has a value of column `name`, by the JSON of its statistics.
#[must_use]
pub fn has_all(stats: &str, name: &str) -> bool {
    let stats = serde_json::from_str::<serde_json::Value>(stats).unwrap_or_default();
    stats.get("nullCount").and_then(|counts| counts.get(name)).and_then(serde_json::Value::as_i64) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(plan: &'a Plan, changes: &'a Changes) -> Facts<'a> {
        let changes = Some(changes);
        Facts { plan, full_refresh: false, before: Some(100), whole: true, horizon: 200, erased: false, changes }
    }

    fn reads_all(facts: &Facts<'_>, why: &str) {
        assert!(matches!(decide(facts), Reading::All(reason) if reason.contains(why)), "{:?}", decide(facts));
    }

    #[test]
    fn only_what_is_new_is_read_if_nothing_old_came_or_went() {
        let plan = crate::fixtures::plan("u", "/t");
        let changes = Changes { other: None, added: vec![Some(100), Some(250)] };
        assert_eq!(decide(&facts(&plan, &changes)), Reading::Since(100));
        assert_eq!(decide(&facts(&plan, &Changes::default())), Reading::Since(100));
    }

    #[test]
    fn everything_is_read_otherwise_and_it_is_said_why() {
        let plan = crate::fixtures::plan("u", "/t");
        let none = Changes::default();
        let with = |added| Changes { other: None, added: vec![added] };
        reads_all(&Facts { before: None, ..facts(&plan, &none) }, "no generation before");
        reads_all(&Facts { full_refresh: true, ..facts(&plan, &none) }, "full refresh");
        reads_all(&Facts { erased: true, ..facts(&plan, &none) }, "erased");
        reads_all(&Facts { horizon: 99, ..facts(&plan, &none) }, "went back");
        reads_all(&Facts { whole: false, ..facts(&plan, &none) }, "does not hold the last generation");
        reads_all(&Facts { changes: None, ..facts(&plan, &none) }, "no history");
        reads_all(&facts(&plan, &with(None)), "without statistics");
        reads_all(&facts(&plan, &with(Some(99))), "before the last horizon");
        reads_all(&facts(&plan, &Changes { other: Some("rows were removed"), added: vec![] }), "removed");
        let mut forgetful = plan.clone();
        forgetful.time.retention_ms = Some(1);
        reads_all(&facts(&forgetful, &none), "counts every event");
    }

    #[test]
    fn statistics_tell_the_earliest_time_in_any_unit() {
        let stats = r#"{"numRecords":2,"minValues":{"n":-1500,"t":"2023-11-14T22:13:20.500Z"}}"#;
        assert_eq!(earliest(stats, "n", TimestampUnit::Milliseconds, false), Some(-1_500));
        assert_eq!(earliest(stats, "n", TimestampUnit::Microseconds, false), Some(-2));
        assert_eq!(earliest(stats, "n", TimestampUnit::Seconds, false), Some(-1_500_000));
        assert_eq!(earliest(stats, "t", TimestampUnit::Seconds, true), Some(1_700_000_000_500));
        assert_eq!(earliest(stats, "t", TimestampUnit::Rfc3339, false), None);
        assert_eq!(earliest(stats, "x", TimestampUnit::Seconds, false), None);
    }

    #[test]
    fn only_what_is_counted_is_complete() {
        let stats = r#"{"numRecords":2,"nullCount":{"n":0,"t":1}}"#;
        assert!(has_all(stats, "n"));
        assert!(!has_all(stats, "t") && !has_all(stats, "x") && !has_all("{}", "n") && !has_all("", "n"));
    }
}
