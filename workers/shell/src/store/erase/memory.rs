//! [`Eraser`] in memory, which does what the script does.

use engine::erase::Covers;
use engine::row::{Marker, erased_key, erased_version_key, erasing_key, marker_key, parse_row_key, row_key};

use super::super::memory::Hash;
use super::super::{MemoryStore, StoreError, value_error};
use super::{COVERS, Eraser, Incarnation, Removal, RowErasure, merged, name};

/// The covers in a field, if it has any.
fn covers(key: &str, hash: Option<&Hash>, field: &str) -> Result<Option<Covers>, StoreError> {
    let text = hash.and_then(|hash| hash.get(field)).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    text.map(|text| Covers::decode(&text)).transpose().map_err(|error| value_error(key, &error))
}

impl Eraser for MemoryStore {
    async fn begin_erasure(&self, uid: &str, entity: &str, given: &Covers) -> Result<Covers, StoreError> {
        let mut state = self.open("noting an erasure")?;
        let key = erasing_key(uid, entity);
        let hash = state.hashes.entry(key.clone()).or_default();
        hash.entry(COVERS.to_owned()).or_insert_with(|| given.encode().into_bytes());
        Ok(covers(&key, Some(hash), COVERS)?.unwrap_or_default())
    }

    async fn tombstone(&self, uid: &str, entity: &str) -> Result<Option<Covers>, StoreError> {
        let key = erased_key(uid);
        covers(&key, self.open("reading a tombstone")?.hashes.get(&key), entity)
    }

    async fn incarnations_of(&self, uid: &str, entity: &str) -> Result<Vec<Incarnation>, StoreError> {
        let state = self.open("looking for an entity's rows")?;
        let rows = state.hashes.keys().filter_map(|key| parse_row_key(key, uid, entity));
        let mut found: Vec<_> = rows.map(|(revision, incarnation)| (revision.to_owned(), incarnation)).collect();
        found.sort_unstable();
        Ok(found)
    }

    async fn remove_rows(
        &self,
        erasure: &RowErasure,
        seen: Option<&Covers>,
        incarnations: &[Incarnation],
    ) -> Result<Removal, StoreError> {
        let RowErasure { uid, entity, covers: given, .. } = erasure;
        let mut state = self.open("removing an entity's rows")?;
        let (key, erasing) = (erased_key(uid), erasing_key(uid, entity));
        if covers(&key, state.hashes.get(&key), entity)?.as_ref() != seen {
            return Ok(Removal::Overtaken);
        }
        let text = given.encode().into_bytes();
        let is_new = |state: &super::super::memory::State, incarnation: &Incarnation| {
            state.hashes.get(&erasing).and_then(|hash| hash.get(&name(incarnation))) != Some(&text)
        };
        let tombstone = merged(seen, given);
        if seen == Some(&tombstone) && !incarnations.iter().any(|incarnation| is_new(&state, incarnation)) {
            return Ok(Removal::Done(0));
        }
        state.hashes.entry(key).or_default().insert(entity.clone(), tombstone.encode().into_bytes());
        let version = state.erased_version(uid) + 1;
        state.strings.insert(erased_version_key(uid), version.to_string());
        let mut removed = 0;
        for incarnation in incarnations {
            if !is_new(&state, incarnation) {
                continue;
            }
            let (revision, number) = incarnation;
            if state.hashes.remove(&row_key(uid, revision, *number, entity)).is_some() {
                removed += 1;
                let markers = state.hashes.entry(marker_key(uid, revision, *number, 0)).or_default();
                let floors = erasure.floors();
                for (field, bytes) in markers {
                    let Ok(partition) = field.parse::<i32>() else { continue };
                    let floor = floors.get(&partition).copied().unwrap_or(0);
                    let Ok(marker) = Marker::decode(&String::from_utf8_lossy(bytes)) else { continue };
                    let marker = Marker { offset: marker.offset.min(floor), ..marker };
                    *bytes = marker.encode().into_bytes();
                }
            }
            state.hashes.entry(erasing.clone()).or_default().insert(name(incarnation), text.clone());
        }
        Ok(Removal::Done(removed))
    }

    async fn end_erasure(&self, uid: &str, entity: &str) -> Result<(), StoreError> {
        self.open("ending an erasure")?.hashes.remove(&erasing_key(uid, entity));
        Ok(())
    }
}
