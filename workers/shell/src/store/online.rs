//! The store in Redis or a Redis Cluster: everything pipelined, guarded writes by script, many rows a call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{
    CatalogEntry, RunReport, Trouble, catalog_version_key, complete_from_field, erased_key, erased_version_key,
    lane_field, parse_lane_field,
};
use engine::shadow::Report as Shadows;
use redis::{Cmd, Pipeline, cmd};

use super::scripts::{CATALOG, ERASE, FLUSH, MARKER, SWAP, header};
use super::{
    Erased, Fence, Keys, LaneWrite, MarkerWrite, Markers, Outcome, Pointer, Purge, RowStore, Segments, StoreError,
    Swap, parse_comparison, parse_entry, parse_markers, parse_replays, parse_report, parse_shadows, parse_tombstones,
    parse_troubles, value_error,
};
use crate::redis::{Connection, Connector, RedisError, info_field, is_no_script};

/// Rows a script call: measured best; more would hold the server's one thread for longer than readers should wait.
const ROWS_PER_CALL: usize = 32;
/// Commands a round trip, so that no pipeline grows without bound.
const CALLS_PER_PIPELINE: usize = 256;
/// Keys a `SCAN` step looks at.
pub(super) const SCAN_COUNT: usize = 2_000;

/// Every script; calls name them by position.
const SCRIPTS: [&str; 5] = [FLUSH, MARKER, SWAP, CATALOG, ERASE];

/// The store over one [`Connection`].
#[derive(Clone, Debug)]
pub struct RedisStore {
    connection: Connection,
    scripts: Arc<[String; SCRIPTS.len()]>,
}

impl RedisStore {
    /// Connects and loads the scripts.
    ///
    /// # Errors
    /// [`StoreError::Redis`].
    pub async fn connect(connector: &Connector) -> Result<Self, StoreError> {
        let connection = connector.connect().await?;
        let scripts = connection.load_scripts(SCRIPTS).await?;
        Ok(Self { connection, scripts: Arc::new(scripts) })
    }

    /// The connection, for what this trait does not cover.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the servers do when their memory is full, of several the first that may lose rows: `noeviction` is the one policy under which rows are not lost.
    /// `CONFIG` is often forbidden, so `INFO` is asked too; `None` if neither tells.
    ///
    /// # Errors
    /// [`StoreError::Redis`] if the server is away.
    pub async fn eviction_policy(&self) -> Result<Option<String>, StoreError> {
        let doing = "asking for maxmemory-policy";
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("maxmemory-policy");
        match self.connection.each::<HashMap<String, String>>(doing, &config).await {
            Ok(answers) => return Ok(worst(answers.into_iter().map(|mut of| of.remove("maxmemory-policy")))),
            Err(error) if error.is_away() => return Err(error.into()),
            Err(_) => {}
        }
        match self.connection.each::<String>(doing, cmd("INFO").arg("memory")).await {
            Ok(told) => Ok(worst(told.iter().map(|info| info_field(info, "maxmemory_policy").map(str::to_owned)))),
            Err(error) if error.is_away() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn script(&self, index: usize, keys: usize) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.scripts[index]).arg(keys);
        call
    }

    pub(super) async fn scripted<T: redis::FromRedisValue>(
        &self,
        doing: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, RedisError> {
        match self.connection.pipeline(doing, pipeline).await {
            Err(error) if is_no_script(&error) => {
                self.connection.load_scripts(SCRIPTS).await?;
                self.connection.pipeline(doing, pipeline).await
            }
            answer => answer,
        }
    }

    /// Sets an entry of a catalog, or removes it if `json` is empty, and raises the catalog's version with it.
    async fn write_catalog(&self, key: &str, view: &str, json: &str) -> Result<(), StoreError> {
        let mut call = self.script(3, 2);
        call.arg(key).arg(catalog_version_key(key)).arg(view).arg(json);
        let mut pipeline = redis::pipe();
        pipeline.add_command(call);
        let (_left,): (i64,) = self.scripted("writing the catalog", &pipeline).await?;
        Ok(())
    }

    fn outcome(&self, doing: &'static str, digit: i64) -> Result<Outcome, RedisError> {
        match digit {
            0 => Ok(Outcome::Written),
            1 => Ok(Outcome::Superseded),
            2 => Ok(Outcome::Lost),
            3 => Ok(Outcome::NeedsWhole),
            4 => Ok(Outcome::Fenced),
            other => Err(self.connection.unexpected(doing, format!("the script answered {other}"))),
        }
    }
}

/// Of what the servers of a cluster say the first that is not `noeviction`; nothing if one says nothing.
fn worst(policies: impl Iterator<Item = Option<String>>) -> Option<String> {
    let policies: Vec<String> = policies.collect::<Option<_>>()?;
    let safe = |policy: &&String| *policy == "noeviction";
    policies.iter().find(|policy| !safe(policy)).or(policies.first()).cloned()
}

/// The segments of one partition's lane among the fields of a row. A head names its further segments only once it is read,
/// and most rows have one lane, so the whole row is fetched at once.
fn lane_of(partition: i32, row: Vec<(String, Vec<u8>)>) -> Segments {
    let mut segments: Segments = (row.into_iter())
        .filter_map(|(field, bytes)| match parse_lane_field(&field) {
            Some((of, segment)) if of == partition => Some((segment, bytes)),
            _ => None,
        })
        .collect();
    segments.sort_unstable_by_key(|(segment, _)| *segment);
    segments
}

fn add_write(call: &mut Cmd, partition: i32, head: &str, write: &LaneWrite) {
    call.arg(header(write).as_slice());
    for (segment, bytes) in &write.segments {
        match segment {
            0 => call.arg(head),
            _ => call.arg(lane_field(partition, *segment)),
        };
        call.arg(bytes.as_slice());
    }
    for segment in &write.removed {
        call.arg(lane_field(partition, *segment));
    }
}

impl RowStore for RedisStore {
    async fn markers(&self, key: &str) -> Result<Markers, StoreError> {
        let fields: Vec<(String, String)> = self.connection.run("reading markers", cmd("HGETALL").arg(key)).await?;
        parse_markers(key, fields)
    }

    async fn load(&self, partition: i32, keys: &[String]) -> Result<Vec<Segments>, StoreError> {
        let mut lanes = Vec::with_capacity(keys.len());
        for keys in keys.chunks(CALLS_PER_PIPELINE * 4) {
            let mut pipeline = redis::Pipeline::with_capacity(keys.len());
            for key in keys {
                pipeline.cmd("HGETALL").arg(key);
            }
            let rows: Vec<Vec<(String, Vec<u8>)>> = self.connection.pipeline("loading rows", &pipeline).await?;
            lanes.extend(rows.into_iter().map(|row| lane_of(partition, row)));
        }
        Ok(lanes)
    }

    async fn flush(
        &self,
        partition: i32,
        ttl_ms: Option<i64>,
        fence: Fence<'_>,
        writes: &[LaneWrite],
    ) -> Result<Vec<Outcome>, StoreError> {
        let doing = "writing rows";
        let (head, version_key) = (lane_field(partition, 0), erased_version_key(fence.uid));
        let mut outcomes = Vec::with_capacity(writes.len());
        for writes in writes.chunks(ROWS_PER_CALL * CALLS_PER_PIPELINE) {
            let mut pipeline = redis::Pipeline::with_capacity(writes.len().div_ceil(ROWS_PER_CALL));
            for rows in writes.chunks(ROWS_PER_CALL) {
                let mut call = self.script(0, 1 + rows.len());
                call.arg(&version_key);
                for row in rows {
                    call.arg(&row.key);
                }
                call.arg(&head).arg(ttl_ms.unwrap_or(0)).arg(fence.version);
                for row in rows {
                    add_write(&mut call, partition, &head, row);
                }
                pipeline.add_command(call);
            }
            let digits: Vec<Vec<i64>> = self.scripted(doing, &pipeline).await?;
            for digit in digits.into_iter().flatten() {
                outcomes.push(self.outcome(doing, digit)?);
            }
        }
        if outcomes.len() != writes.len() {
            return Err(self.connection.unexpected(doing, "it answered for another number of rows").into());
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
        let doing = "writing a marker";
        let mut call = self.script(1, 2);
        call.arg(key)
            .arg(erased_version_key(fence.uid))
            .arg(write.partition)
            .arg(write.marker.encode())
            .arg(write.marker.offset);
        call.arg(write.base.unwrap_or(-1)).arg(partitions).arg(fence.version);
        let mut pipeline = redis::pipe();
        pipeline.add_command(call);
        let (digit,): (i64,) = self.scripted(doing, &pipeline).await?;
        Ok(self.outcome(doing, digit)?)
    }

    async fn put_complete_from(&self, key: &str, partition: Option<i32>, time_ms: i64) -> Result<(), StoreError> {
        let mut set = cmd("HSET");
        set.arg(key).arg(complete_from_field(partition)).arg(time_ms);
        Ok(self.connection.run("saying from when on rows are complete", &set).await?)
    }

    async fn erased_version(&self, uid: &str) -> Result<u64, StoreError> {
        let mut get = cmd("GET");
        let version: Option<u64> = self.connection.run("asking for erasures", get.arg(erased_version_key(uid))).await?;
        Ok(version.unwrap_or(0))
    }

    async fn erased(&self, uid: &str) -> Result<Erased, StoreError> {
        // The version first: who comes in between is known too early, which does no harm.
        let version = self.erased_version(uid).await?;
        let key = erased_key(uid);
        let fields: Vec<(String, String)> = match version {
            0 => Vec::new(),
            _ => self.connection.run("reading who was erased", cmd("HGETALL").arg(&key)).await?,
        };
        Ok(Erased { version, tombstones: parse_tombstones(&key, fields)? })
    }

    async fn pointer<P: Pointer>(&self, key: &str) -> Result<Option<P>, StoreError> {
        let text: Option<String> = self.connection.run("reading a pointer", cmd("GET").arg(key)).await?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| value_error(key, &error))
    }

    async fn swap_pointer<P: Pointer>(
        &self,
        key: &str,
        expected: Option<u64>,
        pointer: &P,
    ) -> Result<Swap, StoreError> {
        let json = serde_json::to_string(pointer).map_err(|error| value_error(key, &error))?;
        let mut call = self.script(2, 1);
        call.arg(key).arg(expected.map(|fence| fence.to_string()).unwrap_or_default()).arg(json);
        let mut pipeline = redis::pipe();
        pipeline.add_command(call);
        let (set,): (i64,) = self.scripted("setting a pointer", &pipeline).await?;
        Ok(if set == 1 { Swap::Done } else { Swap::Conflict })
    }

    async fn catalog(&self, key: &str) -> Result<BTreeMap<String, CatalogEntry>, StoreError> {
        let fields: Vec<(String, String)> = self.connection.run("reading the catalog", cmd("HGETALL").arg(key)).await?;
        fields.into_iter().map(|(view, text)| Ok((view, parse_entry(key, &text)?))).collect()
    }

    async fn put_catalog(&self, key: &str, view: &str, entry: &CatalogEntry) -> Result<(), StoreError> {
        let json = serde_json::to_string(entry).map_err(|error| value_error(key, &error))?;
        self.write_catalog(key, view, &json).await
    }

    async fn remove_catalog(&self, key: &str, view: &str) -> Result<(), StoreError> {
        self.write_catalog(key, view, "").await
    }

    async fn run_report(&self, key: &str) -> Result<Option<RunReport>, StoreError> {
        let text: Option<String> = self.connection.run("reading a run's report", cmd("GET").arg(key)).await?;
        text.map(|text| parse_report(key, &text)).transpose()
    }

    async fn put_run_report(&self, key: &str, report: &RunReport) -> Result<(), StoreError> {
        Ok(self.connection.run("writing a run's report", cmd("SET").arg(key).arg(report.encode())).await?)
    }

    async fn comparison(&self, key: &str) -> Result<Option<Report>, StoreError> {
        let text: Option<String> = self.connection.run("reading a comparison", cmd("GET").arg(key)).await?;
        text.map(|text| parse_comparison(key, &text)).transpose()
    }

    async fn put_comparison(&self, key: &str, report: &Report) -> Result<(), StoreError> {
        Ok(self.connection.run("writing a comparison", cmd("SET").arg(key).arg(report.encode())).await?)
    }

    async fn text(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.connection.run("reading a text", cmd("GET").arg(key)).await?)
    }

    async fn put_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        Ok(self.connection.run("writing a text", cmd("SET").arg(key).arg(text)).await?)
    }

    async fn troubles(&self, key: &str) -> Result<BTreeMap<String, Trouble>, StoreError> {
        let fields: Vec<(String, String)> = self.connection.run("reading troubles", cmd("HGETALL").arg(key)).await?;
        parse_troubles(key, fields)
    }

    async fn say_trouble(
        &self,
        key: &str,
        worker: &str,
        trouble: Option<&Trouble>,
        ttl_ms: i64,
    ) -> Result<(), StoreError> {
        let doing = "telling a trouble";
        let Some(trouble) = trouble else {
            return Ok(self.connection.run(doing, cmd("HDEL").arg(key).arg(worker)).await?);
        };
        let json = serde_json::to_string(trouble).map_err(|error| value_error(key, &error))?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(key).arg(worker).arg(json);
        pipeline.cmd("PEXPIRE").arg(key).arg(ttl_ms);
        let (_new, _expires): (i64, i64) = self.connection.pipeline(doing, &pipeline).await?;
        Ok(())
    }

    async fn replays(&self, key: &str) -> Result<BTreeMap<i32, Progress>, StoreError> {
        let fields: Vec<(String, String)> = self.connection.run("reading a replay", cmd("HGETALL").arg(key)).await?;
        parse_replays(key, fields)
    }

    async fn say_replay(&self, key: &str, partition: i32, progress: &Progress) -> Result<(), StoreError> {
        let json = serde_json::to_string(progress).map_err(|error| value_error(key, &error))?;
        let mut set = cmd("HSET");
        set.arg(key).arg(partition).arg(json);
        Ok(self.connection.run("telling a replay's progress", &set).await?)
    }

    async fn shadows(&self, key: &str) -> Result<BTreeMap<String, Shadows>, StoreError> {
        let fields: Vec<(String, String)> =
            self.connection.run("reading shadow reads", cmd("HGETALL").arg(key)).await?;
        parse_shadows(key, fields)
    }

    async fn say_shadow(&self, key: &str, server: &str, report: &Shadows, ttl_ms: i64) -> Result<(), StoreError> {
        let json = serde_json::to_string(report).map_err(|error| value_error(key, &error))?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(key).arg(server).arg(json).ignore();
        pipeline.cmd("PEXPIRE").arg(key).arg(ttl_ms).ignore();
        Ok(self.connection.pipeline("telling of shadow reads", &pipeline).await?)
    }

    async fn refusal(&self, key: &str) -> Result<Option<String>, StoreError> {
        // Redis holds it for a write that needs memory, and nothing is set at the end of nothing.
        let mut write = cmd("SETRANGE");
        write.arg(key).arg(0).arg("");
        match self.connection.run::<i64>("a write", &write).await {
            Ok(_) => Ok(None),
            Err(error @ RedisError::Refused { .. }) => Ok(Some(error.to_string())),
            Err(RedisError::Away { detail, url, .. }) if detail.to_ascii_uppercase().contains("READONLY") => {
                Ok(Some(format!("redis at {url} is a replica and takes no writes: {detail}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self, prefix: &str, cursor: u64) -> Result<Keys, StoreError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(glob_prefix(prefix)).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.connection.run("listing rows", &scan).await?;
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Ok(Keys { next: (next != 0).then_some(next), keys })
    }

    async fn purge(&self, prefix: &str, cursor: u64) -> Result<Purge, StoreError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(glob_prefix(prefix)).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.connection.run("looking for rows to remove", &scan).await?;
        let removed =
            if keys.is_empty() { 0 } else { self.connection.run("removing rows", cmd("UNLINK").arg(keys)).await? };
        Ok(Purge { next: (next != 0).then_some(next), removed })
    }
}

/// `prefix*`, of a prefix taken as it is.
fn glob_prefix(prefix: &str) -> String {
    glob(prefix) + "*"
}

/// A text with the characters that `MATCH` treats specially escaped.
pub(super) fn glob(text: &str) -> String {
    let mut glob = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}
