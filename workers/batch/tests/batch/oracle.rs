//! What every feature of [`crate::fixtures`]' view must be, from all events, from scratch: no tiles, no merges.

use std::collections::BTreeMap;

use engine::value::Value;

use crate::fixtures::{DAY, HOUR, MINUTE};
use crate::source::Event;

/// The horizon of a source whose newest event is the newest of these.
pub fn horizon(events: &[Event]) -> i64 {
    let newest = events.iter().filter(|e| e.user.is_some()).filter_map(|e| e.at).max().unwrap();
    // An hour of lateness; the hop of seven days is an hour.
    (newest - HOUR).div_euclid(HOUR) * HOUR
}

/// By user, by feature, the value as of `t`, of events before `t`.
pub fn values(events: &[Event], t: i64) -> BTreeMap<String, BTreeMap<String, Option<Value>>> {
    let mut by_user: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if let (Some(user), Some(at)) = (&event.user, event.at)
            && at < t
        {
            by_user.entry(user.clone()).or_default().push(event);
        }
    }
    by_user.into_iter().map(|(user, events)| (user, features(&events, t))).collect()
}

/// Of one user's events, all of which count, as of `t`.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn features(events: &[&Event], t: i64) -> BTreeMap<String, Option<Value>> {
    let since = |length: i64, hop: i64| {
        let start = (t - length).div_euclid(hop) * hop;
        events.iter().filter(move |e| e.at.unwrap() >= start).copied().collect::<Vec<_>>()
    };
    let (hour, day, week) = (since(HOUR, MINUTE), since(DAY, 15 * MINUTE), since(7 * DAY, HOUR));
    let count = |n: usize| Some(Value::Int64(i64::try_from(n).unwrap()));
    let buys = day.iter().filter(|e| e.kind.as_deref() == Some("buy")).count();
    let spend: Vec<i64> = day.iter().filter_map(|e| e.amount).collect();
    let amounts: Vec<i64> = week.iter().filter_map(|e| e.amount).collect();
    let mut kinds: Vec<(i64, &str)> = week.iter().filter_map(|e| Some((e.at?, e.kind.as_deref()?))).collect();
    // The latest first; of one time, the larger text first.
    kinds.sort_unstable_by(|a, b| b.cmp(a));
    let kinds: Vec<Value> = kinds.iter().take(3).map(|(_, kind)| Value::String((*kind).to_owned())).collect();
    let share = (!events.is_empty()).then(|| Value::Double(buys as f64 / events.len() as f64));
    BTreeMap::from(
        [
            ("events", count(events.len())),
            ("events_1h", count(hour.len())),
            ("buys_1d", count(buys)),
            ("spend_1d", (!spend.is_empty()).then(|| Value::Int64(spend.iter().sum()))),
            (
                "mean_7d",
                (!amounts.is_empty()).then(|| Value::Double(amounts.iter().sum::<i64>() as f64 / amounts.len() as f64)),
            ),
            ("last_kinds", (!kinds.is_empty()).then_some(Value::List(kinds))),
            ("newest_7d", week.iter().filter_map(|e| e.at).max().map(Value::Timestamp)),
            ("buy_share", share),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}
