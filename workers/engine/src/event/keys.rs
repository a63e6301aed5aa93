//! Which entity a payload names. Read more leniently than events are: a record that was refused for its price names its
//! user all the same.
//!
//! Invariant: an event that is taken has here the text that its columns have, in whatever form its keys are written.

use super::cell::{self, Cell, Refusal};
use super::fields::{Field, Fields};
use super::json::{Syntax, colon, expected, skip, space};
use crate::entity::decimal_text;
use crate::plan::Plan;
use crate::row::entity_text;
use crate::value::ValueType;

/// Reads the entities of one plan's events.
#[derive(Clone, Debug)]
pub struct Keys {
    fields: Fields,
    /// By declared field, its place among the entity's keys.
    places: Vec<Option<usize>>,
    /// By place, what the last payload has there.
    texts: Vec<Option<String>>,
    scratch: String,
}

impl Keys {
    /// For the events of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let fields = Fields::new(plan);
        let place = |field: &Field| plan.entity.iter().position(|key| **key == *field.name);
        let places = fields.declared().iter().map(place).collect();
        Self { fields, places, texts: vec![None; plan.entity.len()], scratch: String::new() }
    }

    /// The text of the entity that a payload names; `None` if it is no JSON object, or lacks a key that reads. Of a key that
    /// stands twice, the first counts.
    pub fn entity(&mut self, payload: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(payload).ok()?;
        self.texts.fill(None);
        self.scratch.clear();
        self.fields.restart();
        self.object(text).ok()?;
        let texts: Option<Vec<&str>> = self.texts.iter().map(Option::as_deref).collect();
        Some(entity_text(texts?))
    }

    fn object(&mut self, text: &str) -> Result<(), Syntax> {
        let bytes = text.as_bytes();
        let mut at = space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return expected(at, "an object");
        }
        at = space(bytes, at + 1);
        while bytes.get(at) != Some(&b'}') {
            let (field, end) = self.fields.find(text, at)?;
            at = colon(bytes, end)?;
            self.key(field, text, at);
            at = space(bytes, skip(bytes, at)?);
            match bytes.get(at) {
                Some(b',') => at = space(bytes, at + 1),
                Some(b'}') => break,
                _ => return expected(at, "`,` or `}`"),
            }
        }
        Ok(())
    }

    /// Notes the value at `at`, if it is that of a key.
    fn key(&mut self, field: Option<usize>, text: &str, at: usize) {
        let Some(index) = field else { return };
        let (Some(place), Some(field)) = (self.places.get(index).copied().flatten(), self.fields.declared().get(index))
        else {
            return;
        };
        if let Some(found @ None) = self.texts.get_mut(place) {
            *found = value(field, text, at, &mut self.scratch).ok().flatten();
        }
    }
}

/// The text of a key's value.
fn value(field: &Field, text: &str, at: usize, scratch: &mut String) -> Result<Option<String>, Refusal> {
    let Some((_, value_type)) = &field.column else { return Ok(None) };
    if let (ValueType::Timestamp, Some(unit)) = (value_type, field.time) {
        return Ok(Some(cell::event_time(text, at, unit, scratch)?.0.to_string()));
    }
    Ok(match (cell::read(text, at, value_type, scratch)?.0, value_type) {
        (Cell::Text(from, to), _) => text.get(from..to).map(str::to_owned),
        (Cell::Unescaped(from, to), _) => scratch.get(from..to).map(str::to_owned),
        (Cell::Int64(value), _) => Some(value.to_string()),
        (Cell::Boolean(value), _) => Some(value.to_string()),
        (Cell::Decimal(unscaled), ValueType::Decimal { scale, .. }) => Some(decimal_text(unscaled, u32::from(*scale))),
        (Cell::Null | Cell::Double(_) | Cell::Decimal(_), _) => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::entity::column_text;
    use crate::event::Decoder;
    use crate::event::tests::plan;
    use crate::plan::TimestampUnit;

    #[test]
    fn an_entity_is_the_one_of_the_columns_in_whatever_form_it_is_written() {
        let keys = [
            ("name", ValueType::String),
            ("number", ValueType::Int64),
            ("price", ValueType::Decimal { precision: 9, scale: 2 }),
            ("since", ValueType::Timestamp),
            ("new", ValueType::Boolean),
        ];
        let plan = plan(&keys, &keys.each_ref().map(|(name, _)| *name), TimestampUnit::Milliseconds);
        let mut all = Keys::new(&plan);
        for payload in [
            r#"{"ts": 1, "name": "a|b", "number": -7, "price": "4.20", "since": 12, "new": true}"#,
            r#"{"new": true, "since": "1970-01-01T00:00:00.012Z", "price": 4.2, "number": -7, "name": "a\u007cb", "ts": 1}"#,
            r#" {"ts" : 1, "more": {"name": [1, "x"]}, "name": "a|b", "number": -7, "price": 4.20, "since": 12, "new": true} "#,
        ] {
            assert_eq!(all.entity(payload.as_bytes()).as_deref(), Some("a%7Cb|-7|4.2|12|true"), "{payload}");
            let mut decoder = Decoder::new(&plan);
            decoder.push(Some(payload.as_bytes()), 1).unwrap();
            let events = decoder.take().record_batch().unwrap();
            let columns: Vec<_> = keys.iter().map(|(name, _)| events.column_by_name(name).unwrap().clone()).collect();
            assert_eq!(column_text(&columns, 0), "a%7Cb|-7|4.2|12|true", "{payload}");
        }
    }

    #[test]
    fn a_refused_event_names_its_entity_and_what_names_none_has_none() {
        let columns = [("user", ValueType::String), ("price", ValueType::Int64)];
        let mut all = Keys::new(&plan(&columns, &["user"], TimestampUnit::Milliseconds));
        let mut of = |payload: &str| all.entity(payload.as_bytes());
        assert_eq!(of(r#"{"user": "ada", "price": "cheap", "ts": "soon"}"#).as_deref(), Some("ada"));
        assert_eq!(of(r#"{"user": "ada"}"#).as_deref(), Some("ada"));
        for payload in ["", "ada", "[]", "{}", r#"{"user": 7}"#, r#"{"user": null}"#, r#"{"user": "ada""#] {
            assert_eq!(of(payload), None, "{payload}");
        }
    }
}
