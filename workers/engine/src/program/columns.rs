//! Between [`Value`]s and Arrow arrays: features go into derived expressions as columns and come out as values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMillisecondType};

use crate::value::{Value, ValueType};

/// A column of `value_type`; a value of another type is NULL. Lists, which no expression reads, become NULL.
#[must_use]
pub fn array(value_type: &ValueType, values: &[Option<Value>]) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $variant:ident) => {
            values
                .iter()
                .map(|v| match v {
                    Some(Value::$variant(x)) => Some(x.clone()),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    match value_type {
        ValueType::Boolean => Arc::new(collect!(BooleanArray, Boolean)),
        ValueType::Int64 => Arc::new(collect!(Int64Array, Int64)),
        ValueType::Double => Arc::new(collect!(Float64Array, Double)),
        ValueType::Decimal { .. } => Arc::new(collect!(Decimal128Array, Decimal).with_data_type(value_type.arrow())),
        ValueType::String => Arc::new(collect!(StringArray, String)),
        ValueType::Timestamp => Arc::new(collect!(TimestampMillisecondArray, Timestamp).with_timezone("UTC")),
        ValueType::List(_) => new_null_array(&value_type.arrow(), values.len()),
    }
}

/// The value at `row` of an array of a value type other than a list; `None` is NULL.
#[must_use]
pub fn value_at(array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::Int64 => Value::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Timestamp(..) => Value::Timestamp(array.as_primitive::<TimestampMillisecondType>().value(row)),
        _ => return None,
    })
}
