//! One request from its body to the body of its answer.

use std::borrow::Cow;

use engine::plan::{FeatureSource, Mode};
use engine::row::entity_hash;
use engine::time::window_bounds;
use futures::future::try_join_all;
use shell::trace;

use crate::completeness::degraded;
use crate::evaluate::{Cell, EvaluateError, Status, evaluate};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::read::{Reader, ViewRows};
use crate::render::{Answer, FeatureColumn, ViewNote};
use crate::request::{Features, Request, parse};
use crate::select::wanted;

/// Answers a request as of `now`, in milliseconds since the epoch, or as of the time it names.
///
/// # Errors
/// [`Failure`]; there is no partial answer.
pub async fn answer(reader: &Reader, body: &[u8], now: i64) -> Result<Vec<u8>, Failure> {
    Ok(answer_of(reader, body, now).await?.body)
}

/// An answer, and what it was made of.
pub struct Answered {
    /// Its body.
    pub body: Vec<u8>,
    /// What was read.
    pub views: Vec<ViewRows>,
    /// The time that was asked for, or now.
    pub asked: i64,
}

/// As [`answer`], with what it was made of.
///
/// # Errors
/// As there.
pub async fn answer_of(reader: &Reader, body: &[u8], now: i64) -> Result<Answered, Failure> {
    let request = parse(body)?;
    if let Features::List(list) = &request.features {
        reader.limits.check(request.rows(), list.len())?;
    }
    let wanted = wanted(&request);
    let fetch = async {
        Ok::<_, Failure>(match wanted.as_slice() {
            [one] => vec![reader.read(one, &request).await?],
            several => try_join_all(several.iter().map(|w| reader.read(w, &request))).await?,
        })
    };
    let views = trace::span("fetch", fetch).await?;
    let _evaluate = trace::part("evaluate");
    refuse_foreign_entities(&request, &views)?;
    let time = |view: &ViewRows| read_at(view, request.as_of, now);
    let cells = views.iter().map(|view| cells(view, time(view), &reader.metrics)).collect::<Result<Vec<_>, _>>()?;
    let answer = assemble(&request, &views, cells, now)?;
    count(&answer, &reader.metrics);
    let (body, asked) = (answer.json(), request.as_of.unwrap_or(now));
    drop(answer);
    Ok(Answered { body, views, asked })
}

/// The time a view is read at: the one asked for, or now, or where only batch runs lay tiles the generation's horizon.
fn read_at(view: &ViewRows, as_of: Option<i64>, now: i64) -> i64 {
    let by_horizon = !view.revision.program.plan().mode.has_stream_lanes() && view.generation > 0;
    as_of.unwrap_or(if by_horizon { view.horizon } else { now })
}

/// Whether what is answered of a view is older than it may be, or not all there.
fn is_degraded(view: &ViewRows, cells: &[Vec<Cell>], as_of: Option<i64>, now: i64) -> bool {
    // A view read at its horizon is as old as that is now, however complete it was then.
    let asked = as_of.unwrap_or(now);
    if degraded(view.complete_to, asked, as_of.is_some(), view.view.freshness_target_ms) {
        return true;
    }
    if view.revision.program.plan().mode != Mode::Lambda {
        return false;
    }
    // The batch is overdue, or by so much that stream tiles have aged over its horizon.
    let overdue = view.view.horizon_target_ms.is_some_and(|target| now.saturating_sub(view.horizon) > target);
    overdue || cells.iter().flatten().any(|cell| cell.status == Status::Invalid)
}

/// An entity column that no view is keyed by is a mistake, not to be echoed as if it had mattered.
fn refuse_foreign_entities(request: &Request<'_>, views: &[ViewRows]) -> Result<(), Failure> {
    let foreign = |name: &str| !views.iter().any(|view| view.selection.keys.iter().any(|key| key == name));
    match request.entities.iter().find(|(name, _)| foreign(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let keys: Vec<_> = views.iter().map(|v| format!("`{}` by {:?}", v.view.name, v.selection.keys)).collect();
            let message =
                format!("none of the views asked for is keyed by `{name}`; they are keyed: {}", keys.join(", "));
            Err(Failure::invalid(format!("entities.{name}"), message))
        }
    }
}

fn cells(view: &ViewRows, t: i64, metrics: &Metrics) -> Result<Vec<Vec<Cell>>, Failure> {
    let (name, revision) = (&view.view.name, &view.revision.program.plan().revision);
    evaluate(view, t).map_err(|e| match e {
        EvaluateError::Lane(lane) => {
            metrics.undecodable_lane();
            let (entity, part, reason) = (entity_hash(&lane.entity), &lane.lane, &lane.reason);
            tracing::error!(view = name, revision, entity, lane = part, reason, "a lane cannot be decoded");
            Failure::internal(format!("view `{name}`, revision {revision}: {lane}; replay the revision"))
        }
        EvaluateError::Plan(problem) => Failure::internal(format!("view `{name}`, revision {revision}: {problem}")),
    })
}

fn assemble<'a>(
    request: &'a Request<'_>,
    views: &'a [ViewRows],
    cells: Vec<Vec<Vec<Cell>>>,
    now: i64,
) -> Result<Answer<'a>, Failure> {
    let mut columns: Vec<(usize, FeatureColumn<'a>)> = Vec::new();
    let mut notes = Vec::with_capacity(views.len());
    for (view, cells) in views.iter().zip(cells) {
        let plan = view.revision.program.plan();
        let t = read_at(view, request.as_of, now);
        let degraded = is_degraded(view, &cells, request.as_of, now);
        for (&(position, feature), cells) in view.selection.features.iter().zip(cells) {
            let feature = &plan.features[feature];
            let name = if request.full_feature_names {
                format!("{}__{}", view.view.name, feature.name)
            } else {
                feature.name.clone()
            };
            let window = match &feature.source {
                FeatureSource::Window { window, .. } if request.include_windows => {
                    Some(window_bounds(window, &plan.time, t))
                }
                _ => None,
            };
            let slots = view.selection.slots.as_slice();
            columns.push((position, FeatureColumn { name, value_type: &feature.value_type, cells, slots, window }));
        }
        notes.push(ViewNote {
            name: &view.view.name,
            revision: &plan.revision,
            incarnation: view.incarnation,
            t,
            published: (plan.mode.has_generations() && view.generation > 0).then_some((view.generation, view.horizon)),
            // What is before a Lambda's horizon its generation holds.
            complete_from: Some(view.complete_from).filter(|from| *from > view.horizon),
            complete_to: view.complete_to,
            degraded,
        });
    }
    columns.sort_by_key(|(position, _)| *position);
    let features: Vec<_> = columns.into_iter().map(|(_, column)| column).collect();
    let entities: Vec<(&str, &[serde_json::Value])> =
        request.entities.iter().map(|(name, values)| (Cow::as_ref(name), values.as_slice())).collect();
    refuse_collisions(&entities, &features)?;
    Ok(Answer {
        // Views that batch runs alone fill are read at horizons of their own; each note says at which.
        t: notes.iter().map(|n| n.t).max().unwrap_or(now),
        complete_to: notes.iter().map(|n| n.complete_to).min().flatten(),
        degraded: notes.iter().any(|n| n.degraded),
        views: notes,
        entities,
        features,
        include_windows: request.include_windows,
    })
}

/// Two columns of one name could not be told apart by a client that reads by name.
fn refuse_collisions(entities: &[(&str, &[serde_json::Value])], features: &[FeatureColumn<'_>]) -> Result<(), Failure> {
    let mut seen = std::collections::HashSet::with_capacity(entities.len() + features.len());
    seen.extend(entities.iter().map(|(name, _)| *name));
    match features.iter().enumerate().find(|(_, feature)| !seen.insert(feature.name.as_str())) {
        None => Ok(()),
        Some((i, feature)) => {
            let message = format!(
                "the answer would hold two columns named `{}`; ask for each once, and set `full_feature_names` if views share feature names",
                feature.name
            );
            Err(Failure::invalid(format!("features[{i}]"), message))
        }
    }
}

fn count(answer: &Answer<'_>, metrics: &Metrics) {
    for status in Status::ALL {
        let of = |column: &FeatureColumn<'_>| {
            column.slots.iter().filter(|&&slot| column.cells[slot].status == status).count()
        };
        let count: usize = answer.features.iter().map(of).sum();
        metrics.served(status, count as u64);
    }
    let overflowed =
        |column: &FeatureColumn<'_>| column.slots.iter().filter(|&&slot| column.cells[slot].overflow).count();
    metrics.overflowed(answer.features.iter().map(overflowed).sum::<usize>() as u64);
}
