//! Writes an answer as Feast's columnar JSON, with what Feast has no word for in the metadata.
//!
//! `results[i]` belongs to `metadata.feature_names[i]`; entity columns come first. Integers and decimals are exact JSON
//! numbers, doubles the shortest that read back the same, timestamps RFC 3339 text with milliseconds (Feast's integer
//! seconds would lose them), lists arrays.

use engine::value::{Value, ValueType};
use serde::Serialize;

use crate::evaluate::{Cell, Status};
use crate::time_text::push_rfc3339;

/// Everything an answer says.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The time of the read; the latest where views are read at different ones.
    pub t: i64,
    /// The least [`ViewNote::complete_to`]; `None` if any is.
    pub complete_to: Option<i64>,
    /// Whether any view is.
    pub degraded: bool,
    /// The views, in the request's order.
    pub views: Vec<ViewNote<'a>>,
    /// The entity columns, in the request's order.
    pub entities: Vec<(&'a str, &'a [serde_json::Value])>,
    /// The feature columns, in the request's order.
    pub features: Vec<FeatureColumn<'a>>,
    /// Whether the window bounds are asked for.
    pub include_windows: bool,
}

/// What an answer says of a view.
#[derive(Debug)]
pub struct ViewNote<'a> {
    /// Its name.
    pub name: &'a str,
    /// The revision all its values are of.
    pub revision: &'a str,
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// The time it is read at.
    pub t: i64,
    /// The batch generation that is served and its horizon, where there is one.
    pub published: Option<(u64, i64)>,
    /// The event time from which on the source was read, where what was before is missing: a window that begins earlier is
    /// `INVALID`.
    pub complete_from: Option<i64>,
    /// The event time up to which the source has been read.
    pub complete_to: Option<i64>,
    /// Whether that is older than it may be.
    pub degraded: bool,
}

/// One feature of an answer.
#[derive(Debug)]
pub struct FeatureColumn<'a> {
    /// The name it is answered by.
    pub name: String,
    /// The type of its values.
    pub value_type: &'a ValueType,
    /// A cell a distinct entity.
    pub cells: Vec<Cell>,
    /// For each row its cell.
    pub slots: &'a [usize],
    /// Half-open `[start, end)`, the start `None` for all time; `None` for an expression.
    pub window: Option<(Option<i64>, i64)>,
}

impl Answer<'_> {
    /// The body.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let cells: usize = self.features.iter().map(|f| f.slots.len()).sum();
        let mut out = Vec::with_capacity(512 + 64 * cells + 96 * (self.features.len() + self.entities.len()));
        out.extend_from_slice(b"{\"metadata\":");
        self.metadata(&mut out);
        out.extend_from_slice(b",\"results\":[");
        for (i, (_, values)) in self.entities.iter().enumerate() {
            separate(&mut out, i);
            entity_column(&mut out, values);
        }
        for (i, feature) in self.features.iter().enumerate() {
            separate(&mut out, i + self.entities.len());
            feature_column(&mut out, feature);
        }
        out.extend_from_slice(b"]}");
        out
    }

    fn metadata(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"feature_names\":[");
        let names = self.entities.iter().map(|(name, _)| *name).chain(self.features.iter().map(|f| f.name.as_str()));
        for (i, name) in names.enumerate() {
            separate(out, i);
            json(out, name);
        }
        out.extend_from_slice(b"],\"t\":");
        time(out, self.t);
        completeness(out, self.complete_to, self.degraded);
        out.extend_from_slice(b",\"views\":{");
        for (i, view) in self.views.iter().enumerate() {
            separate(out, i);
            json(out, view.name);
            out.extend_from_slice(b":{\"revision\":");
            json(out, view.revision);
            out.extend_from_slice(b",\"incarnation\":");
            json(out, &view.incarnation);
            if let Some((generation, horizon)) = view.published {
                out.extend_from_slice(b",\"t\":");
                time(out, view.t);
                out.extend_from_slice(b",\"generation\":");
                json(out, &generation);
                out.extend_from_slice(b",\"horizon\":");
                time(out, horizon);
            }
            if let Some(complete_from) = view.complete_from {
                out.extend_from_slice(b",\"complete_from\":");
                time(out, complete_from);
            }
            completeness(out, view.complete_to, view.degraded);
            out.push(b'}');
        }
        out.push(b'}');
        if self.include_windows {
            self.windows(out);
        }
        out.push(b'}');
    }

    /// Bounds by feature name, in the order of the features; expressions have none.
    fn windows(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"windows\":{");
        let windowed = self.features.iter().filter_map(|f| Some((f, f.window?)));
        for (i, (feature, (start, end))) in windowed.enumerate() {
            separate(out, i);
            json(out, &feature.name);
            out.extend_from_slice(b":{\"start\":");
            optional_time(out, start);
            out.extend_from_slice(b",\"end\":");
            time(out, end);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

fn completeness(out: &mut Vec<u8>, complete_to: Option<i64>, degraded: bool) {
    out.extend_from_slice(b",\"complete_to\":");
    optional_time(out, complete_to);
    out.extend_from_slice(if degraded { b",\"degraded\":true" } else { b",\"degraded\":false" });
}

fn entity_column(out: &mut Vec<u8>, values: &[serde_json::Value]) {
    out.extend_from_slice(b"{\"values\":");
    json(out, values);
    out.extend_from_slice(b",\"statuses\":[");
    repeat(out, values.len(), b"\"PRESENT\"");
    out.extend_from_slice(b"],\"event_timestamps\":[");
    repeat(out, values.len(), b"\"1970-01-01T00:00:00Z\"");
    out.extend_from_slice(b"]}");
}

fn feature_column(out: &mut Vec<u8>, feature: &FeatureColumn<'_>) {
    let cells = || feature.slots.iter().map(|&slot| &feature.cells[slot]).enumerate();
    out.extend_from_slice(b"{\"values\":[");
    for (i, cell) in cells() {
        separate(out, i);
        match &cell.value {
            Some(v) if cell.status == Status::Present => value(out, v, feature.value_type),
            _ => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"],\"statuses\":[");
    for (i, cell) in cells() {
        separate(out, i);
        out.push(b'"');
        out.extend_from_slice(cell.status.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"event_timestamps\":[");
    for (i, cell) in cells() {
        separate(out, i);
        time(out, cell.event_time.unwrap_or(0));
    }
    out.extend_from_slice(b"]}");
}

fn value(out: &mut Vec<u8>, v: &Value, value_type: &ValueType) {
    match (v, value_type) {
        (Value::Boolean(b), _) => json(out, b),
        (Value::Int64(n), _) => json(out, n),
        (Value::Double(x), _) => json(out, x),
        (Value::Decimal(unscaled), ValueType::Decimal { scale, .. }) => decimal(out, *unscaled, usize::from(*scale)),
        (Value::Decimal(unscaled), _) => decimal(out, *unscaled, 0),
        (Value::String(text), _) => json(out, text),
        (Value::Timestamp(millis), _) => time(out, *millis),
        (Value::List(items), _) => {
            let item_type = if let ValueType::List(item) = value_type { item.as_ref() } else { value_type };
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                separate(out, i);
                value(out, item, item_type);
            }
            out.push(b']');
        }
    }
}

/// An exact JSON number with all digits of the scale: `-1250` of scale 2 is `-12.50`.
fn decimal(out: &mut Vec<u8>, unscaled: i128, scale: usize) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

fn time(out: &mut Vec<u8>, millis: i64) {
    out.push(b'"');
    push_rfc3339(out, millis);
    out.push(b'"');
}

fn optional_time(out: &mut Vec<u8>, millis: Option<i64>) {
    match millis {
        Some(millis) => time(out, millis),
        None => out.extend_from_slice(b"null"),
    }
}

/// A comma before all but the first.
fn separate(out: &mut Vec<u8>, i: usize) {
    if i > 0 {
        out.push(b',');
    }
}

fn repeat(out: &mut Vec<u8>, times: usize, item: &[u8]) {
    for i in 0..times {
        separate(out, i);
        out.extend_from_slice(item);
    }
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, item: &T) {
    // Writing scalars and their lists to memory cannot fail.
    let _ = serde_json::to_writer(out, item);
}

#[cfg(test)]
mod tests;
