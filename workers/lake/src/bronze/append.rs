//! Appending to Bronze: the positions of a worker's partitions, and one commit for all that it holds.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use engine::plan::TimestampField;
use serde_json::{Map, Value};

use super::state::{Gap, Progress, STATE, State, state};
use super::{app_id, check_event_time, spec};
use crate::commit::{Info, Txn, commit, last_txn};
use crate::error::LakeError;
use crate::files::Writer;
use crate::storage::Storage;
use crate::table::{Identity, ensure};

/// What one commit brings: records, and how far they bring their partitions.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Records in [`super::schema`], each partition's in the order of its offsets.
    pub batches: Vec<RecordBatch>,
    /// By partition: where it stands in the table now (`None`: nowhere), and where it will stand.
    pub progress: BTreeMap<i32, (Option<i64>, Progress)>,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// What the topic had lost before it was read.
    pub gaps: Vec<Gap>,
}

/// A writer of one Bronze table.
#[derive(Debug)]
pub struct Bronze {
    uri: String,
    uid: String,
    table: DeltaTable,
    /// What the newest commit says, at [`Self::version`].
    state: State,
}

impl Bronze {
    /// Opens the table, and makes it if it is not there.
    ///
    /// # Errors
    /// As [`ensure`].
    pub async fn open(
        uri: &str,
        storage: &Storage,
        identity: Identity,
        field: Option<&TimestampField>,
    ) -> Result<Self, LakeError> {
        let uid = identity.uid.clone();
        let table = ensure(uri, storage, &spec(identity, field)).await?;
        check_event_time(&table, uri, field)?;
        let state = state(&table, uri).await?.unwrap_or_default();
        Ok(Self { uri: uri.to_owned(), uid, table, state })
    }

    /// The table's address.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The version that is known.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.table.version().unwrap_or_default()
    }

    /// What the table holds, at [`Self::version`].
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Looks for newer versions.
    ///
    /// # Errors
    /// What the store says.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.table.update_state().await.map_err(LakeError::delta(&self.uri, "looking for newer versions"))?;
        self.state = state(&self.table, &self.uri).await?.unwrap_or_default();
        Ok(())
    }

    /// The next offset of each of these partitions, from the table's transactions; `None` where nothing was read yet.
    ///
    /// # Errors
    /// What the store says.
    pub async fn positions(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Option<i64>>, LakeError> {
        let mut positions = BTreeMap::new();
        for partition in partitions {
            let last = last_txn(&self.table, &self.uri, &app_id(&self.uid, *partition)).await?;
            positions.insert(*partition, last);
        }
        Ok(positions)
    }

    /// Appends a chunk in one commit; the new version. The partitions' positions must be those of [`Self::version`], or of
    /// a version after which nobody else wrote to these partitions.
    ///
    /// # Errors
    /// [`LakeError::Superseded`] if another worker has read one of the partitions: nothing was written, and the caller goes
    /// back to [`Self::positions`]. After any other error it does so too, because the commit may have been made.
    pub async fn append(&mut self, chunk: &Chunk) -> Result<u64, LakeError> {
        let mut writer = Writer::new(&self.table, &self.uri)?;
        for batch in &chunk.batches {
            if let Err(error) = writer.write(batch).await {
                writer.abort().await;
                return Err(error);
            }
        }
        let adds = writer.finish().await?;
        // A partition that did not move has its transaction too: what is said of it must not survive a restoration, or
        // another worker, that moved it meanwhile.
        let txns: Vec<Txn> = (chunk.progress.iter())
            .map(|(partition, (after, progress))| Txn {
                app_id: app_id(&self.uid, *partition),
                after: *after,
                version: progress.offset,
            })
            .collect();
        let carried = Carried { uri: &self.uri, version: self.version(), state: self.state.clone(), chunk };
        let version = commit(&mut self.table, &self.uri, adds, &txns, &carried).await?;
        self.state = state(&self.table, &self.uri).await?.unwrap_or_default();
        Ok(version)
    }
}

/// What a chunk's commit says of the topic: what the commit before it said, and the chunk's progress.
struct Carried<'a> {
    uri: &'a str,
    /// The version whose state is known.
    version: u64,
    state: State,
    chunk: &'a Chunk,
}

impl Info for Carried<'_> {
    async fn info(&self, table: &DeltaTable) -> Result<Map<String, Value>, LakeError> {
        // Behind another worker's commit, what that one said of its partitions is carried on.
        let mut state = match table.version() {
            Some(version) if version == self.version => self.state.clone(),
            _ => state(table, self.uri).await?.unwrap_or_default(),
        };
        let progress = self.chunk.progress.iter().map(|(partition, (_, progress))| (*partition, *progress));
        state.advance(self.chunk.partitions, progress);
        state.gaps.extend(&self.chunk.gaps);
        let state = serde_json::to_value(&state).unwrap_or(Value::Null);
        Ok(Map::from_iter([(STATE.to_owned(), state)]))
    }
}
