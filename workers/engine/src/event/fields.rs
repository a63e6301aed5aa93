//! Which declared field a name in a payload means.
//!
//! Producers write the same fields in the same order, so the names of earlier events are remembered, in order and with
//! their quotes, and the next name is first compared with the one that stood there before. A guess only ever replaces a
//! look-up that gives the same answer.

use std::collections::HashMap;

use super::json::{Syntax, expected, string, unescape};
use crate::plan::{Plan, TimestampUnit};
use crate::value::ValueType;

/// How many names are remembered; longer events are looked up from there on.
const REMEMBERED: usize = 256;
/// Names longer than this are looked up each time, so that a hostile producer cannot make memory grow.
const REMEMBERED_BYTES: usize = 128;
/// How many remembered names a name is compared with: fields that are sometimes left out cost no look-up.
const LOOK_AHEAD: usize = 4;

/// A field that is decoded.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Its name in the event.
    pub(super) name: Box<str>,
    /// The column it fills, and that column's type. `None` for an event time that is not a column.
    pub(super) column: Option<(usize, ValueType)>,
    /// How it writes the event time, if it is that.
    pub(super) time: Option<TimestampUnit>,
    /// Whether it is part of the entity's key.
    pub(super) key: bool,
}

impl Field {
    /// Whether an event without it is refused.
    pub(super) fn required(&self) -> bool {
        self.key || self.time.is_some()
    }
}

/// A name that stood in an earlier event.
#[derive(Clone, Debug)]
struct Remembered {
    /// The name with its quotes and without escapes, so that equal bytes are equal names.
    quoted: Vec<u8>,
    field: Option<usize>,
}

/// The declared fields, and the order in which names were last seen.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    declared: Vec<Field>,
    by_name: HashMap<Box<str>, usize>,
    order: Vec<Remembered>,
    next: usize,
    unescaped: String,
}

impl Fields {
    pub(super) fn new(plan: &Plan) -> Self {
        let timestamp = &plan.source.timestamp;
        let columns = plan.source.columns.iter().enumerate().map(|(index, column)| Field {
            name: column.name.as_str().into(),
            column: Some((index, column.value_type.clone())),
            time: (column.name == timestamp.field).then_some(timestamp.unit),
            key: plan.entity.contains(&column.name),
        });
        let mut declared: Vec<Field> = columns.collect();
        if declared.iter().all(|field| field.time.is_none()) {
            let name = timestamp.field.as_str().into();
            declared.push(Field { name, column: None, time: Some(timestamp.unit), key: false });
        }
        let by_name = declared.iter().enumerate().map(|(index, field)| (field.name.clone(), index)).collect();
        Self { declared, by_name, order: Vec::new(), next: 0, unescaped: String::new() }
    }

    /// The declared fields: the plan's columns in their order, then the event time if it is none of them.
    pub(super) fn declared(&self) -> &[Field] {
        &self.declared
    }

    /// Begins a new event.
    #[inline]
    pub(super) fn restart(&mut self) {
        self.next = 0;
    }

    /// Reads the name that starts at `at`: the declared field it means, if any, and the offset behind its quote.
    #[inline]
    pub(super) fn find(&mut self, text: &str, at: usize) -> Result<(Option<usize>, usize), Syntax> {
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        let guesses = self.order.iter().enumerate().skip(self.next).take(LOOK_AHEAD);
        for (position, guess) in guesses {
            if rest.starts_with(&guess.quoted) {
                self.next = position + 1;
                return Ok((guess.field, at + guess.quoted.len()));
            }
        }
        self.look_up(text, at)
    }

    #[cold]
    fn look_up(&mut self, text: &str, at: usize) -> Result<(Option<usize>, usize), Syntax> {
        let bytes = text.as_bytes();
        if bytes.get(at) != Some(&b'"') {
            return expected(at, "the name of a field");
        }
        let quoted = string(bytes, at + 1)?;
        let name = text.get(at + 1..quoted.end).unwrap_or_default();
        if quoted.escaped {
            self.unescaped.clear();
            unescape(name, &mut self.unescaped)?;
            return Ok((self.by_name.get(self.unescaped.as_str()).copied(), quoted.end + 1));
        }
        let field = self.by_name.get(name).copied();
        if name.len() <= REMEMBERED_BYTES && self.next < REMEMBERED {
            self.remember(bytes.get(at..=quoted.end).unwrap_or_default(), field);
        }
        Ok((field, quoted.end + 1))
    }

    /// Puts a name at the place where it was met, in the stead of the one that was expected there.
    fn remember(&mut self, quoted: &[u8], field: Option<usize>) {
        if let Some(expected) = self.order.get_mut(self.next) {
            expected.quoted.clear();
            expected.quoted.extend_from_slice(quoted);
            expected.field = field;
        } else {
            self.order.push(Remembered { quoted: quoted.to_vec(), field });
        }
        self.next += 1;
    }
}
