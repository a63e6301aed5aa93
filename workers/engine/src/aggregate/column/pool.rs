//! The texts and hashes of a column, each written once: neighbouring tiles mostly see the same few.

use crate::aggregate::codec::{Cursor, Malformed, put_len};
use crate::aggregate::{Distinct, Kind, Part, Scalar, State};
use crate::value::ValueType;

/// The sorted, distinct texts of a column.
#[derive(Debug, Default)]
pub struct Texts<'a>(Vec<&'a str>);

impl<'a> Texts<'a> {
    /// Those of some states.
    pub fn of(states: &[&'a State]) -> Self {
        let mut texts: Vec<&str> = Vec::new();
        let mut add = |value: &'a Scalar| {
            if let Scalar::String(text) = value {
                texts.push(text);
            }
        };
        for state in states {
            match state {
                State::Value(value) | State::Timed(_, value) => add(value),
                State::TimedList(list) => list.iter().for_each(|(_, value)| add(value)),
                State::ValueList(list) => list.iter().for_each(&mut add),
                _ => {}
            }
        }
        texts.sort_unstable();
        texts.dedup();
        Self(texts)
    }

    /// Whether columns of `part` have a pool of texts.
    pub fn has(part: &Part) -> bool {
        part.value_type == Some(ValueType::String)
            && matches!(part.kind, Kind::Min | Kind::Max | Kind::First | Kind::Last | Kind::LastK(_) | Kind::TopK(_))
    }

    /// Appends the pool, if columns of `part` have one.
    pub fn put(&self, out: &mut Vec<u8>, part: &Part) {
        if Self::has(part) {
            put_len(out, self.0.len());
            for text in &self.0 {
                put_len(out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Reads what [`Self::put`] wrote.
    pub fn take(from: &mut Cursor<'a>, part: &Part) -> Result<Self, Malformed> {
        if !Self::has(part) {
            return Ok(Self::default());
        }
        let len = from.count()?;
        let mut texts = Vec::with_capacity(len);
        for _ in 0..len {
            let bytes = from.count()?;
            match std::str::from_utf8(from.take(bytes)?) {
                Ok(text) if texts.last().is_none_or(|last| *last < text) => texts.push(text),
                Ok(_) => return from.malformed("texts out of order"),
                Err(_) => return from.malformed("text that is not UTF-8"),
            }
        }
        Ok(Self(texts))
    }

    /// Appends the index of a text that is in the pool.
    pub fn put_index(&self, out: &mut Vec<u8>, text: &str) {
        put_len(out, self.0.partition_point(|t| *t < text));
    }

    /// Reads what [`Self::put_index`] wrote.
    pub fn take_index(&self, from: &mut Cursor<'_>) -> Result<&'a str, Malformed> {
        Ok(self.0[from.index(self.0.len())?])
    }
}

/// The sorted, distinct hashes of a column.
#[derive(Debug, Default)]
pub struct Hashes(Vec<u64>);

impl Hashes {
    /// Those of some states.
    pub fn of(states: &[&State]) -> Self {
        let mut hashes = Vec::new();
        for state in states {
            if let State::Distinct(Distinct::Exact(set)) = state {
                hashes.extend_from_slice(set);
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// Appends the pool.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_len(out, self.0.len());
        for hash in &self.0 {
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }

    /// Reads what [`Self::put`] wrote.
    pub fn take(from: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let len = from.count()?;
        let mut hashes: Vec<u64> = Vec::new();
        for _ in 0..len {
            let hash = u64::from_le_bytes(from.array()?);
            if hashes.last().is_some_and(|last| *last >= hash) {
                return from.malformed("hashes out of order");
            }
            hashes.push(hash);
        }
        Ok(Self(hashes))
    }

    /// Appends a set that is within the pool: its size, its first index, and the gaps less one to each next.
    pub fn put_set(&self, out: &mut Vec<u8>, set: &[u64]) {
        put_len(out, set.len());
        let mut next = 0;
        for hash in set {
            let index = self.0.partition_point(|h| h < hash);
            put_len(out, index - next);
            next = index + 1;
        }
    }

    /// Reads the rest of what [`Self::put_set`] wrote, behind the size.
    pub fn take_set(&self, from: &mut Cursor<'_>, len: usize) -> Result<Vec<u64>, Malformed> {
        let mut set = Vec::with_capacity(len);
        let mut next = 0;
        for _ in 0..len {
            let index = next + from.index(self.0.len().saturating_sub(next))?;
            set.push(self.0[index]);
            next = index + 1;
        }
        Ok(set)
    }
}
