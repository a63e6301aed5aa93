//! The batch lanes of a row: which slot is read, and whether what stands there is of the generation asked for.
//!
//! Invariant: only lanes of the generation that the head names are decoded. An older number is an entity that the
//! generation does not hold; a newer one means that the head was read before a flip, so that the reply counts for nothing.

use engine::lane::Lane;
use engine::row::{batch_field, batch_slot, generation_offset, parse_batch_field};

use crate::store::Fields;

/// The segments of the generation's lane, by number; none if the row has no lane of it.
pub(crate) fn segments(row: &Fields, generation: u64) -> Vec<(u8, &[u8])> {
    if stored(row, generation) != Some(generation_offset(generation)) {
        return Vec::new();
    }
    let slot = batch_slot(generation);
    (row.iter())
        .filter_map(|(field, bytes)| match parse_batch_field(std::str::from_utf8(field).ok()?)? {
            (found, segment) if found == slot => Some((segment, bytes.as_slice())),
            _ => None,
        })
        .collect()
}

/// Whether any row's slot was taken by a generation after this one, which the head then names or will name.
pub(crate) fn overtaken(rows: &[Fields], generation: u64) -> bool {
    rows.iter().any(|row| stored(row, generation) > Some(generation_offset(generation)))
}

/// The number of the lane in the generation's slot.
fn stored(row: &Fields, generation: u64) -> Option<i64> {
    let head = batch_field(generation, 0);
    let (_, bytes) = row.iter().find(|(field, _)| field == head.as_bytes())?;
    Lane::peek_offset(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(generation: i64) -> Vec<u8> {
        let mut bytes = vec![0; 9];
        bytes.extend(generation.to_be_bytes());
        bytes
    }

    fn row(fields: &[(&str, Vec<u8>)]) -> Fields {
        fields.iter().map(|(field, bytes)| (field.as_bytes().to_vec(), bytes.clone())).collect()
    }

    #[test]
    fn only_the_slot_of_the_generation_asked_for_is_read() {
        let row = row(&[("b0", head(6)), ("b0.2", vec![1]), ("b1", head(5)), ("b1.1", vec![2]), ("s0", head(6))]);
        let numbers = |generation| segments(&row, generation).iter().map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(numbers(6), [0, 2]);
        assert_eq!(numbers(5), [0, 1]);
        // A slot of another generation holds nothing of this one.
        assert!(numbers(4).is_empty() && numbers(7).is_empty());
    }

    #[test]
    fn a_newer_generation_in_the_slot_is_noticed_and_an_older_one_is_not() {
        let rows = [Fields::new(), row(&[("b0", head(6))])];
        assert!(overtaken(&rows, 4));
        assert!(!overtaken(&rows, 6) && !overtaken(&rows, 8) && !overtaken(&rows, 5));
    }
}
