//! The quality gate: whether a generation may take the place of the one before. Pure.
//!
//! Three things are looked at, each with its limit: how far the number of entities fell, how far each feature's share of
//! NULLs rose, and how far each numeric feature's distribution moved, as the population stability index over the deciles
//! of the generation before. A first generation has nothing to be held against and passes. Of one that follows a generation
//! which the feature table has lost, the number of entities alone can be judged.

mod summary;
#[cfg(test)]
mod tests;

use engine::drift::psi;
use engine::plan::Plan;
use serde::{Deserialize, Serialize};

use summary::as_f64;
pub use summary::{SAMPLE, Summary};

/// A feature that has so many values does not lose all of them by chance. Where few entities have any, its share of NULLs
/// hardly rises when it does.
const ENOUGH: u64 = 200;

/// What a generation must keep to. Shares are of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// By how much of the former number of entities it may fall.
    pub max_row_count_drop: f64,
    /// By how much a feature's share of NULLs may rise.
    pub max_null_share_rise: f64,
    /// How large a numeric feature's population stability index may be.
    pub max_psi: f64,
}

impl Default for Limits {
    /// A fifth of the entities, a tenth of NULLs, and the 0.25 at which the field calls a population another one.
    fn default() -> Self {
        Self { max_row_count_drop: 0.2, max_null_share_rise: 0.1, max_psi: 0.25 }
    }
}

/// What was seen of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its share of NULLs.
    pub null_share: f64,
    /// Its population stability index; `None` if it is no number, or either side has too few values to tell.
    pub psi: Option<f64>,
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// By feature of the plan.
    pub features: Vec<Seen>,
    /// What passed a limit, each with the value and the limit; empty: the generation may be published.
    pub refusals: Vec<String>,
    /// What a person may want to know of an accepted one.
    pub notes: Vec<String>,
}

/// What is known of the generation that is served.
#[derive(Clone, Copy, Debug)]
pub enum Before<'a> {
    /// There is none.
    Nothing,
    /// There is one, which the feature table does not hold; how many entities it has, if that is known.
    Lost(Option<u64>),
    /// What stands in the feature table.
    Known(&'a Summary),
}

/// Judges `next` against the generation published before it.
#[must_use]
pub fn judge(plan: &Plan, limits: &Limits, before: Before<'_>, next: &Summary) -> Verdict {
    let mut verdict = Verdict { features: Vec::new(), refusals: Vec::new(), notes: Vec::new() };
    let before = match before {
        Before::Nothing => {
            verdict.notes.push("the first generation of this revision passes without comparison".to_owned());
            None
        }
        Before::Lost(known) => {
            verdict.refusals.extend(known.and_then(|before| rows(limits, before, next.rows)));
            let compared = if known.is_some() { "nothing but the number of entities was" } else { "nothing could be" };
            verdict.notes.push(format!(
                "the feature table does not hold the generation that is served, so that {compared} compared with it"
            ));
            None
        }
        Before::Known(before) => {
            verdict.refusals.extend(rows(limits, before.rows, next.rows));
            Some(before)
        }
    };
    for (i, feature) in plan.features.iter().enumerate() {
        let null_share = next.null_share(i);
        let psi = before.and_then(|before| psi(before.values(i).collect(), &next.values(i).collect::<Vec<_>>()));
        let name = &feature.name;
        // Without entities there is nothing that could be NULL, and the number of them has been judged.
        if let Some(before) = before.filter(|before| before.rows > 0 && next.rows > 0) {
            let rise = null_share - before.null_share(i);
            let limit = limits.max_null_share_rise;
            if rise > limit {
                let was = before.null_share(i);
                verdict.refusals.push(format!(
                    "feature {name}: its share of NULLs rose from {was:.4} to {null_share:.4}, by {rise:.4}; maxNullShareRise is {limit}"
                ));
            } else if limit < 1.0 && next.count(i) == 0 && before.count(i) >= ENOUGH {
                let was = before.count(i);
                verdict.refusals.push(format!(
                    "feature {name}: all of its {was} values are gone; only a maxNullShareRise of 1, which is {limit}, lets them"
                ));
            }
        }
        if let Some(psi) = psi.filter(|psi| *psi > limits.max_psi) {
            let limit = limits.max_psi;
            verdict
                .refusals
                .push(format!("feature {name}: its population stability index is {psi:.4}; maxPsi is {limit}"));
        }
        verdict.features.push(Seen { name: name.clone(), null_share, psi });
    }
    verdict
}

fn rows(limits: &Limits, before: u64, next: u64) -> Option<String> {
    let drop = if before == 0 { 0.0 } else { 1.0 - as_f64(next) / as_f64(before) };
    let limit = limits.max_row_count_drop;
    (drop > limit).then(|| {
        format!("entities: their number fell from {before} to {next}, by {drop:.4} of it; maxRowCountDrop is {limit}")
    })
}
