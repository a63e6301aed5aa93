//! How complete an answer is: the event time up to which every partition of the topic stands in the rows.
//!
//! Invariant: the markers are read before the rows, and written after them, so the rows hold at least what is said here.

use engine::row::{Marker, PARTITIONS_FIELD, RowError, is_complete_from};
use thiserror::Error;

/// Why a view's markers could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MarkerError {
    /// One partition's marker.
    #[error("partition {partition}: {source}")]
    Marker {
        /// The field.
        partition: String,
        /// What is wrong.
        source: RowError,
    },
    /// The number of partitions.
    #[error(
        "the field `{PARTITIONS_FIELD}` holds {text:?}, which is not a number; delete the revision's rows to replay them"
    )]
    Partitions {
        /// What was found.
        text: String,
    },
    /// The time from which on the rows hold every event.
    #[error(
        "the field `{field}` holds {text:?}, which is not a time in milliseconds; delete the revision's rows to replay them"
    )]
    CompleteFrom {
        /// The field.
        field: String,
        /// What was found.
        text: String,
    },
}

/// The event time in milliseconds from which on the rows hold every event; the beginning of time unless a replay left out
/// what is older, or a topic had lost it.
///
/// # Errors
/// [`MarkerError::CompleteFrom`] if a field is not what a worker writes.
pub fn complete_from(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<i64, MarkerError> {
    let mut latest = i64::MIN;
    for (field, value) in fields {
        let (field, text) = (String::from_utf8_lossy(field), String::from_utf8_lossy(value));
        if is_complete_from(&field) {
            let time = text
                .parse()
                .map_err(|_| MarkerError::CompleteFrom { field: field.to_string(), text: text.to_string() })?;
            latest = latest.max(time);
        }
    }
    Ok(latest)
}

/// The event time in milliseconds up to which every partition has been read; `None` if it is not known, because a
/// partition has no marker yet or has shown no event and no end.
///
/// A partition that was at its end when its marker was written is complete up to that moment, however old its last
/// event is. One that was behind is complete up to its newest event, or up to the moment it was last at its end.
///
/// # Errors
/// [`MarkerError`] if a field of the hash is not what the worker writes.
pub fn complete_to(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<i64>, MarkerError> {
    let (mut partitions, mut seen, mut least) = (None, 0_usize, i64::MAX);
    let mut unknown = false;
    for (field, value) in fields {
        let (field, text) = (String::from_utf8_lossy(field), String::from_utf8_lossy(value));
        if field == PARTITIONS_FIELD {
            let number: usize = text.parse().map_err(|_| MarkerError::Partitions { text: text.to_string() })?;
            partitions = Some(number);
            continue;
        }
        if is_complete_from(&field) {
            continue;
        }
        let marker =
            Marker::decode(&text).map_err(|source| MarkerError::Marker { partition: field.to_string(), source })?;
        seen += 1;
        match partition_complete_to(&marker) {
            Some(time) => least = least.min(time),
            None => unknown = true,
        }
    }
    let all = partitions.is_some_and(|n| n > 0 && seen >= n);
    Ok((all && !unknown).then_some(least))
}

fn partition_complete_to(marker: &Marker) -> Option<i64> {
    let read_to_end = (marker.read_to_end_at > 0).then_some(marker.read_to_end_at);
    if marker.offset >= marker.end_offset && read_to_end.is_some() {
        return read_to_end;
    }
    let event_time = (marker.event_time > i64::MIN).then_some(marker.event_time);
    event_time.max(read_to_end)
}

/// Whether an answer is older than it may be.
///
/// A read of now is degraded if it is further behind than the freshness target; a read of an earlier time if what it
/// stands on is not complete up to that time. Unknown completeness is degraded.
#[must_use]
pub fn degraded(complete_to: Option<i64>, t: i64, as_of: bool, freshness_target_ms: i64) -> bool {
    match complete_to {
        None => true,
        Some(complete_to) if as_of => complete_to < t,
        Some(complete_to) => t.saturating_sub(complete_to) > freshness_target_ms,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields(partitions: &str, markers: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut fields = vec![(PARTITIONS_FIELD.as_bytes().to_vec(), partitions.as_bytes().to_vec())];
        fields.extend(markers.iter().enumerate().map(|(i, m)| (i.to_string().into_bytes(), m.as_bytes().to_vec())));
        fields
    }

    #[test]
    fn the_least_complete_partition_decides() {
        // At its end: complete up to the moment it was there, though its last event is old.
        assert_eq!(complete_to(&fields("1", &["10:500:10:9000"])), Ok(Some(9000)));
        // Behind: up to its newest event, or to when it was last at its end.
        assert_eq!(complete_to(&fields("1", &["10:500:20:0"])), Ok(Some(500)));
        assert_eq!(complete_to(&fields("1", &["10:500:20:800"])), Ok(Some(800)));
        assert_eq!(complete_to(&fields("2", &["10:500:10:9000", "3:7000:4:0"])), Ok(Some(7000)));
    }

    #[test]
    fn a_partition_of_which_nothing_is_known_leaves_all_unknown() {
        assert_eq!(complete_to(&[]), Ok(None));
        assert_eq!(complete_to(&fields("2", &["10:500:10:9000"])), Ok(None));
        assert_eq!(complete_to(&fields("0", &[])), Ok(None));
        assert_eq!(complete_to(&fields("1", &[&format!("0:{}:5:0", i64::MIN)])), Ok(None));
        // Empty and known to be so.
        assert_eq!(complete_to(&fields("1", &[&format!("0:{}:0:77", i64::MIN)])), Ok(Some(77)));
    }

    #[test]
    fn what_is_left_out_is_no_partition_and_the_latest_of_it_counts() {
        let of = |all: &[(&str, &str)]| {
            let mut fields = fields("1", &["10:500:10:9000"]);
            fields.extend(all.iter().map(|(field, text)| (field.as_bytes().to_vec(), text.as_bytes().to_vec())));
            (complete_to(&fields), complete_from(&fields))
        };
        assert_eq!(of(&[("completeFrom", "-70")]), (Ok(Some(9000)), Ok(-70)));
        assert_eq!(of(&[("completeFrom/3", "60"), ("completeFrom", "-70"), ("completeFrom/0", "8")]).1, Ok(60));
        let broken = of(&[("completeFrom/3", "long ago")]).1.unwrap_err().to_string();
        assert!(broken.contains("completeFrom/3") && broken.contains("long ago"), "{broken}");
        assert_eq!(complete_from(&fields("1", &["10:500:10:9000"])), Ok(i64::MIN));
    }

    #[test]
    fn what_no_worker_writes_is_refused_by_name() {
        assert!(complete_to(&fields("many", &[])).unwrap_err().to_string().contains("many"));
        assert!(complete_to(&fields("1", &["1:2"])).unwrap_err().to_string().contains("partition 0"));
    }

    #[test]
    fn degraded_is_older_than_the_target_or_short_of_as_of() {
        assert!(degraded(None, 0, false, i64::MAX));
        assert!(!degraded(Some(940), 1000, false, 60));
        assert!(degraded(Some(939), 1000, false, 60));
        assert!(!degraded(Some(1000), 1000, true, 60));
        assert!(degraded(Some(999), 1000, true, 60));
    }
}
