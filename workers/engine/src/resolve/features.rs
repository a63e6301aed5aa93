//! Features → distinct conditions, inputs and aggregates, and the windows over them.

use std::collections::BTreeMap;

use super::{Invalid, duration, expressions};
use crate::definition::FeatureDefinition;
use crate::expr;
use crate::plan::{Aggregate, Feature, FeatureSource, Function, Input, Source, TimePolicy, Window};
use crate::program::schema_of;
use crate::time;
use crate::value::ValueType;

/// What the features of a view come to.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) conditions: Vec<String>,
    pub(super) inputs: Vec<Input>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) features: Vec<Feature>,
}

/// One windowed feature, before the ladders are known.
struct Windowed {
    index: usize,
    aggregate: usize,
    window: Window,
    value_type: ValueType,
}

/// A distinct aggregate, before its ladder is known.
struct Distinct {
    function: Function,
    input: Option<usize>,
    condition: Option<usize>,
    windows: Vec<Window>,
}

/// Resolves all features; completes `time` with the finest tile and the retention. `horizon_max_age_ms` is of a Lambda.
pub(super) fn resolve(
    definitions: &[FeatureDefinition],
    source: &Source,
    time: &mut TimePolicy,
    horizon_max_age_ms: Option<i64>,
    errors: &mut Vec<Invalid>,
) -> Resolved {
    let mut resolved = Resolved::default();
    if definitions.is_empty() {
        errors.push(Invalid::new("spec.features", "define at least one feature"));
    }
    let mut names = BTreeMap::new();
    for (i, d) in definitions.iter().enumerate() {
        if let Some(first) = names.insert(d.name.as_str(), i) {
            let message = format!("the name {:?} is taken by spec.features[{first}]", d.name);
            errors.push(Invalid::new(format!("spec.features[{i}].name"), message));
        }
    }

    let mut distinct: Vec<Distinct> = Vec::new();
    let mut windowed: Vec<Windowed> = Vec::new();
    for (index, d) in definitions.iter().enumerate().filter(|(_, d)| d.expression.is_none()) {
        let field = format!("spec.features[{index}]");
        match aggregate(d, &field, source, &mut resolved) {
            Ok((function, input, condition, window, value_type)) => {
                let same = |a: &Distinct| a.function == function && a.input == input && a.condition == condition;
                let aggregate = distinct.iter().position(same).unwrap_or_else(|| {
                    distinct.push(Distinct { function, input, condition, windows: Vec::new() });
                    distinct.len() - 1
                });
                distinct[aggregate].windows.push(window);
                windowed.push(Windowed { index, aggregate, window, value_type });
            }
            Err(found) => errors.extend(found),
        }
    }

    time.finest_tile_ms = windowed.iter().filter_map(|w| hop_of(&w.window)).min().unwrap_or(super::DEFAULT_FINEST_MS);
    let horizon = horizon_max_age_ms
        .map(|max_age| time::horizon_rung(windowed.iter().filter_map(|w| hop_of(&w.window)), time, max_age));
    resolved.aggregates = distinct
        .into_iter()
        .map(|d| Aggregate {
            function: d.function,
            input: d.input,
            condition: d.condition,
            ladder: time::build_ladder(&d.windows, time, horizon),
        })
        .collect();
    let lifetime = resolved.aggregates.iter().any(|a| a.ladder.forever);
    let longest = resolved.aggregates.iter().filter_map(|a| a.ladder.rungs.last()).map(|r| r.keep_ms).max();
    time.retention_ms = if lifetime { None } else { longest };

    let known: BTreeMap<usize, ValueType> = windowed.iter().map(|w| (w.index, w.value_type.clone())).collect();
    let derived = expressions::resolve(definitions, &known, errors);
    let mut features: BTreeMap<usize, Feature> = derived.into_iter().collect();
    for w in windowed {
        let source = FeatureSource::Window { aggregate: w.aggregate, window: w.window };
        let name = definitions[w.index].name.clone();
        features.insert(w.index, Feature { name, value_type: w.value_type, source });
    }
    // With errors some are missing; the caller then discards the plan.
    resolved.features = features.into_values().collect();
    resolved
}

type Parts = (Function, Option<usize>, Option<usize>, Window, ValueType);

/// One windowed feature's parts; conditions and inputs are entered into `resolved`, each once.
fn aggregate(
    d: &FeatureDefinition,
    field: &str,
    source: &Source,
    resolved: &mut Resolved,
) -> Result<Parts, Vec<Invalid>> {
    let mut errors = Vec::new();
    let function = function(d).map_err(|(part, m)| errors.push(Invalid::new(format!("{field}.{part}"), m))).ok();
    let window = window(d).map_err(|(part, m)| errors.push(Invalid::new(format!("{field}.{part}"), m))).ok();
    let schema = schema_of(&source.columns);

    let condition = d.condition.as_deref().and_then(|sql| match expr::compile(sql, &schema) {
        Ok(c) if c.value_type == ValueType::Boolean => Some(position(&mut resolved.conditions, sql.to_owned())),
        Ok(c) => {
            let message = format!("{sql:?} gives {:?}; a condition must be true or false", c.value_type);
            errors.push(Invalid::new(format!("{field}.where"), message));
            None
        }
        Err(e) => {
            errors.push(Invalid::new(format!("{field}.where"), e));
            None
        }
    });
    let input = d.of.as_deref().and_then(|sql| match expr::compile(sql, &schema) {
        Ok(c) => Some(Input { sql: sql.to_owned(), value_type: c.value_type }),
        Err(e) => {
            errors.push(Invalid::new(format!("{field}.of"), e));
            None
        }
    });
    let value_type = function.as_ref().and_then(|f| match output(*f, input.as_ref().map(|i| &i.value_type)) {
        Ok(t) => Some(t),
        // Without its input, what is wrong has been said already.
        Err(_) if d.of.is_some() && input.is_none() => None,
        Err(message) => {
            errors.push(Invalid::new(format!("{field}.of"), message));
            None
        }
    });
    match (function, window, value_type) {
        (Some(function), Some(window), Some(value_type)) if errors.is_empty() => {
            let input = input.map(|i| position(&mut resolved.inputs, i));
            Ok((function, input, condition, window, value_type))
        }
        _ => Err(errors),
    }
}

/// Where `item` stands in `items`, entered if it is new.
fn position<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|i| *i == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

fn function(d: &FeatureDefinition) -> Result<Function, (&'static str, String)> {
    let name = d.aggregate.as_deref().unwrap_or_default();
    let k = || match d.k {
        Some(k @ 1..=1000) => Ok(k),
        _ => Err(("k", format!("{name} needs k, 1 to 1000"))),
    };
    if d.k.is_some() && !matches!(name, "LastK" | "TopK") {
        return Err(("k", "is for LastK and TopK".to_owned()));
    }
    if d.percentile.is_some() && name != "Percentile" {
        return Err(("percentile", "is for the aggregate Percentile".to_owned()));
    }
    Ok(match name {
        "Count" => Function::Count,
        "Sum" => Function::Sum,
        "Avg" => Function::Avg,
        "Min" => Function::Min,
        "Max" => Function::Max,
        "StdDev" => Function::StdDev,
        "Variance" => Function::Variance,
        "CountDistinct" => Function::CountDistinct,
        "Percentile" => match d.percentile.as_deref().map(str::parse::<f64>) {
            Some(Ok(q)) if (0.0..=1.0).contains(&q) => Function::Percentile { q },
            _ => {
                return Err((
                    "percentile",
                    "Percentile needs a percentile from \"0\" to \"1\", such as \"0.95\"".into(),
                ));
            }
        },
        "First" => Function::First,
        "Last" => Function::Last,
        "LastK" => Function::LastK { k: k()? },
        "TopK" => Function::TopK { k: k()? },
        "MinTimestamp" => Function::MinTimestamp,
        "MaxTimestamp" => Function::MaxTimestamp,
        "" => return Err(("aggregate", "a feature needs an aggregate or an expression".to_owned())),
        other => return Err(("aggregate", format!("{other:?} is no aggregate"))),
    })
}

fn window(d: &FeatureDefinition) -> Result<Window, (&'static str, String)> {
    let Some(text) = d.window.as_deref() else {
        return match (&d.hop, d.tumbling) {
            (Some(_), _) => Err(("hop", "a lifetime feature (no window) has no hop".to_owned())),
            (None, true) => Err(("type", "a Tumbling feature needs a window".to_owned())),
            (None, false) => Ok(Window::Lifetime),
        };
    };
    let length_ms = duration::parse(text).map_err(|m| ("window", m))?;
    if length_ms == 0 {
        return Err(("window", "must be longer than 0; leave it out for a lifetime feature".to_owned()));
    }
    if d.tumbling {
        if d.hop.is_some() {
            return Err(("hop", "a Tumbling window has no hop".to_owned()));
        }
        let hop_ms = time::tumbling_hop(length_ms)
            .ok_or_else(|| ("window", format!("{text:?} is not a whole number of seconds")))?;
        return Ok(Window::Tumbling { length_ms, hop_ms });
    }
    let hop_ms = match d.hop.as_deref() {
        Some(hop) => {
            let ms = duration::parse(hop).map_err(|m| ("hop", m))?;
            if !time::LADDER.contains(&ms) {
                return Err(("hop", format!("{hop:?} is no step of the ladder 1s, 10s, 1m, 5m, 15m, 1h, 6h, 1d")));
            }
            if ms > length_ms {
                return Err(("hop", format!("{hop:?} is longer than the window {text:?}")));
            }
            ms
        }
        None => time::default_hop(length_ms)
            .ok_or_else(|| ("hop", format!("a window of {text:?}, under 60 s, needs its hop given, such as \"1s\"")))?,
    };
    Ok(Window::Sliding { length_ms, hop_ms })
}

/// The type of a function's values over inputs of a type.
fn output(function: Function, input: Option<&ValueType>) -> Result<ValueType, String> {
    use ValueType as T;
    let needed = || input.ok_or_else(|| format!("{} needs `of`: what is aggregated", name(function)));
    let numeric = || match needed()? {
        t @ (T::Int64 | T::Double | T::Decimal { .. }) => Ok(t),
        other => Err(format!("{} needs a number, and `of` gives {other:?}", name(function))),
    };
    Ok(match function {
        Function::Count => T::Int64,
        Function::CountDistinct => needed().map(|_| T::Int64)?,
        Function::Sum => match numeric()? {
            T::Decimal { scale, .. } => T::Decimal { precision: 28, scale: *scale },
            t => t.clone(),
        },
        Function::Avg | Function::StdDev | Function::Variance | Function::Percentile { .. } => {
            numeric().map(|_| T::Double)?
        }
        Function::Min | Function::Max | Function::First | Function::Last => needed()?.clone(),
        Function::LastK { .. } | Function::TopK { .. } => T::List(Box::new(needed()?.clone())),
        Function::MinTimestamp | Function::MaxTimestamp => T::Timestamp,
    })
}

/// The hop of a window, unless it is lifetime.
fn hop_of(window: &Window) -> Option<i64> {
    match window {
        Window::Sliding { hop_ms, .. } | Window::Tumbling { hop_ms, .. } => Some(*hop_ms),
        Window::Lifetime => None,
    }
}

fn name(function: Function) -> &'static str {
    match function {
        Function::Count => "Count",
        Function::Sum => "Sum",
        Function::Avg => "Avg",
        Function::Min => "Min",
        Function::Max => "Max",
        Function::StdDev => "StdDev",
        Function::Variance => "Variance",
        Function::CountDistinct => "CountDistinct",
        Function::Percentile { .. } => "Percentile",
        Function::First => "First",
        Function::Last => "Last",
        Function::LastK { .. } => "LastK",
        Function::TopK { .. } => "TopK",
        Function::MinTimestamp => "MinTimestamp",
        Function::MaxTimestamp => "MaxTimestamp",
    }
}
