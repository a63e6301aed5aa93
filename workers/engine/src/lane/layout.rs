//! A plan, laid out for lanes: which parts of which aggregates stand in the same tiles.
//!
//! Aggregates of one ladder share one table of tiles, so that an event looks for its tile once per ladder; within it,
//! parts of one condition stand side by side, and a part that several aggregates need stands there once. The layout is a
//! function of the plan, and [`crate::plan::Plan::layout`] names it in every lane.

use thiserror::Error;

use crate::aggregate::{Kind, Part, State, kinds};
use crate::plan::{FeatureSource, Function, Ladder, Plan, Rung, TimePolicy, Window};
use crate::time::TIME_LIMIT;
use crate::value::ValueType;

/// No ladder has more rungs than there are tile sizes.
pub(crate) const MAX_RUNGS: usize = crate::time::LADDER.len();
/// Into how many spans of time the longest reach of a lane is cut at most.
const SPANS: i64 = 48;

/// A plan that no lane can be laid out for. No plan that [`crate::resolve`] made is one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// A ladder whose rungs do not ascend, do not divide one another, or are too many.
    #[error("aggregates[{0}].ladder: rungs must ascend, each tile a divisor of the next, at most {MAX_RUNGS} of them")]
    Ladder(usize),
    /// An index that points to nothing.
    #[error("{0} points to nothing in the plan")]
    Dangling(String),
}

/// How the lanes of one plan are laid out, and what its features read of them. Make it once and share it.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(crate) id: [u8; 8],
    pub(crate) policy: TimePolicy,
    pub(crate) tables: Vec<TableLayout>,
    /// By feature of the plan; `None` for expressions.
    pub(crate) features: Vec<Option<FeatureLayout>>,
    /// The length of the spans of time that segments hold: a multiple of every tile.
    pub(crate) span_ms: i64,
}

/// The tiles of one ladder.
#[derive(Clone, Debug)]
pub(crate) struct TableLayout {
    pub ladder: Ladder,
    pub groups: Vec<Group>,
    /// The parts of every tile, with the plan's input each takes, group after group.
    pub parts: Vec<(Part, Option<usize>)>,
    /// By part, how its states stand in bytes.
    pub forms: Vec<Form>,
    /// The parts in the order of their columns: counts, then what needs those, then what needs those and a base.
    pub order: Vec<usize>,
}

/// How the states of a part stand in bytes. Most tiles have one event, of which one number tells sum, squares, minimum and
/// maximum, if it is known that there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// By themselves.
    Own,
    /// In the tiles that the part `count` has a state in, which counts the same inputs.
    Base { count: usize },
    /// Where that is more than one. Of one event, the part `base` tells what this comes to.
    Told { count: usize, base: usize },
}

/// Parts of one condition: `parts[from..to]` of their table.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub condition: Option<usize>,
    pub from: usize,
    pub to: usize,
}

/// What a feature reads.
#[derive(Clone, Debug)]
pub(crate) struct FeatureLayout {
    pub table: usize,
    /// Positions in [`TableLayout::parts`], in the order that finalizing takes them.
    pub parts: Vec<usize>,
    pub function: Function,
    pub input: Option<ValueType>,
    pub output: ValueType,
    pub window: Window,
}

/// A part as it is looked up: condition, input, kind.
type Key = (Option<usize>, Option<usize>, Kind);

impl Layout {
    /// Lays out `plan`.
    ///
    /// # Errors
    /// [`LayoutError`] if the plan is not one that [`crate::resolve`] makes.
    pub fn new(plan: &Plan) -> Result<Self, LayoutError> {
        let mut ladders: Vec<(Ladder, Vec<Key>)> = Vec::new();
        let mut placed = Vec::with_capacity(plan.aggregates.len());
        for (i, aggregate) in plan.aggregates.iter().enumerate() {
            check(i, aggregate.input, aggregate.condition, plan)?;
            let ladder = limited(&aggregate.ladder).ok_or(LayoutError::Ladder(i))?;
            let table = ladders.iter().position(|(l, _)| *l == ladder).unwrap_or_else(|| {
                ladders.push((ladder, Vec::new()));
                ladders.len() - 1
            });
            let keys = keys(aggregate);
            for key in &keys {
                if !ladders[table].1.contains(key) {
                    ladders[table].1.push(*key);
                }
            }
            placed.push((table, keys));
        }
        let (tables, orders): (Vec<_>, Vec<_>) = ladders.into_iter().map(|(l, keys)| table(l, &keys, plan)).unzip();
        let position = |(t, keys): &(usize, Vec<Key>)| {
            keys.iter().filter_map(|key| orders[*t].iter().position(|k| k == key)).collect::<Vec<_>>()
        };
        let features = (plan.features.iter())
            .map(|feature| match &feature.source {
                FeatureSource::Expression { .. } => Ok(None),
                FeatureSource::Window { aggregate, window } => {
                    let dangling = || LayoutError::Dangling(format!("feature {}", feature.name));
                    let place = placed.get(*aggregate).ok_or_else(dangling)?;
                    let of = &plan.aggregates[*aggregate];
                    Ok(Some(FeatureLayout {
                        table: place.0,
                        parts: position(place),
                        function: of.function,
                        input: of.input.map(|k| plan.inputs[k].value_type.clone()),
                        output: feature.value_type.clone(),
                        window: *window,
                    }))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let span_ms = span(&tables);
        Ok(Self { id: plan.layout(), policy: plan.time.clone(), tables, features, span_ms })
    }
}

/// The parts of an aggregate.
fn keys(aggregate: &crate::plan::Aggregate) -> Vec<Key> {
    kinds(&aggregate.function)
        .iter()
        .map(|kind| (aggregate.condition, aggregate.input, kind.sized(&aggregate.function)))
        .collect()
}

/// A table of the given parts, and these in the order they stand in it: by condition, each where it first occurs.
fn table(ladder: Ladder, keys: &[Key], plan: &Plan) -> (TableLayout, Vec<Key>) {
    let mut order: Vec<Key> = Vec::with_capacity(keys.len());
    let mut groups: Vec<Group> = Vec::new();
    for key in keys {
        if groups.iter().any(|g| g.condition == key.0) {
            continue;
        }
        let from = order.len();
        order.extend(keys.iter().filter(|k| k.0 == key.0));
        groups.push(Group { condition: key.0, from, to: order.len() });
    }
    let part = |key: &Key| {
        let value_type = key.1.map(|k| plan.inputs[k].value_type.clone());
        (Part { kind: key.2, value_type }, key.1)
    };
    let parts = order.iter().map(part).collect();
    let forms: Vec<Form> = order.iter().map(|key| form(&order, key)).collect();
    let rank = |i: &usize| match forms[*i] {
        Form::Own if order[*i].2 == Kind::Count => 0,
        Form::Own | Form::Base { .. } => 1,
        Form::Told { .. } => 2,
    };
    let mut columns: Vec<usize> = (0..order.len()).collect();
    columns.sort_by_key(rank);
    (TableLayout { ladder, groups, parts, forms, order: columns }, order)
}

/// The form of `key` among the parts `of` a table.
fn form(of: &[Key], key: &Key) -> Form {
    let beside = |kind: Kind| of.iter().position(|other| *other == (key.0, key.1, kind));
    let base = [Kind::Min, Kind::Max, Kind::Sum].into_iter().find_map(beside);
    match (key.2, key.1.and_then(|_| beside(Kind::Count)), base) {
        (Kind::Min | Kind::Max | Kind::Sum | Kind::Squares, Some(count), Some(base)) if of[base] == *key => {
            Form::Base { count }
        }
        (Kind::Min | Kind::Max | Kind::Sum | Kind::Squares, Some(count), Some(base)) => Form::Told { count, base },
        _ => Form::Own,
    }
}

impl TableLayout {
    /// What a tile takes in bytes, roughly: a function of its states alone.
    pub fn weigh(&self, tile: &[State]) -> usize {
        let weigh = |(state, form): (&State, &Form)| match form {
            Form::Told { count, .. } if tile[*count] == State::Count(1) => 0,
            _ => state.weight(),
        };
        2 + tile.iter().zip(&self.forms).map(weigh).sum::<usize>()
    }
}

fn check(i: usize, input: Option<usize>, condition: Option<usize>, plan: &Plan) -> Result<(), LayoutError> {
    if input.is_some_and(|k| k >= plan.inputs.len()) {
        return Err(LayoutError::Dangling(format!("aggregates[{i}].input")));
    }
    if condition.is_some_and(|c| c >= plan.conditions.len()) {
        return Err(LayoutError::Dangling(format!("aggregates[{i}].condition")));
    }
    Ok(())
}

/// The ladder, if its rungs ascend and divide; ages beyond all time become all time.
fn limited(ladder: &Ladder) -> Option<Ladder> {
    let rungs = &ladder.rungs;
    let sound = !rungs.is_empty()
        && rungs.len() <= MAX_RUNGS
        && rungs.iter().all(|r| r.tile_ms > 0 && r.tile_ms <= TIME_LIMIT && r.keep_ms >= 0)
        && rungs.windows(2).all(|w| w[0].keep_ms < w[1].keep_ms && w[0].tile_ms < w[1].tile_ms)
        && rungs.windows(2).all(|w| w[1].tile_ms % w[0].tile_ms == 0);
    let rungs = rungs.iter().map(|r| Rung { keep_ms: r.keep_ms.min(2 * TIME_LIMIT), ..*r }).collect();
    sound.then_some(Ladder { rungs, forever: ladder.forever })
}

/// The length of a span: the least multiple of all tiles that cuts the longest reach into at most [`SPANS`].
fn span(tables: &[TableLayout]) -> i64 {
    let last = || tables.iter().filter_map(|t| t.ladder.rungs.last());
    let reach = last().map(|r| r.keep_ms).max().unwrap_or(1);
    let unit = last().map(|r| r.tile_ms).fold(1, lcm);
    unit.saturating_mul((reach / SPANS / unit).saturating_add(1)).min(TIME_LIMIT / unit * unit).max(unit)
}

fn lcm(a: i64, b: i64) -> i64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}
