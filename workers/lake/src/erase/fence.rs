//! Who must not write any more what it read before an erasure: Silver runs and batch runs under way.
//!
//! Such a run set out from the tombstones as they were, and commits hours later. Its commit carries transactions of its own,
//! and is not made behind another commit that carries one of them. So an erasure, once its tombstone stands, commits those
//! transactions as they are: who set out before fails and starts anew, who sets out afterwards finds the tombstone. Only then
//! are rows deleted.

use std::collections::BTreeSet;

use deltalake::DeltaTable;
use serde_json::{Map, Value};

use super::Erasure;
use crate::commit::{Txn, commit, last_txn};
use crate::error::LakeError;
use crate::storage::Storage;
use crate::{bronze, gold, table};

/// The key of the commit's info, for people.
const ERASURE: &str = "featuremill.erasure";

/// Fences the runs that make Gold.
pub(super) async fn gold(erasure: &Erasure, uri: &str, storage: &Storage) -> Result<(), LakeError> {
    let (uid, revision) = (&erasure.plan.view.uid, &erasure.plan.revision);
    let of = |table: &DeltaTable| {
        let state = table.snapshot().map_err(LakeError::delta(uri, "listing its revisions"))?;
        let mut app_ids = BTreeSet::from([gold::app_id(uid, revision)]);
        for file in state.log_data().iter() {
            let found = file.partition_values_map().get(gold::REVISION).cloned().flatten();
            app_ids.extend(found.map(|revision| gold::app_id(uid, &revision)));
        }
        Ok(app_ids)
    };
    // The numbers are those of leases; no run asks which.
    commit_as_they_stand(uri, storage, 0, of).await
}

/// Fences the runs that make Silver, or its quarantine.
pub(super) async fn silver(erasure: &Erasure, uri: &str, storage: &Storage) -> Result<(), LakeError> {
    let uid = &erasure.plan.view.uid;
    let ids = || erasure.covers.offsets.keys().map(|partition| bronze::app_id(uid, *partition)).collect();
    // A negative number is none.
    commit_as_they_stand(uri, storage, -1, |_| Ok(ids())).await
}

async fn commit_as_they_stand(
    uri: &str,
    storage: &Storage,
    none: i64,
    app_ids: impl Fn(&DeltaTable) -> Result<BTreeSet<String>, LakeError>,
) -> Result<(), LakeError> {
    let info = Map::from_iter([(ERASURE.to_owned(), Value::Bool(true))]);
    let mut last = LakeError::Contended { uri: uri.to_owned(), attempts: super::ATTEMPTS };
    for _ in 0..super::ATTEMPTS {
        let mut table = match table::open(uri, storage, None).await {
            Ok(table) => table,
            Err(LakeError::Missing { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut txns = Vec::new();
        for app_id in app_ids(&table)? {
            let after = last_txn(&table, uri, &app_id).await?;
            txns.push(Txn { app_id, after, version: after.unwrap_or(none) });
        }
        match commit(&mut table, uri, Vec::new(), &txns, &info).await {
            Ok(_) => return Ok(()),
            // A run ended meanwhile; what it brought is deleted, and the next one is to be fenced.
            Err(error @ LakeError::Superseded { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
