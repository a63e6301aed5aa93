//! One event, read whole before anything is appended.

use super::cell::{self, Cell, Refusal};
use super::fields::{Field, Fields};
use super::json::{self, Syntax, colon, expected, skip, space};
use super::reject::{Reason, Reject};
use crate::plan::TimestampUnit;
use crate::value::ValueType;

/// How much of a value that is a number or a string of the wrong form is quoted in a detail.
const QUOTED_BYTES: usize = 40;

/// The values of one event. Its buffers are used again for the next.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// One per column of the plan.
    pub(super) cells: Vec<Cell>,
    /// What [`Cell::Unescaped`] points into.
    pub(super) scratch: String,
    /// Which of the declared fields have stood in the event.
    seen: Vec<bool>,
    time: i64,
    /// The first fault of a field; the rest of the payload is read on for its grammar.
    fault: Option<Reject>,
}

impl Record {
    pub(super) fn new(fields: &Fields) -> Self {
        let columns = fields.declared().iter().filter(|field| field.column.is_some()).count();
        let (cells, seen) = (vec![Cell::Null; columns], vec![false; fields.declared().len()]);
        Self { cells, scratch: String::new(), seen, time: 0, fault: None }
    }

    /// Reads the event `text` into [`Record::cells`]; its event time.
    pub(super) fn read(&mut self, fields: &mut Fields, text: &str) -> Result<i64, Reject> {
        self.cells.fill(Cell::Null);
        self.seen.fill(false);
        self.scratch.clear();
        self.fault = None;
        fields.restart();
        self.object(fields, text).map_err(|syntax| not_json(text, syntax))?;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        for (field, seen) in fields.declared().iter().zip(&self.seen) {
            if !seen && field.required() {
                return Err(Reject::new(Reason::MissingField, format!("{} is missing", name(field))));
            }
        }
        Ok(self.time)
    }

    fn object(&mut self, fields: &mut Fields, text: &str) -> Result<(), Syntax> {
        let bytes = text.as_bytes();
        let mut at = space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return expected(at, "an object");
        }
        at = space(bytes, at + 1);
        while bytes.get(at) != Some(&b'}') {
            let (field, end) = fields.find(text, at)?;
            at = colon(bytes, end)?;
            at = match field.and_then(|index| fields.declared().get(index).map(|field| (index, field))) {
                Some((index, field)) => self.field(index, field, text, at)?,
                None => skip(bytes, at)?,
            };
            at = space(bytes, at);
            match bytes.get(at) {
                Some(b',') => at = space(bytes, at + 1),
                Some(b'}') => break,
                _ => return expected(at, "`,` or `}`"),
            }
            if bytes.get(at) != Some(&b'"') {
                return expected(at, "the name of a field");
            }
        }
        at = space(bytes, at + 1);
        if at == bytes.len() { Ok(()) } else { expected(at, "nothing behind the object") }
    }

    /// Reads the value of a declared field; the offset behind it.
    #[inline]
    fn field(&mut self, index: usize, field: &Field, text: &str, at: usize) -> Result<usize, Syntax> {
        let bytes = text.as_bytes();
        let again = self.seen.get_mut(index).is_some_and(|seen| std::mem::replace(seen, true));
        if again {
            self.note(Reason::DuplicateField, || format!("{} stands twice, again at byte {at}", name(field)));
            return skip(bytes, at);
        }
        if bytes.get(at) == Some(&b'n') {
            let end = skip(bytes, at)?;
            if field.required() {
                self.note(Reason::NullField, || format!("{} is null at byte {at}", name(field)));
            }
            return Ok(end);
        }
        match self.value(field, text, at) {
            Ok(end) => Ok(end),
            Err(Refusal::Syntax(syntax)) => Err(syntax),
            Err(Refusal::WrongType) => {
                let end = skip(bytes, at)?;
                self.note(Reason::WrongType, || wrong_type(field, text, at, end));
                Ok(end)
            }
        }
    }

    /// Reads the value of a declared field as the event time, as its column, or as both.
    #[inline]
    fn value(&mut self, field: &Field, text: &str, at: usize) -> Result<usize, Refusal> {
        let mut behind = at;
        if let Some(unit) = field.time {
            (self.time, behind) = cell::event_time(text, at, unit, &mut self.scratch)?;
        }
        if let Some((column, value_type)) = &field.column {
            let value;
            // A column of type Timestamp that is the event time means the same instant, whatever its unit.
            (value, behind) = match (value_type, field.time) {
                (ValueType::Timestamp, Some(_)) => (Cell::Int64(self.time), behind),
                _ => cell::read(text, at, value_type, &mut self.scratch)?,
            };
            if let Some(cell) = self.cells.get_mut(*column) {
                *cell = value;
            }
        }
        Ok(behind)
    }

    /// Keeps the first fault.
    #[cold]
    fn note(&mut self, reason: Reason, detail: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(|| Reject::new(reason, detail()));
    }
}

fn name(field: &Field) -> String {
    let role = match (field.time.is_some(), field.key) {
        (true, _) => " (the event time)",
        (false, true) => " (of the entity's key)",
        (false, false) => "",
    };
    format!("field `{}`{role}", field.name)
}

#[cold]
fn not_json(text: &str, Syntax { at, expected }: Syntax) -> Reject {
    let reason = if expected == json::TOO_DEEP { Reason::NestedTooDeep } else { Reason::InvalidJson };
    let found = match text.as_bytes().get(at) {
        Some(byte @ b'!'..=b'~') => format!("`{}`", char::from(*byte)),
        Some(byte) => format!("the byte 0x{byte:02x}"),
        None => "the end".to_owned(),
    };
    Reject::new(reason, format!("expected {expected}, found {found} at byte {at}"))
}

fn wrong_type(field: &Field, text: &str, at: usize, end: usize) -> String {
    let mut expected = Vec::new();
    match field.time {
        Some(TimestampUnit::Rfc3339) => expected.push("an RFC 3339 time".to_owned()),
        Some(unit) => expected.push(format!("a number of {}", format!("{unit:?}").to_lowercase())),
        None => {}
    }
    match &field.column {
        Some((_, ValueType::Timestamp)) if field.time.is_some() => {}
        Some((_, value_type)) => expected.push(describe(value_type)),
        None => {}
    }
    let value = text.get(at..end).unwrap_or_default();
    let found = match value.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b't' | b'f') => "a boolean".to_owned(),
        Some(b'"') => format!("the string {}", cut(value)),
        _ => format!("the number {}", cut(value)),
    };
    format!("{}: expected {}, found {found} at byte {at}", name(field), expected.join(" that is also "))
}

fn describe(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Boolean => "a boolean".to_owned(),
        ValueType::Int64 => "an integer of 64 bits, without fraction or exponent".to_owned(),
        ValueType::Double => "a number in the range of a double".to_owned(),
        ValueType::Decimal { precision, scale } => {
            format!("a decimal of at most {precision} digits, {scale} of them behind the point")
        }
        ValueType::String => "a string".to_owned(),
        ValueType::Timestamp => "an RFC 3339 time or an integer of milliseconds".to_owned(),
        ValueType::List(_) => "no value, as columns cannot be lists".to_owned(),
    }
}

/// `value`, or its beginning.
fn cut(value: &str) -> String {
    if value.len() <= QUOTED_BYTES {
        return value.to_owned();
    }
    let end = (0..=QUOTED_BYTES).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", value.get(..end).unwrap_or_default())
}
