//! Online stores: the shell's, made shareable and kept while their connections work.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{CatalogEntry, Head, Live, RunReport, Trouble};
use engine::shadow::Report as Shadows;
use shell::redis::Connector;
use shell::store::{Markers, Purge, RedisStore, RowStore, StoreError, Swap};

use super::{EdgeError, EdgeResult, Store, StoreAddress};

/// How long a store may take to answer: much less than a round of reconciliation may last.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// A row store as a [`Store`].
pub struct Shared<S> {
    store: S,
    away: Arc<AtomicBool>,
}

impl<S: RowStore> Shared<S> {
    /// Shares a store.
    pub fn new(store: S) -> Self {
        Self { store, away: Arc::default() }
    }

    fn seen<T>(&self, answer: Result<T, StoreError>) -> Result<T, EdgeError> {
        answer.map_err(|error| {
            if error.is_away() {
                self.away.store(true, Ordering::Release);
            }
            EdgeError(error.to_string())
        })
    }
}

impl<S: RowStore> Store for Shared<S> {
    fn live<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Live>> {
        Box::pin(async move { self.seen(self.store.pointer(key).await) })
    }
    fn swap_live<'a>(&'a self, key: &'a str, expected: Option<u64>, live: &'a Live) -> EdgeResult<'a, Swap> {
        Box::pin(async move { self.seen(self.store.swap_pointer(key, expected, live).await) })
    }
    fn head<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Head>> {
        Box::pin(async move { self.seen(self.store.pointer(key).await) })
    }
    fn swap_head<'a>(&'a self, key: &'a str, expected: u64, head: &'a Head) -> EdgeResult<'a, Swap> {
        Box::pin(async move { self.seen(self.store.swap_pointer(key, Some(expected), head).await) })
    }
    fn make_head<'a>(&'a self, key: &'a str, head: &'a Head) -> EdgeResult<'a, Swap> {
        Box::pin(async move { self.seen(self.store.swap_pointer(key, None, head).await) })
    }
    fn run<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<RunReport>> {
        Box::pin(async move { self.seen(self.store.run_report(key).await) })
    }
    fn comparison<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Report>> {
        Box::pin(async move {
            match self.store.comparison(key).await {
                Err(error) if !error.is_away() => {
                    tracing::warn!(key, %error, "the report of a comparison does not read");
                    Ok(None)
                }
                answer => self.seen(answer),
            }
        })
    }
    fn text<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<String>> {
        Box::pin(async move { self.seen(self.store.text(key).await) })
    }
    fn markers<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Markers> {
        Box::pin(async move { self.seen(self.store.markers(key).await) })
    }
    fn troubles<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, Trouble>> {
        Box::pin(async move { self.seen(self.store.troubles(key).await) })
    }
    fn replays<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<i32, Progress>> {
        Box::pin(async move { self.seen(self.store.replays(key).await) })
    }
    fn shadows<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, Shadows>> {
        Box::pin(async move {
            match self.store.shadows(key).await {
                Err(error) if !error.is_away() => {
                    tracing::warn!(key, %error, "what a server says of shadow reads does not read");
                    Ok(BTreeMap::new())
                }
                answer => self.seen(answer),
            }
        })
    }
    fn refusal<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<String>> {
        Box::pin(async move { self.seen(self.store.refusal(key).await) })
    }
    fn catalog<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, CatalogEntry>> {
        Box::pin(async move { self.seen(self.store.catalog(key).await) })
    }
    fn put_catalog<'a>(&'a self, key: &'a str, view: &'a str, entry: &'a CatalogEntry) -> EdgeResult<'a, ()> {
        Box::pin(async move { self.seen(self.store.put_catalog(key, view, entry).await) })
    }
    fn remove_catalog<'a>(&'a self, key: &'a str, view: &'a str) -> EdgeResult<'a, ()> {
        Box::pin(async move { self.seen(self.store.remove_catalog(key, view).await) })
    }
    fn purge<'a>(&'a self, prefix: &'a str, cursor: u64) -> EdgeResult<'a, Purge> {
        Box::pin(async move { self.seen(self.store.purge(prefix, cursor).await) })
    }
}

/// One connection for each address, made anew after it broke.
#[derive(Default)]
pub(super) struct Connections(Mutex<HashMap<StoreAddress, Arc<Shared<RedisStore>>>>);

impl Connections {
    pub(super) async fn get(&self, address: &StoreAddress) -> Result<Arc<dyn Store>, EdgeError> {
        if let Some(store) = self.working(address) {
            return Ok(store);
        }
        let store = Arc::new(Shared::new(connect(address).await?));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Addresses whose Secret was rotated are never asked for again.
        known.retain(|other, _| other.url != address.url);
        known.insert(address.clone(), store.clone());
        Ok(store)
    }

    fn working(&self, address: &StoreAddress) -> Option<Arc<dyn Store>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let store = known.get(address)?;
        (!store.away.load(Ordering::Acquire)).then(|| store.clone() as Arc<dyn Store>)
    }
}

async fn connect(address: &StoreAddress) -> Result<RedisStore, EdgeError> {
    let failed = |error: &dyn std::fmt::Display| EdgeError(error.to_string());
    let connector = Connector::with_settings(&address.url, address.settings.clone())
        .map_err(|e| failed(&e))?
        .with_response_timeout(RESPONSE_TIMEOUT);
    match tokio::time::timeout(CONNECT_TIMEOUT, RedisStore::connect(&connector)).await {
        Ok(answer) => answer.map_err(|e| failed(&e)),
        Err(_) => Err(EdgeError(format!(
            "redis at {} did not accept a connection in {} s",
            address.url,
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}
