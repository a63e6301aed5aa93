//! [`Store`] over Redis: a few connections that all requests share, each kept up by a task of its own.
//!
//! One [`Query`] is one pipeline. Concurrent pipelines on a connection are written and read together by its driver, so
//! a busy server makes far fewer system calls than requests; no request waits for another's answer to be sent.
//! Invariant: a reply is complete or an error. A read is repeated once, on another connection, if its connection broke.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use engine::row::catalog_version_key;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::{Pipeline, Value};
use shell::backoff::Backoff;
use shell::redis::{Connection, Connector, RedisError};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::store::{CatalogReply, Fields, Query, Reply, Store, StoreError};

/// How often an idle connection is tried, so that its death is known before a request meets it.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The online store in one Redis.
pub struct RedisStore {
    lines: Vec<Arc<Line>>,
    next: AtomicUsize,
    _stop: DropGuard,
}

/// One connection and its keeper.
#[derive(Default)]
struct Line {
    connection: ArcSwapOption<Connection>,
    /// Why there is no connection.
    reason: ArcSwapOption<String>,
    broke: Notify,
}

impl RedisStore {
    /// A store of `connections` connections, made in the background by tasks that end when the store is dropped.
    ///
    /// # Errors
    /// [`RedisError::Url`].
    pub fn new(url: &str, config_dir: Option<&Path>, connections: u16, timeout: Duration) -> Result<Self, RedisError> {
        let connector = Connector::new(url, config_dir)?.with_response_timeout(timeout);
        let stop = CancellationToken::new();
        let lines: Vec<_> = (0..connections.max(1)).map(|_| Arc::<Line>::default()).collect();
        for line in &lines {
            tokio::spawn(stop.clone().run_until_cancelled_owned(keep(Arc::clone(line), connector.clone())));
        }
        Ok(Self { lines, next: AtomicUsize::new(0), _stop: stop.drop_guard() })
    }

    /// Runs a pipeline on the next connection that is up, and once more on another if it breaks.
    async fn run(&self, doing: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failed = None;
        let mut tried = 0;
        for i in 0..self.lines.len() {
            let line = &self.lines[start.wrapping_add(i) % self.lines.len()];
            let Some(connection) = line.connection.load_full() else { continue };
            match connection.pipeline::<Vec<Value>>(doing, pipeline).await {
                Ok(values) => return Ok(values),
                Err(error) if error.is_away() => {
                    line.broken(&connection, &error);
                    failed = Some(StoreError::Away(error.to_string()));
                }
                Err(error) => return Err(StoreError::Refused(error.to_string())),
            }
            tried += 1;
            if tried == 2 {
                break;
            }
        }
        Err(failed.unwrap_or_else(|| {
            let reason = self.lines.iter().find_map(|line| line.reason.load_full());
            StoreError::Away(reason.map_or_else(|| "no connection has been made yet".to_owned(), |r| r.to_string()))
        }))
    }
}

impl Line {
    /// Takes a broken connection out of use, unless another has taken its place already.
    fn broken(&self, connection: &Arc<Connection>, error: &RedisError) {
        self.reason.store(Some(Arc::new(error.to_string())));
        let before = self.connection.compare_and_swap(connection, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, connection)) {
            self.broke.notify_one();
        }
    }
}

/// Keeps one line connected, for ever.
async fn keep(line: Arc<Line>, connector: Connector) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let connection = match connector.connect().await {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                line.reason.store(Some(Arc::new(error.to_string())));
                tokio::time::sleep(backoff.delay()).await;
                continue;
            }
        };
        backoff.reset();
        line.connection.store(Some(Arc::clone(&connection)));
        while tokio::time::timeout(HEARTBEAT, line.broke.notified()).await.is_err() {
            if let Err(error) = connection.run::<String>("the heartbeat", &redis::cmd("PING")).await {
                tracing::warn!(%error, "a connection to the online store broke");
                line.broken(&connection, &error);
            }
        }
    }
}

impl Store for RedisStore {
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        async move {
            let mut pipeline = Pipeline::with_capacity(3 + query.entities.len());
            // The order is the promise of `Store::read`: pointers and markers first.
            pipeline.cmd("GET").arg(query.live);
            pipeline.cmd("GET").arg(query.head);
            pipeline.cmd("HGETALL").arg(query.markers);
            let mut key = String::with_capacity(query.row_prefix.len() + 32);
            for entity in query.entities {
                key.clear();
                key.push_str(query.row_prefix);
                key.push_str(entity);
                pipeline.cmd("HGETALL").arg(&key);
            }
            let values = self.run("reading features", &pipeline).await?;
            let asked = 3 + query.entities.len();
            if values.len() != asked {
                return Err(StoreError::Refused(format!("{asked} answers were expected, {} came", values.len())));
            }
            let mut values = values.into_iter();
            let mut next = || values.next().unwrap_or(Value::Nil);
            let (live, head, markers) = (bytes(next())?, bytes(next())?, fields(next())?);
            let rows = values.map(fields).collect::<Result<_, _>>()?;
            Ok(Reply { live, head, markers, rows })
        }
        .boxed()
    }

    fn say_shadow<'a>(
        &'a self,
        key: &'a str,
        server: &'a str,
        json: Vec<u8>,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.cmd("HSET").arg(key).arg(server).arg(json);
            pipeline.cmd("PEXPIRE").arg(key).arg(ttl_ms);
            self.run("telling of shadow reads", &pipeline).await.map(drop)
        }
        .boxed()
    }

    fn catalog<'a>(&'a self, key: &'a str, known: Option<&'a [u8]>) -> BoxFuture<'a, Result<CatalogReply, StoreError>> {
        async move {
            // The version is read first: if the catalog changes in between, the next poll finds another version.
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.cmd("GET").arg(catalog_version_key(key));
            let version = bytes(self.one("polling the catalog", &pipeline).await?)?;
            if version.is_some() && version.as_deref() == known {
                return Ok(CatalogReply::Unchanged);
            }
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.cmd("HGETALL").arg(key);
            let fields = fields(self.one("reading the catalog", &pipeline).await?)?;
            Ok(CatalogReply::Changed { version, fields })
        }
        .boxed()
    }
}

impl RedisStore {
    /// Runs a pipeline of one command.
    async fn one(&self, doing: &'static str, pipeline: &Pipeline) -> Result<Value, StoreError> {
        let mut values = self.run(doing, pipeline).await?;
        values.pop().ok_or_else(|| StoreError::Refused("one answer was expected, none came".to_owned()))
    }
}

fn bytes(value: Value) -> Result<Option<Vec<u8>>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        other => Err(StoreError::Refused(format!("a string was expected, {other:?} came"))),
    }
}

/// A hash as RESP2 or RESP3 writes it.
fn fields(value: Value) -> Result<Fields, StoreError> {
    let whole = |value: Value| bytes(value)?.ok_or_else(|| StoreError::Refused("a field of a hash is nil".to_owned()));
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::Map(pairs) => pairs.into_iter().map(|(field, value)| Ok((whole(field)?, whole(value)?))).collect(),
        Value::Array(items) => {
            let mut items = items.into_iter();
            let mut fields = Vec::with_capacity(items.len() / 2);
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                fields.push((whole(field)?, whole(value)?));
            }
            Ok(fields)
        }
        other => Err(StoreError::Refused(format!("a hash was expected, {other:?} came"))),
    }
}
