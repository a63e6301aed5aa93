//! Publication: a generation's lanes into their slots, the slots of vanished entities emptied, the head flipped.
//!
//! Every step is a script that first checks the run's lease, the head it set out from and who it knew to be erased, so that
//! a run which lost the first, or under which another was changed, changes nothing; all of them may be done again. Rows are written in bulk over several connections, many rows a call and many calls a round trip.

mod scripts;

use std::io;
use std::sync::Arc;

use engine::row::{self, Head};
use redis::{Cmd, Pipeline, cmd};
use serde::{Deserialize, Serialize};
use shell::redis::{Connection, Connector, RedisError, is_no_script};
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::fold::{Truncated, unpack};
use crate::history::History;
use crate::lease::Lease;
use crate::spool::{Spool, Spooled};
use scripts::{BEGIN, FLIP, REMOVE, WRITE};

/// Rows a script call: more would hold the server's one thread for longer than readers should wait.
const ROWS_PER_CALL: usize = 32;
/// Rows a round trip.
const ROWS_PER_TRIP: usize = 1_024;
/// The most generations can count to, as Lua holds numbers.
const LAST: u64 = 1 << 53;

/// Why a publication stopped. The head is as it was, unless the flip's answer was lost.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store is away or refuses.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The run's lease passed to another.
    #[error(
        "the lease {key} was lost while {doing}: another run publishes this revision, or this one stood still for too long"
    )]
    LeaseLost {
        /// Its key.
        key: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The head was moved by somebody else.
    #[error("{key} was moved while the generation was made; the next try starts from where it stands now")]
    HeadMoved {
        /// Its key.
        key: String,
    },
    /// Somebody was erased since the run set out.
    #[error("an entity was erased from the view while the generation was made; the next try leaves it out")]
    Erased,
    /// The store was replaced while rows were written to it.
    #[error("redis was restarted or failed over while rows were written; they are written again by the next try")]
    StoreReplaced,
    /// Lanes cannot be read back from disk.
    #[error("reading lanes back: {0}")]
    Spool(#[from] io::Error),
    /// A lane does not unpack.
    #[error("reading lanes back: {0}")]
    Packed(#[from] Truncated),
    /// A task ended without an answer.
    #[error("writing rows: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What stands beside the head: which source the generation was made of. Set in the same step as the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The generation.
    pub generation: u64,
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// Where the source is.
    pub uri: String,
    /// What tells the table that is there from another in the same place; none of a folder of Parquet files.
    #[serde(default)]
    pub table: Option<String>,
    /// Its version.
    pub source: String,
    /// The version of the erasures that it leaves out.
    #[serde(default)]
    pub erased: u64,
    /// How many entities it holds, if it was told.
    #[serde(default)]
    pub rows: Option<u64>,
    /// When, by the run's clock, in milliseconds.
    pub at_ms: i64,
}

impl Published {
    /// Whether it was made of some version of this source.
    #[must_use]
    pub fn is_of(&self, history: &History) -> bool {
        self.uri == history.uri && self.table == history.table_id()
    }
}

/// The key of a [`Published`].
#[must_use]
pub fn published_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/published")
}

/// Publishes one generation of one incarnation.
#[derive(Debug)]
pub struct Publisher {
    connections: Vec<Connection>,
    scripts: [String; 4],
    lease_key: String,
    token: String,
    head_key: String,
    /// The fence of the head that the run saw; empty if there was none.
    seen: String,
    erased_key: String,
    /// The version of the erasures that the run knows.
    erased: u64,
    row_prefix: String,
    slot: String,
    writing_key: String,
    generation: u64,
    ttl_ms: i64,
}

/// What is published, and over which head.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The view's UID.
    pub uid: &'a str,
    /// The revision.
    pub revision: &'a str,
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// The generation.
    pub generation: u64,
    /// The fence of the head that it is to take the place of; `None`: there is none.
    pub seen: Option<u64>,
    /// The version of the erasures that the run knows.
    pub erased: u64,
}

impl Publisher {
    /// For the rows of `target`. A row that has nothing but stream lanes left lives on for `ttl_ms`.
    ///
    /// # Errors
    /// [`PublishError::Redis`].
    pub async fn connect(
        connector: &Connector,
        connections: u16,
        lease: &Lease,
        target: Target<'_>,
        ttl_ms: Option<i64>,
    ) -> Result<Self, PublishError> {
        let Target { uid, revision, incarnation, generation, seen, erased } = target;
        let mut open = Vec::new();
        for _ in 0..connections.max(1) {
            open.push(connector.connect().await?);
        }
        let scripts = open[0].load_scripts([WRITE, REMOVE, FLIP, BEGIN]).await?;
        Ok(Self {
            connections: open,
            scripts,
            lease_key: lease.key().to_owned(),
            token: lease.token().to_owned(),
            head_key: row::head_key(uid, revision),
            seen: seen.map(|fence| fence.to_string()).unwrap_or_default(),
            erased_key: row::erased_version_key(uid),
            erased,
            row_prefix: row::row_prefix(uid, revision, incarnation),
            slot: row::batch_field(generation, 0),
            writing_key: row::writing_key(uid, revision),
            generation,
            ttl_ms: ttl_ms.unwrap_or(0),
        })
    }

    /// Says that the generation's slot is about to be written, before any row is. It is remembered whatever becomes of the run:
    /// what the slot held cannot be gone back to.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn begin(&self) -> Result<(), PublishError> {
        let mut call = cmd("EVALSHA");
        call.arg(&self.scripts[3]).arg(4).arg(&self.lease_key).arg(&self.head_key).arg(&self.erased_key);
        call.arg(&self.writing_key).arg(&self.token).arg(&self.seen).arg(self.erased).arg(self.generation);
        let mut pipeline = Pipeline::new();
        pipeline.add_command(call);
        self.calls().run(&self.connections[0], "beginning to write rows", &pipeline).await.map(drop)
    }

    /// Writes the lanes of all spools; how many there were. [`Self::begin`] comes before.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn write(&self, spools: Vec<Spool>) -> Result<u64, PublishError> {
        let (send, receive) = mpsc::channel::<Result<Vec<Spooled>, io::Error>>(self.connections.len() * 2);
        for mut spool in spools {
            let send = send.clone();
            tokio::task::spawn_blocking(move || {
                loop {
                    let rows = spool.take(ROWS_PER_TRIP);
                    let last = !rows.as_ref().is_ok_and(|rows| !rows.is_empty());
                    if rows.as_ref().is_ok_and(Vec::is_empty) || send.blocking_send(rows).is_err() || last {
                        return;
                    }
                }
            });
        }
        drop(send);
        let receive = Arc::new(Mutex::new(receive));
        let mut writers = JoinSet::new();
        for connection in &self.connections {
            let (connection, receive) = (connection.clone(), receive.clone());
            let call = self.calls();
            writers.spawn(async move {
                let mut written = 0;
                loop {
                    let next = receive.lock().await.recv().await;
                    let Some(rows) = next else { return Ok::<u64, PublishError>(written) };
                    let rows = rows?;
                    call.write(&connection, &rows).await?;
                    written += rows.len() as u64;
                }
            });
        }
        let mut written = 0;
        while let Some(writer) = writers.join_next().await {
            written += writer??;
        }
        Ok(written)
    }

    /// Empties the slot of these entities where it holds a generation in `[first, last]`; how many it was emptied of.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn remove(&self, slot: &str, entities: &[String], first: u64, last: u64) -> Result<u64, PublishError> {
        let doing = "removing rows";
        let mut removed = 0;
        for entities in entities.chunks(ROWS_PER_TRIP) {
            let mut pipeline = Pipeline::new();
            for entities in entities.chunks(ROWS_PER_CALL) {
                let mut call = self.calls().call(1, entities.iter().map(String::as_str));
                call.arg(slot).arg(first).arg(last.min(LAST)).arg(self.ttl_ms);
                pipeline.add_command(call);
            }
            for answer in self.calls().run(&self.connections[0], doing, &pipeline).await? {
                removed += answer;
            }
        }
        Ok(removed)
    }

    /// Points the head at the new generation, iff it still has the fence that was seen. `published` stands at `beside`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn flip(&self, head: &Head, beside: &str, published: &Published) -> Result<(), PublishError> {
        let doing = "flipping the head";
        for connection in &self.connections {
            // A store that was replaced behind a proxy may lack rows that its predecessor acknowledged.
            if connection.observe_identity().await? != *connection.identity() {
                return Err(PublishError::StoreReplaced);
            }
        }
        let text = |value: serde_json::Result<String>| {
            value.map_err(|error| self.connections[0].unexpected(doing, error.to_string()))
        };
        let mut call = cmd("EVALSHA");
        call.arg(&self.scripts[2]).arg(4).arg(&self.lease_key).arg(&self.head_key).arg(&self.erased_key).arg(beside);
        call.arg(&self.token).arg(&self.seen).arg(self.erased);
        call.arg(text(serde_json::to_string(head))?).arg(text(serde_json::to_string(published))?);
        let mut pipeline = Pipeline::new();
        pipeline.add_command(call);
        self.calls().run(&self.connections[0], doing, &pipeline).await.map(drop)
    }

    /// The slot that this generation is written to.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.slot
    }

    fn calls(&self) -> Calls {
        Calls {
            scripts: self.scripts.clone(),
            lease_key: self.lease_key.clone(),
            token: self.token.clone(),
            head_key: self.head_key.clone(),
            seen: self.seen.clone(),
            erased_key: self.erased_key.clone(),
            erased: self.erased,
            row_prefix: self.row_prefix.clone(),
            slot: self.slot.clone(),
        }
    }
}

/// Makes calls of the scripts.
#[derive(Clone, Debug)]
struct Calls {
    scripts: [String; 4],
    lease_key: String,
    token: String,
    head_key: String,
    seen: String,
    erased_key: String,
    erased: u64,
    row_prefix: String,
    slot: String,
}

impl Calls {
    /// A call of a script over the rows of some entities, up to and with the fence.
    fn call<'a>(&self, script: usize, entities: impl ExactSizeIterator<Item = &'a str>) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.scripts[script]).arg(entities.len() + 3);
        call.arg(&self.lease_key).arg(&self.head_key).arg(&self.erased_key);
        for entity in entities {
            call.arg([self.row_prefix.as_str(), entity].concat());
        }
        call.arg(&self.token).arg(&self.seen).arg(self.erased);
        call
    }

    async fn write(&self, connection: &Connection, rows: &[Spooled]) -> Result<(), PublishError> {
        let mut pipeline = Pipeline::new();
        for rows in rows.chunks(ROWS_PER_CALL) {
            let mut call = self.call(0, rows.iter().map(|(entity, _)| entity.as_str()));
            call.arg(&self.slot);
            for (_, lane) in rows {
                let segments = unpack(lane)?;
                call.arg(segments.len());
                for (number, bytes) in segments {
                    match number {
                        0 => call.arg(&self.slot),
                        number => call.arg(format!("{}.{number}", self.slot)),
                    };
                    call.arg(bytes);
                }
            }
            pipeline.add_command(call);
        }
        self.run(connection, "writing rows", &pipeline).await.map(drop)
    }

    /// Runs calls in one round trip; their answers, none of which says that the guard refused them.
    async fn run(
        &self,
        connection: &Connection,
        doing: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<u64>, PublishError> {
        let answers: Vec<i64> = match connection.pipeline(doing, pipeline).await {
            Err(error) if is_no_script(&error) => {
                connection.load_scripts([WRITE, REMOVE, FLIP, BEGIN]).await?;
                connection.pipeline(doing, pipeline).await?
            }
            answers => answers?,
        };
        let refused = |answer| match answer {
            -3 => PublishError::Erased,
            -2 => PublishError::HeadMoved { key: self.head_key.clone() },
            _ => PublishError::LeaseLost { key: self.lease_key.clone(), doing },
        };
        answers.into_iter().map(|answer| u64::try_from(answer).map_err(|_| refused(answer))).collect()
    }
}
