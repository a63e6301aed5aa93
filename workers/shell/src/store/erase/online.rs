//! [`Eraser`] in Redis.

use engine::erase::Covers;
use engine::row::{erased_key, erased_version_key, erasing_key, marker_key, parse_row_key, row_key};
use redis::cmd;

use super::super::online::{SCAN_COUNT, glob};
use super::super::{RedisStore, StoreError, value_error};
use super::{COVERS, Eraser, Incarnation, Removal, RowErasure, merged, name};

impl Eraser for RedisStore {
    async fn begin_erasure(&self, uid: &str, entity: &str, covers: &Covers) -> Result<Covers, StoreError> {
        let key = erasing_key(uid, entity);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSETNX").arg(&key).arg(COVERS).arg(covers.encode());
        pipeline.cmd("HGET").arg(&key).arg(COVERS);
        let (_first, text): (i64, String) = self.connection().pipeline("noting an erasure", &pipeline).await?;
        Covers::decode(&text).map_err(|error| value_error(&key, &error))
    }

    async fn tombstone(&self, uid: &str, entity: &str) -> Result<Option<Covers>, StoreError> {
        let key = erased_key(uid);
        let text: Option<String> =
            self.connection().run("reading a tombstone", cmd("HGET").arg(&key).arg(entity)).await?;
        text.map(|text| Covers::decode(&text)).transpose().map_err(|error| value_error(&key, &error))
    }

    async fn incarnations_of(&self, uid: &str, entity: &str) -> Result<Vec<Incarnation>, StoreError> {
        let pattern = format!("{}/*/e/{}", glob(uid), glob(entity));
        let (mut cursor, mut found) = (0_u64, Vec::new());
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) =
                self.connection().run("looking for an entity's rows", &scan).await?;
            let texts = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
            let rows = texts.filter_map(|key| parse_row_key(key, uid, entity));
            found.extend(rows.map(|(revision, incarnation)| (revision.to_owned(), incarnation)));
            if next == 0 {
                // A scan may give a key twice.
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            cursor = next;
        }
    }

    async fn remove_rows(
        &self,
        erasure: &RowErasure,
        seen: Option<&Covers>,
        incarnations: &[Incarnation],
    ) -> Result<Removal, StoreError> {
        let RowErasure { uid, entity, covers, .. } = erasure;
        let doing = "removing an entity's rows";
        let mut call = self.script(4, 3 + 2 * incarnations.len());
        call.arg(erased_key(uid)).arg(erased_version_key(uid)).arg(erasing_key(uid, entity));
        for (revision, incarnation) in incarnations {
            call.arg(row_key(uid, revision, *incarnation, entity)).arg(marker_key(uid, revision, *incarnation, 0));
        }
        let floors = erasure.floors();
        call.arg(entity).arg(seen.map(Covers::encode).unwrap_or_default());
        call.arg(merged(seen, covers).encode()).arg(covers.encode()).arg(floors.len());
        for (partition, floor) in floors {
            call.arg(partition).arg(floor);
        }
        for incarnation in incarnations {
            call.arg(name(incarnation));
        }
        let mut pipeline = redis::pipe();
        pipeline.add_command(call);
        let (removed,): (i64,) = self.scripted(doing, &pipeline).await?;
        Ok(u64::try_from(removed).map_or(Removal::Overtaken, Removal::Done))
    }

    async fn end_erasure(&self, uid: &str, entity: &str) -> Result<(), StoreError> {
        Ok(self.connection().run("ending an erasure", cmd("DEL").arg(erasing_key(uid, entity))).await?)
    }
}
