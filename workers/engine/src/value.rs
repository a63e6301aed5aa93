//! The types of columns and features, and one value of each.
//!
//! Invariant: every type maps to exactly one Arrow type, so that what DataFusion plans is what the lanes keep.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// The type of a source column, an aggregate's input, or a feature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// A signed 64-bit integer.
    Int64,
    /// An IEEE 754 double; non-finite values are NULL.
    Double,
    /// An exact decimal of at most 28 digits.
    Decimal {
        /// Digits in all, 1 to 28.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: u8,
    },
    /// UTF-8 text.
    String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// A list, as `LastK` and `TopK` give; never the type of a column.
    List(Box<ValueType>),
}

impl ValueType {
    /// The one Arrow type that holds values of this type.
    #[must_use]
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => {
                DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX))
            }
            Self::String => DataType::Utf8,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::List(item) => DataType::List(Field::new("item", item.arrow(), true).into()),
        }
    }
}

/// One value: what an aggregate takes in and what a feature gives out. `None` in its place is SQL's NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// See [`ValueType::Boolean`].
    Boolean(bool),
    /// See [`ValueType::Int64`].
    Int64(i64),
    /// See [`ValueType::Double`]; always finite.
    Double(f64),
    /// The unscaled integer of a [`ValueType::Decimal`].
    Decimal(i128),
    /// See [`ValueType::String`].
    String(String),
    /// See [`ValueType::Timestamp`].
    Timestamp(i64),
    /// See [`ValueType::List`].
    List(Vec<Value>),
}
