//! Up to which event time a table holds everything, as it says itself.
//!
//! A writer declares it as the table property [`COMPLETE_UNTIL`], or in the commit info of a commit under the same key: RFC
//! 3339 text, or milliseconds since the epoch. The newest commit that says something wins over the property, because it
//! is newer than any commit that set the property and says nothing of its own.

use deltalake::DeltaTable;
use serde_json::Value;

use crate::commit::latest_info;
use crate::error::LakeError;
use crate::{bronze, table};

/// The property, and the key of the commit info.
pub const COMPLETE_UNTIL: &str = "featuremill.completeUntil";

/// The event time in milliseconds before which the table, at the version it is loaded at, holds every event; `None` if it
/// does not say. A Bronze table says it by what it has read of each partition.
///
/// # Errors
/// [`LakeError::Metadata`] for what is no time, or what the store says.
pub async fn completeness(table: &DeltaTable, uri: &str) -> Result<Option<i64>, LakeError> {
    match latest_info(table, uri, &[bronze::STATE, COMPLETE_UNTIL]).await? {
        Some((bronze::STATE, state)) => return Ok(bronze::parse_state(uri, state)?.complete_until()),
        Some((_, declared)) => return parse(uri, &declared).map(Some),
        None => {}
    }
    let declared = table::properties(table, uri)?.remove(COMPLETE_UNTIL);
    declared.map(|text| parse(uri, &Value::String(text))).transpose()
}

fn parse(uri: &str, declared: &Value) -> Result<i64, LakeError> {
    let time = match declared {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let text = text.trim();
            let rfc3339 = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
            text.parse::<i64>().ok().or_else(rfc3339)
        }
        _ => None,
    };
    time.ok_or_else(|| LakeError::Metadata {
        uri: uri.to_owned(),
        what: COMPLETE_UNTIL,
        found: declared.to_string(),
        fix: "write RFC 3339 text or milliseconds since the epoch",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_milliseconds() {
        let parse = |value: Value| super::parse("t", &value);
        assert_eq!(parse(Value::from(1_700_000_000_000_i64)).unwrap(), 1_700_000_000_000);
        assert_eq!(parse(Value::from("1700000000000")).unwrap(), 1_700_000_000_000);
        assert_eq!(parse(Value::from("2023-11-14T22:13:20Z")).unwrap(), 1_700_000_000_000);
        assert_eq!(parse(Value::from("2023-11-14T23:13:20.5+01:00")).unwrap(), 1_700_000_000_500);
        for bad in [Value::from("soon"), Value::from(true), Value::from(1.5)] {
            assert!(parse(bad.clone()).unwrap_err().to_string().contains(COMPLETE_UNTIL), "{bad}");
        }
    }
}
