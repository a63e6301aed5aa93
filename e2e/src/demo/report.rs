//! What the demo prints: tables of served values beside DuckDB's, the verdict, and what to try next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::served;
use crate::clickstream::Clickstream;
use crate::cluster::Cluster;
use crate::online::Answer;
use crate::oracle::{self, Row};

const WINDOWS: [&str; 4] = ["1h", "24h", "7d", "30d"];
const FAMILIES: [&str; 5] = ["views", "carts", "purchases", "searches", "sessions"];
const SINGLE: [&str; 5] = ["last_event", "last_seen", "conversion_30d", "preference_7d", "preference_30d"];

/// Every feature of the view.
pub(super) fn features() -> Vec<String> {
    let windowed = FAMILIES.iter().flat_map(|f| WINDOWS.iter().map(move |w| format!("{f}_{w}")));
    windowed.chain(SINGLE.iter().map(|&s| s.to_owned())).collect()
}

/// The two shoppers of whom there is most to see in the last `span_ms`: purchases first, then everything else.
pub(super) fn most_active(clickstream: &Clickstream, span_ms: i64) -> Vec<String> {
    let end = clickstream.events.last().map_or(0, |e| e.ts);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for event in clickstream.events.iter().filter(|e| e.ts > end - span_ms) {
        *counts.entry(&event.user).or_default() += if event.event == "purchase" { 20 } else { 1 };
    }
    let mut users: Vec<_> = counts.into_iter().collect();
    users.sort_by_key(|&(user, n)| (std::cmp::Reverse(n), user));
    users.into_iter().take(2).map(|(user, _)| user.to_owned()).collect()
}

/// One shopper at one time.
pub(super) fn table(user: &str, t: i64, ago_ms: i64, answer: &Answer, computed: &Row, i: usize) {
    let time = Timestamp::from_millisecond(t)
        .map_or_else(|_| t.to_string(), |t| t.round(jiff::Unit::Second).unwrap_or(t).to_string());
    let when = if ago_ms == 0 { "now".to_owned() } else { format!("{} h ago", ago_ms / 3_600_000) };
    println!("{user}, as of {time} ({when}); each cell: Featuremill = DuckDB");
    println!("  {:<11}{:>14}{:>14}{:>14}{:>14}", "", "last hour", "24 hours", "7 days", "30 days");
    for family in FAMILIES {
        print!("  {family:<11}");
        for window in WINDOWS {
            let name = format!("{family}_{window}");
            print!("{:>14}", cell(&served(answer, &name, i), &computed[&name]));
        }
        println!();
    }
    for name in SINGLE {
        println!("  {name:<16} {}", cell(&served(answer, name, i), &computed[name]));
    }
    println!();
}

fn cell(served: &Value, computed: &Value) -> String {
    let text = |v: &Value| match v {
        Value::Number(n) if n.is_f64() => format!("{:.4}", n.as_f64().unwrap_or_default()),
        Value::String(s) => s.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    };
    // A time is served as text and computed as milliseconds; shown alike.
    let computed_text = match (served, computed) {
        (Value::String(_), Value::Number(n)) => n
            .as_i64()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .map_or_else(|| text(computed), |t| t.to_string()),
        _ => text(computed),
    };
    let sign = if oracle::equal(served, computed) { "=" } else { "≠" };
    format!("{} {sign} {computed_text}", text(served))
}

/// How many values were looked at and how many were equal.
#[derive(Default)]
pub(super) struct Tally {
    checked: usize,
    telling: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// Compares every feature of entity `i`.
    pub(super) fn add(&mut self, answer: &Answer, computed: &Row, i: usize) {
        // A shopper without any event so far has no row: there is nothing to compare.
        let known = computed["_known"].as_i64().unwrap_or(0) > 0;
        for name in features() {
            let value = served(answer, &name, i);
            self.checked += 1;
            if !known && value.is_null() {
                continue;
            }
            self.telling += usize::from(oracle::telling(&computed[&name]));
            if !oracle::equal(&value, &computed[&name]) {
                self.wrong.push(format!("{name} of entity {i}: served {value}, DuckDB {}", computed[&name]));
            }
        }
    }

    /// Prints the verdict; gives whether all were equal.
    pub(super) fn verdict(&self) -> bool {
        println!("{} values of all shoppers at four times, {} of them not zero:", self.checked, self.telling);
        for wrong in self.wrong.iter().take(10) {
            println!("  ≠ {wrong}");
        }
        if self.wrong.is_empty() {
            println!("  ✓ VERDICT: every one equal to what DuckDB computes from the file.");
        } else {
            println!("  ✗ VERDICT: {} differ.", self.wrong.len());
        }
        self.wrong.is_empty() && self.telling > 0
    }
}

/// What a newcomer may do now.
pub(super) fn next(cluster: &Cluster, namespace: &str, user: &str) {
    let kubeconfig = cluster.kubeconfig().display();
    let tools = crate::control_plane::cache_directory().join("bin");
    let tools = tools.display();
    println!(
        r#"
What to try next (the cluster stays up; `make down` removes it):
  export KUBECONFIG={kubeconfig}
  export PATH=$PATH:{tools}    # for kubectl, if you have none
  kubectl -n {namespace} get fv,arch                       # the view and its architecture at a glance
  kubectl -n {namespace} describe fv shopper               # conditions, events, what runs for it
  curl -s {}/get-online-features -d '{{"features": ["shopper:views_24h", "shopper:last_event"], "entities": {{"user_id": ["{user}"]}}}}'
  kubectl -n {namespace} edit fv shopper                   # add a feature: a new revision replays the topic, then goes live
  make demo                                        # once more
"#,
        cluster.server()
    );
}
