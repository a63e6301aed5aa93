//! From a request to what must be read of each view: which features, and which entities under which texts.
//!
//! Pure. A selection stands on one revision's plan; where the live revision changes, it is made anew from the new plan.

use std::collections::HashMap;

use engine::entity::json_key;
use engine::plan::Plan;
use engine::row::push_entity_value;
use engine::value::ValueType;

use crate::failure::Failure;
use crate::request::{Features, Request};

/// How much one request may ask.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entities.
    pub rows: usize,
    /// Feature values: entities times features, over all views.
    pub values: usize,
}

/// What a request asks of one view, before its plan is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The view's name.
    pub view: &'a str,
    /// The part of the request that named it first.
    pub field: String,
    /// Position in the answer and name of each feature; `None` asks for all.
    pub features: Option<Vec<(usize, &'a str)>>,
}

/// What is read of one view.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// Positions in the answer and in the plan of each feature.
    pub features: Vec<(usize, usize)>,
    /// The distinct entity texts.
    pub entities: Vec<String>,
    /// For each row of the request its index in `entities`.
    pub slots: Vec<usize>,
    /// The plan's entity keys that the request gave.
    pub keys: Vec<String>,
}

impl Limits {
    /// Whether so many entities and features may be asked at once.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with the limit and what was asked.
    pub fn check(&self, rows: usize, features: usize) -> Result<(), Failure> {
        let message = if rows > self.rows {
            format!("{rows} entities are asked for; this server answers {} at once", self.rows)
        } else if rows.saturating_mul(features) > self.values {
            format!(
                "{rows} entities of {features} features are asked for; this server answers {} values at once",
                self.values
            )
        } else {
            return Ok(());
        };
        Err(Failure::invalid("entities", message))
    }
}

/// The views a request names, in the order it names them.
#[must_use]
pub fn wanted<'a>(request: &'a Request<'_>) -> Vec<Wanted<'a>> {
    match &request.features {
        Features::Service(view) => vec![Wanted { view, field: "feature_service".to_owned(), features: None }],
        Features::List(pairs) => {
            let mut views: Vec<Wanted<'a>> = Vec::new();
            for (position, (view, feature)) in pairs.iter().enumerate() {
                let at = views.iter().position(|w| w.view == view).unwrap_or_else(|| {
                    views.push(Wanted { view, field: format!("features[{position}]"), features: Some(Vec::new()) });
                    views.len() - 1
                });
                if let Some(features) = &mut views[at].features {
                    features.push((position, feature));
                }
            }
            views
        }
    }
}

/// What to read of a view by one of its plans.
///
/// # Errors
/// [`Failure`] naming the unknown feature, the missing entity key, or the key value of another type.
pub fn select(plan: &Plan, wanted: &Wanted<'_>, request: &Request<'_>, limits: Limits) -> Result<Selection, Failure> {
    let features: Vec<_> = match &wanted.features {
        None => (0..plan.features.len()).map(|f| (f, f)).collect(),
        Some(named) => named
            .iter()
            .map(|&(position, name)| match plan.feature(name) {
                Some(feature) => Ok((position, feature)),
                None => Err(Failure::unknown(
                    format!("features[{position}]"),
                    format!("view `{}` has no feature `{name}` in its live revision {}", wanted.view, plan.revision),
                )),
            })
            .collect::<Result<_, _>>()?,
    };
    limits.check(request.rows(), features.len())?;
    let texts = texts(plan, wanted.view, request)?;
    let (entities, slots) = distinct(texts);
    Ok(Selection { features, entities, slots, keys: plan.entity.clone() })
}

/// Each row's entity text.
fn texts(plan: &Plan, view: &str, request: &Request<'_>) -> Result<Vec<String>, Failure> {
    let mut texts = vec![String::new(); request.rows()];
    for (k, key) in plan.entity.iter().enumerate() {
        let Some((_, values)) = request.entities.iter().find(|(name, _)| name == key) else {
            let message = format!("view `{view}` is keyed by `{key}`, which the request does not give");
            return Err(Failure::invalid(format!("entities.{key}"), message));
        };
        let column = plan.source.columns.iter().find(|c| &c.name == key);
        let value_type = column.map_or(&ValueType::String, |c| &c.value_type);
        for (i, value) in values.iter().enumerate() {
            let value = json_key(value_type, value)
                .map_err(|e| Failure::invalid(format!("entities.{key}[{i}]"), format!("{e} (view `{view}`)")))?;
            push_entity_value(&mut texts[i], k == 0, &value);
        }
    }
    Ok(texts)
}

/// The distinct texts, and where each text stands among them: a row that many entities share is read once.
fn distinct(texts: Vec<String>) -> (Vec<String>, Vec<usize>) {
    if let [_] = texts.as_slice() {
        return (texts, vec![0]);
    }
    let mut places: HashMap<String, usize> = HashMap::with_capacity(texts.len());
    let mut slots = Vec::with_capacity(texts.len());
    let mut entities = Vec::with_capacity(texts.len());
    for text in texts {
        let slot = *places.entry(text).or_insert_with_key(|text| {
            entities.push(text.clone());
            entities.len() - 1
        });
        slots.push(slot);
    }
    (entities, slots)
}
