//! The store in memory: the twin that unit tests use, with the same guards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{
    CatalogEntry, PARTITIONS_FIELD, RunReport, Trouble, catalog_version_key, complete_from_field, erased_key,
    erased_version_key, lane_field,
};
use engine::shadow::Report as Shadows;

use super::guard::{decide, decide_marker, fenced};
use super::{
    Erased, Fence, Keys, LaneWrite, MarkerWrite, Markers, Outcome, Pointer, Purge, RowStore, Segments, StoreError,
    Swap, parse_comparison, parse_entry, parse_markers, parse_replays, parse_report, parse_shadows, parse_tombstones,
    parse_troubles, value_error,
};
use crate::redis::RedisError;

pub(super) type Hash = BTreeMap<String, Vec<u8>>;

/// Everything that a [`MemoryStore`] holds at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    hashes: BTreeMap<String, Hash>,
    strings: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) hashes: BTreeMap<String, Hash>,
    pub(super) strings: BTreeMap<String, String>,
    away: bool,
    /// How often a catalog was written, which is the version of the one written last.
    catalog_writes: u64,
    refusal: Option<String>,
}

impl State {
    pub(super) fn erased_version(&self, uid: &str) -> u64 {
        self.strings.get(&erased_version_key(uid)).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// The store in memory. Clones share it. Rows never expire in it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// From now on every call fails as if the server were away, or no longer does.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// What [`RowStore::refusal`] answers from now on; writes are taken all the same.
    pub fn set_refusal(&self, refusal: Option<&str>) {
        self.lock().refusal = refusal.map(str::to_owned);
    }

    /// Removes one key, as a server that lost writes would have.
    pub fn lose(&self, key: &str) {
        let mut state = self.lock();
        state.hashes.remove(key);
        state.strings.remove(key);
    }

    /// All it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot { hashes: state.hashes.clone(), strings: state.strings.clone() }
    }

    /// Holds again what it held then, as a server does that restarts without its last writes.
    pub fn restore(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        Snapshot { hashes: state.hashes, strings: state.strings } = snapshot;
    }

    /// All fields of one hash.
    #[must_use]
    pub fn hash(&self, key: &str) -> BTreeMap<String, Vec<u8>> {
        self.lock().hashes.get(key).cloned().unwrap_or_default()
    }

    /// Every key that holds anything, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let state = self.lock();
        let hashes = state.hashes.iter().filter(|(_, hash)| !hash.is_empty()).map(|(key, _)| key);
        let mut keys: Vec<String> = hashes.chain(state.strings.keys()).cloned().collect();
        keys.sort();
        keys
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, doing: &'static str) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.away {
            let (url, detail) = ("memory://".to_owned(), "made to be away".to_owned());
            return Err(RedisError::Away { url, doing, detail }.into());
        }
        Ok(state)
    }
}

impl MemoryStore {
    fn write_catalog(&self, key: &str, write: impl FnOnce(&mut Hash)) -> Result<(), StoreError> {
        let mut state = self.open("writing the catalog")?;
        let catalog = state.hashes.entry(key.to_owned()).or_default();
        write(catalog);
        if catalog.is_empty() {
            state.hashes.remove(key);
            state.strings.remove(&catalog_version_key(key));
        } else {
            state.catalog_writes += 1;
            let version = state.catalog_writes.to_string();
            state.strings.insert(catalog_version_key(key), version);
        }
        Ok(())
    }
}

fn text_fields(hash: Option<&Hash>) -> Vec<(String, String)> {
    hash.into_iter()
        .flatten()
        .map(|(field, bytes)| (field.clone(), String::from_utf8_lossy(bytes).into_owned()))
        .collect()
}

/// The offset in a lane's head: bytes 9 to 17, big-endian.
fn head_offset(head: &[u8]) -> Option<i64> {
    head.get(9..17)?.try_into().ok().map(i64::from_be_bytes)
}

impl RowStore for MemoryStore {
    async fn markers(&self, key: &str) -> Result<Markers, StoreError> {
        let fields = text_fields(self.open("reading markers")?.hashes.get(key));
        parse_markers(key, fields)
    }

    async fn load(&self, partition: i32, keys: &[String]) -> Result<Vec<Segments>, StoreError> {
        let state = self.open("loading rows")?;
        let segments = |key: &String| {
            let hash = state.hashes.get(key)?;
            let all = (0..=u8::MAX).filter_map(|n| Some((n, hash.get(&lane_field(partition, n))?.clone())));
            Some(all.collect())
        };
        Ok(keys.iter().map(|key| segments(key).unwrap_or_default()).collect())
    }

    async fn flush(
        &self,
        partition: i32,
        _ttl_ms: Option<i64>,
        fence: Fence<'_>,
        writes: &[LaneWrite],
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut state = self.open("writing rows")?;
        if let Some(outcome) = fenced(state.erased_version(fence.uid), fence.version) {
            return Ok(vec![outcome; writes.len()]);
        }
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let head = lane_field(partition, 0);
            let stored = state.hashes.get(&write.key).and_then(|hash| head_offset(hash.get(&head)?));
            let outcome = decide(stored, write.base, write.new, write.whole, write.may_have_expired);
            if outcome == Outcome::Written {
                let hash = state.hashes.entry(write.key.clone()).or_default();
                for (segment, bytes) in &write.segments {
                    hash.insert(lane_field(partition, *segment), bytes.clone());
                }
                for segment in &write.removed {
                    hash.remove(&lane_field(partition, *segment));
                }
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn write_marker(
        &self,
        key: &str,
        partitions: i32,
        fence: Fence<'_>,
        write: MarkerWrite,
    ) -> Result<Outcome, StoreError> {
        let mut state = self.open("writing a marker")?;
        if let Some(outcome) = fenced(state.erased_version(fence.uid), fence.version) {
            return Ok(outcome);
        }
        let field = write.partition.to_string();
        let stored = parse_markers(key, text_fields(state.hashes.get(key)))?
            .by_partition
            .get(&write.partition)
            .map(|marker| marker.offset);
        let outcome = decide_marker(stored, write.base, write.marker.offset);
        if outcome == Outcome::Written {
            let hash = state.hashes.entry(key.to_owned()).or_default();
            hash.insert(field, write.marker.encode().into_bytes());
            let known = hash.get(PARTITIONS_FIELD).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            hash.insert(PARTITIONS_FIELD.to_owned(), partitions.max(known.unwrap_or(0)).to_string().into_bytes());
        }
        Ok(outcome)
    }

    async fn put_complete_from(&self, key: &str, partition: Option<i32>, time_ms: i64) -> Result<(), StoreError> {
        let mut state = self.open("saying from when on rows are complete")?;
        let hash = state.hashes.entry(key.to_owned()).or_default();
        hash.insert(complete_from_field(partition), time_ms.to_string().into_bytes());
        Ok(())
    }

    async fn erased_version(&self, uid: &str) -> Result<u64, StoreError> {
        Ok(self.open("asking for erasures")?.erased_version(uid))
    }

    async fn erased(&self, uid: &str) -> Result<Erased, StoreError> {
        let state = self.open("reading who was erased")?;
        let key = erased_key(uid);
        let tombstones = parse_tombstones(&key, text_fields(state.hashes.get(&key)))?;
        Ok(Erased { version: state.erased_version(uid), tombstones })
    }

    async fn pointer<P: Pointer>(&self, key: &str) -> Result<Option<P>, StoreError> {
        let text = self.open("reading a pointer")?.strings.get(key).cloned();
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| value_error(key, &error))
    }

    async fn swap_pointer<P: Pointer>(
        &self,
        key: &str,
        expected: Option<u64>,
        pointer: &P,
    ) -> Result<Swap, StoreError> {
        let json = serde_json::to_string(pointer).map_err(|error| value_error(key, &error))?;
        let mut state = self.open("setting a pointer")?;
        let stored: Option<P> = state
            .strings
            .get(key)
            .map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|error| value_error(key, &error))?;
        if stored.map(|pointer| pointer.fence()) != expected {
            return Ok(Swap::Conflict);
        }
        state.strings.insert(key.to_owned(), json);
        Ok(Swap::Done)
    }

    async fn catalog(&self, key: &str) -> Result<BTreeMap<String, CatalogEntry>, StoreError> {
        let fields = text_fields(self.open("reading the catalog")?.hashes.get(key));
        fields.into_iter().map(|(view, text)| Ok((view, parse_entry(key, &text)?))).collect()
    }

    async fn put_catalog(&self, key: &str, view: &str, entry: &CatalogEntry) -> Result<(), StoreError> {
        let json = serde_json::to_vec(entry).map_err(|error| value_error(key, &error))?;
        self.write_catalog(key, |catalog| drop(catalog.insert(view.to_owned(), json)))
    }

    async fn remove_catalog(&self, key: &str, view: &str) -> Result<(), StoreError> {
        self.write_catalog(key, |catalog| drop(catalog.remove(view)))
    }

    async fn run_report(&self, key: &str) -> Result<Option<RunReport>, StoreError> {
        let text = self.open("reading a run's report")?.strings.get(key).cloned();
        text.map(|text| parse_report(key, &text)).transpose()
    }

    async fn put_run_report(&self, key: &str, report: &RunReport) -> Result<(), StoreError> {
        self.open("writing a run's report")?.strings.insert(key.to_owned(), report.encode());
        Ok(())
    }

    async fn troubles(&self, key: &str) -> Result<BTreeMap<String, Trouble>, StoreError> {
        let fields = text_fields(self.open("reading troubles")?.hashes.get(key));
        parse_troubles(key, fields)
    }

    async fn say_trouble(
        &self,
        key: &str,
        worker: &str,
        trouble: Option<&Trouble>,
        _ttl_ms: i64,
    ) -> Result<(), StoreError> {
        let mut state = self.open("telling a trouble")?;
        let Some(trouble) = trouble else {
            if let Some(hash) = state.hashes.get_mut(key) {
                hash.remove(worker);
            }
            return Ok(());
        };
        let json = serde_json::to_vec(trouble).map_err(|error| value_error(key, &error))?;
        state.hashes.entry(key.to_owned()).or_default().insert(worker.to_owned(), json);
        Ok(())
    }

    async fn replays(&self, key: &str) -> Result<BTreeMap<i32, Progress>, StoreError> {
        let fields = text_fields(self.open("reading a replay")?.hashes.get(key));
        parse_replays(key, fields)
    }

    async fn say_replay(&self, key: &str, partition: i32, progress: &Progress) -> Result<(), StoreError> {
        let json = serde_json::to_vec(progress).map_err(|error| value_error(key, &error))?;
        let mut state = self.open("telling a replay's progress")?;
        state.hashes.entry(key.to_owned()).or_default().insert(partition.to_string(), json);
        Ok(())
    }

    async fn shadows(&self, key: &str) -> Result<BTreeMap<String, Shadows>, StoreError> {
        let fields = text_fields(self.open("reading shadow reads")?.hashes.get(key));
        parse_shadows(key, fields)
    }

    async fn say_shadow(&self, key: &str, server: &str, report: &Shadows, _ttl_ms: i64) -> Result<(), StoreError> {
        let json = serde_json::to_vec(report).map_err(|error| value_error(key, &error))?;
        let mut state = self.open("telling of shadow reads")?;
        state.hashes.entry(key.to_owned()).or_default().insert(server.to_owned(), json);
        Ok(())
    }

    async fn comparison(&self, key: &str) -> Result<Option<Report>, StoreError> {
        let state = self.open("reading a comparison")?;
        state.strings.get(key).map(|text| parse_comparison(key, text)).transpose()
    }

    async fn text(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.open("reading a text")?.strings.get(key).cloned())
    }

    async fn put_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.open("writing a text")?.strings.insert(key.to_owned(), text.to_owned());
        Ok(())
    }

    async fn put_comparison(&self, key: &str, report: &Report) -> Result<(), StoreError> {
        self.open("writing a comparison")?.strings.insert(key.to_owned(), report.encode());
        Ok(())
    }

    async fn refusal(&self, _key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.open("a write")?.refusal.clone())
    }

    async fn scan(&self, prefix: &str, _cursor: u64) -> Result<Keys, StoreError> {
        let state = self.open("listing rows")?;
        let keys = state.hashes.keys().chain(state.strings.keys()).filter(|key| key.starts_with(prefix));
        Ok(Keys { next: None, keys: keys.cloned().collect() })
    }

    async fn purge(&self, prefix: &str, _cursor: u64) -> Result<Purge, StoreError> {
        let mut state = self.open("removing rows")?;
        let before = state.hashes.len() + state.strings.len();
        state.hashes.retain(|key, _| !key.starts_with(prefix));
        state.strings.retain(|key, _| !key.starts_with(prefix));
        let removed = before - state.hashes.len() - state.strings.len();
        Ok(Purge { next: None, removed: removed as u64 })
    }
}
