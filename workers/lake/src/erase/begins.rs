//! Where the records of a partition begin in a Bronze of which an erasure removed the first. By its rows alone the archive would
//! seem to begin later, and whoever needs all of a history would be refused it.

use std::collections::{BTreeMap, HashMap};

use deltalake::{DeltaTable, DeltaTableError};

use crate::error::LakeError;
use crate::storage::Storage;
use crate::table::properties;

/// The property of Bronze under which that stands.
const BEGINS: &str = "featuremill.begins";

/// By partition, the offset of a record and its time in milliseconds.
pub type Firsts = BTreeMap<i32, (i64, i64)>;

/// The first records that there ever were, of partitions of which an erasure removed them.
///
/// # Errors
/// [`LakeError::Metadata`].
pub fn begins(table: &DeltaTable, uri: &str) -> Result<Firsts, LakeError> {
    let Some(found) = properties(table, uri)?.remove(BEGINS) else { return Ok(Firsts::new()) };
    serde_json::from_str(&found).map_err(|_| LakeError::Metadata {
        uri: uri.to_owned(),
        what: BEGINS,
        found,
        fix: "another version wrote it: upgrade the reader",
    })
}

/// Notes the first records of partitions, before they are deleted; one that is noted already is older, and stays.
pub(super) async fn note(uri: &str, storage: &Storage, firsts: &Firsts) -> Result<(), LakeError> {
    // Again from what stands by then, if another erasure noted something at the same moment.
    let set = |table: DeltaTable| async move {
        let known = begins(&table, uri).map_err(|error| DeltaTableError::Generic(error.to_string()))?;
        let mut all = firsts.clone();
        all.extend(&known);
        if all == known {
            return Ok(());
        }
        // Serialising numbers cannot fail.
        let property = HashMap::from([(BEGINS.to_owned(), serde_json::to_string(&all).unwrap_or_default())]);
        table.set_tbl_properties().with_properties(property).with_raise_if_not_exists(false).await.map(drop)
    };
    super::on_newest(uri, storage, "noting where its records begin", set).await.map(drop)
}
