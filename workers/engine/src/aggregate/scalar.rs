//! The values that aggregates take in and keep.
//!
//! Invariant: the order of two scalars of one type is the order of their canonical bytes, so that ties broken "by value
//! bytes" are ties broken by value: booleans false first, numbers and times by size, text by its UTF-8 bytes. Doubles are
//! finite and have one zero.

use std::cmp::Ordering;

use crate::value::Value;

/// One borrowed, non-NULL value of an event's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Int64(i64),
    /// A double; a non-finite one is taken as NULL.
    Double(f64),
    /// The unscaled integer of a decimal.
    Decimal(i128),
    /// Text.
    String(&'a str),
    /// Milliseconds since the epoch.
    Timestamp(i64),
}

/// An owned value, in 24 bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// See [`ValueRef::Boolean`].
    Boolean(bool),
    /// See [`ValueRef::Int64`].
    Int64(i64),
    /// Finite, never negative zero.
    Double(f64),
    /// See [`ValueRef::Decimal`].
    Decimal(Int128),
    /// See [`ValueRef::String`].
    String(Box<str>),
    /// See [`ValueRef::Timestamp`].
    Timestamp(i64),
}

/// An `i128` that aligns to eight bytes, so that states stay small. Orders as the number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int128 {
    high: i64,
    low: u64,
}

impl Int128 {
    /// Zero.
    pub const ZERO: Self = Self { high: 0, low: 0 };
}

impl From<i128> for Int128 {
    fn from(value: i128) -> Self {
        Self { high: (value >> 64) as i64, low: value as u64 }
    }
}

impl From<Int128> for i128 {
    fn from(value: Int128) -> Self {
        (Self::from(value.high) << 64) | Self::from(value.low)
    }
}

impl ValueRef<'_> {
    /// The value as aggregates see it: one zero, and nothing that is not finite.
    #[must_use]
    pub fn canonical(self) -> Option<Self> {
        match self {
            // Adding zero turns −0.0 into 0.0 and leaves every other number alone.
            Self::Double(x) => x.is_finite().then_some(Self::Double(x + 0.0)),
            other => Some(other),
        }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_scalar(self) -> Scalar {
        match self {
            Self::Boolean(x) => Scalar::Boolean(x),
            Self::Int64(x) => Scalar::Int64(x),
            Self::Double(x) => Scalar::Double(x),
            Self::Decimal(x) => Scalar::Decimal(x.into()),
            Self::String(x) => Scalar::String(x.into()),
            Self::Timestamp(x) => Scalar::Timestamp(x),
        }
    }

    /// The canonical order of two values; values of different types, which no plan mixes, order by type.
    #[must_use]
    pub fn order(self, other: ValueRef<'_>) -> Ordering {
        use ValueRef::{Boolean, Decimal, Double, Int64, String, Timestamp};
        match (self, other) {
            (Boolean(a), Boolean(b)) => a.cmp(&b),
            (Int64(a), Int64(b)) | (Timestamp(a), Timestamp(b)) => a.cmp(&b),
            (Double(a), Double(b)) => a.total_cmp(&b),
            (Decimal(a), Decimal(b)) => a.cmp(&b),
            (String(a), String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Boolean(_) => 0,
            Self::Int64(_) => 1,
            Self::Double(_) => 2,
            Self::Decimal(_) => 3,
            Self::String(_) => 4,
            Self::Timestamp(_) => 5,
        }
    }
}

impl Scalar {
    /// The value, borrowed.
    #[must_use]
    pub fn get(&self) -> ValueRef<'_> {
        match self {
            Self::Boolean(x) => ValueRef::Boolean(*x),
            Self::Int64(x) => ValueRef::Int64(*x),
            Self::Double(x) => ValueRef::Double(*x),
            Self::Decimal(x) => ValueRef::Decimal((*x).into()),
            Self::String(x) => ValueRef::String(x),
            Self::Timestamp(x) => ValueRef::Timestamp(*x),
        }
    }

    /// The value as a feature gives it out.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Boolean(x) => Value::Boolean(*x),
            Self::Int64(x) => Value::Int64(*x),
            Self::Double(x) => Value::Double(*x),
            Self::Decimal(x) => Value::Decimal((*x).into()),
            Self::String(x) => Value::String(x.to_string()),
            Self::Timestamp(x) => Value::Timestamp(*x),
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        if let Self::String(x) = self { x.len() } else { 0 }
    }
}

impl Eq for Scalar {}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().order(other.get())
    }
}
