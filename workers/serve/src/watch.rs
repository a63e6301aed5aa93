//! Keeps the [`Catalog`] fresh: a poll each second, and one at once when a request meets what the snapshot does not know.
//!
//! Invariants: one task polls, so polls never overlap; demands that arrive meanwhile share the next poll; polls on
//! demand are at least [`Settings::least_gap`] apart, so unknown names cannot load the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::store::{CatalogReply, Store, StoreError};

/// How often the catalog is polled.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between polls at rest.
    pub period: Duration,
    /// Between polls on demand.
    pub least_gap: Duration,
    /// How long a request waits for a poll it demanded.
    pub patience: Duration,
    /// Without a successful poll for this long the catalog counts as away.
    pub stale_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            least_gap: Duration::from_millis(100),
            patience: Duration::from_secs(2),
            stale_after: Duration::from_secs(5),
        }
    }
}

/// The catalog and the means to have it polled.
pub struct CatalogWatch {
    snapshot: ArcSwap<Catalog>,
    settings: Settings,
    /// How many polls have begun.
    begun: AtomicU64,
    demand: Notify,
    /// How many polls have ended, when the last good one did, and why the last one failed.
    ended: watch::Sender<Ended>,
}

#[derive(Clone, Debug, Default)]
struct Ended {
    polls: u64,
    good_at: Option<Instant>,
    error: Option<StoreError>,
}

impl CatalogWatch {
    /// An empty catalog that nobody polls yet; [`Self::run`] does.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::default(),
            settings,
            begun: AtomicU64::new(0),
            demand: Notify::new(),
            ended: watch::Sender::default(),
        })
    }

    /// The snapshot of now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.snapshot.load_full()
    }

    /// Time since the last good poll; `None` before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.ended.borrow().good_at.map(|at| at.elapsed())
    }

    /// Whether the catalog is known and fresh.
    ///
    /// # Errors
    /// Why not, in one sentence.
    pub fn ready(&self) -> Result<(), String> {
        let ended = self.ended.borrow().clone();
        let error = || ended.error.as_ref().map_or_else(String::new, |e| format!(": {e}"));
        match ended.good_at {
            None => Err(format!("the catalog has not been read yet{}", error())),
            Some(at) if at.elapsed() > self.settings.stale_after => {
                Err(format!("the catalog was last read {} s ago{}", at.elapsed().as_secs(), error()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Waits for a poll that begins after this call; gives up after [`Settings::patience`].
    ///
    /// # Errors
    /// [`StoreError`] if that poll failed or did not end in time.
    pub async fn refresh(&self) -> Result<Arc<Catalog>, StoreError> {
        let mut ended = self.ended.subscribe();
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        self.demand.notify_one();
        let patience = self.settings.patience;
        match tokio::time::timeout(patience, ended.wait_for(|e| e.polls >= needed)).await {
            Ok(Ok(state)) => match &state.error {
                Some(error) => Err(error.clone()),
                None => Ok(self.catalog()),
            },
            _ => Err(StoreError::Timeout(patience.as_millis())),
        }
    }

    /// Polls until `stop`.
    pub async fn run(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        key: String,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let began = Instant::now();
            let poll = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let result = self.poll(store.as_ref(), &key, &metrics).await;
            metrics.catalog_poll(&result);
            self.ended.send_modify(|ended| {
                if let (Err(error), None) = (&result, &ended.error) {
                    tracing::warn!(%error, "the catalog could not be read; the views known before are served on");
                }
                ended.polls = poll;
                ended.good_at = if result.is_ok() { Some(Instant::now()) } else { ended.good_at };
                ended.error = result.err();
            });
            let rest = self.settings.period.saturating_sub(began.elapsed());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
                () = self.demand.notified() => {
                    tokio::time::sleep(self.settings.least_gap.saturating_sub(began.elapsed())).await;
                }
            }
        }
    }

    async fn poll(&self, store: &dyn Store, key: &str, metrics: &Metrics) -> Result<(), StoreError> {
        let before = self.catalog();
        let (version, fields) = match store.catalog(key, before.version()).await? {
            CatalogReply::Unchanged => return Ok(()),
            CatalogReply::Changed { version, fields } => (version, fields),
        };
        // Compiling takes milliseconds a view, which no request must wait for.
        let next = tokio::task::spawn_blocking(move || before.next(version, fields)).await;
        let next = Arc::new(next.map_err(|e| StoreError::Refused(format!("the catalog could not be compiled: {e}")))?);
        let before = self.snapshot.swap(Arc::clone(&next));
        let known: std::collections::HashSet<_> = before.problems().collect();
        for (view, problem) in next.problems().filter(|p| !known.contains(p)) {
            tracing::error!(view, problem, "a view cannot be served as its catalog entry stands");
        }
        metrics.catalog_size(next.sizes());
        Ok(())
    }
}
