//! Who must not write any more what it read before an erasure: Silver runs and batch runs under way.
//!
//! Such a run set out from the tombstones as they were, and commits hours later. So an erasure, once its tombstone stands,
//! makes a commit behind which theirs are not made: who set out before fails and starts anew, who sets out afterwards finds
//! the tombstone. Only then are rows deleted.

use std::collections::HashMap;
use std::future::IntoFuture as _;

use deltalake::DeltaTable;
use serde_json::{Map, Value};

use super::Erasure;
use crate::commit::{Txn, commit, last_txn};
use crate::error::LakeError;
use crate::storage::Storage;
use crate::{bronze, table};

/// The key of the commit's info, for people.
const ERASURE: &str = "featuremill.erasure";
/// Gold's property that says up to when somebody was erased.
const ERASED_UNTIL: &str = "featuremill.erasedUntil";

/// Fences the runs that make Gold, of whatever revision: also of one whose first run is under way, of which the table knows
/// nothing yet. No commit is made behind a change of the table's properties that it has not seen.
pub(super) async fn gold(erasure: &Erasure, uri: &str, storage: &Storage) -> Result<(), LakeError> {
    let fence = |table: DeltaTable| {
        let property = (ERASED_UNTIL.to_owned(), erasure.covers.before_ms.to_string());
        let fenced = table.set_tbl_properties().with_properties(HashMap::from([property]));
        fenced.with_raise_if_not_exists(false).into_future()
    };
    // Again if another changed the table's columns or properties at the same moment.
    super::on_newest(uri, storage, "fencing batch runs", fence).await.map(drop)
}

/// Fences the runs that make Silver, or its quarantine, by a commit that carries their transactions as they stand: theirs
/// are not made behind one that carries any of them.
pub(super) async fn silver(erasure: &Erasure, uri: &str, storage: &Storage) -> Result<(), LakeError> {
    let uid = &erasure.plan.view.uid;
    let info = Map::from_iter([(ERASURE.to_owned(), Value::Bool(true))]);
    let mut last = LakeError::Contended { uri: uri.to_owned(), attempts: super::ATTEMPTS };
    for _ in 0..super::ATTEMPTS {
        let mut table = match table::open(uri, storage, None).await {
            Ok(table) => table,
            Err(LakeError::Missing { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut txns = Vec::new();
        for partition in erasure.covers.offsets.keys() {
            let app_id = bronze::app_id(uid, *partition);
            let after = last_txn(&table, uri, &app_id).await?;
            // A negative number is none.
            txns.push(Txn { app_id, after, version: after.unwrap_or(-1) });
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
