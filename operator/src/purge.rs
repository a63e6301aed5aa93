//! Removal of what a view or one of its revisions has in the log and the online store.
//!
//! It runs beside reconciliation, a slice at a time, and may be cut off anywhere: what is gone stays gone, and the next
//! attempt starts over. Invariant: a revision's markers are removed before its rows, so that a worker can never trust
//! markers whose rows are gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::row::{catalog_key, consumer_group, marker_key, revision_prefix, view_prefix};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::edges::{EdgeError, Edges, LogAddress, StoreAddress};

/// How many removals run at once; each scans the whole store.
const AT_ONCE: usize = 2;

/// What is to be removed.
#[derive(Clone)]
pub struct Purge {
    /// The view.
    pub uid: String,
    /// One revision, or all of the view.
    pub revision: Option<String>,
    /// The revisions whose consumer groups go.
    pub groups: Vec<String>,
    /// Where the groups are; without a log there are none.
    pub log: Option<LogAddress>,
    /// Where the rows are.
    pub store: StoreAddress,
    /// Whether the rows go too.
    pub rows: bool,
    /// The view's entries in the catalogs of architectures, to be removed first: architecture UID and view name.
    pub catalogs: Vec<(String, String)>,
}

/// How far a removal has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Running,
    /// It is complete; so many keys went.
    Done(u64),
    /// It failed, and runs again when it is asked for again.
    Failed(String),
}

/// All removals.
pub struct Purges {
    states: Arc<Mutex<HashMap<String, Progress>>>,
    slots: Arc<Semaphore>,
}

impl Default for Purges {
    fn default() -> Self {
        Self { states: Arc::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Purges {
    /// Starts a removal if it does not run, and says how far it is. A finished or failed one is told once, then forgotten.
    pub fn poll(&self, purge: &Purge, edges: &Arc<dyn Edges>, ended: &CancellationToken) -> Progress {
        let key = format!("{}/{}", purge.uid, purge.revision.as_deref().unwrap_or_default());
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        match states.get(&key) {
            Some(Progress::Running) => Progress::Running,
            Some(_) => states.remove(&key).unwrap_or(Progress::Running),
            None => {
                states.insert(key.clone(), Progress::Running);
                let (purge, edges, ended) = (purge.clone(), edges.clone(), ended.clone());
                let (states, slots) = (self.states.clone(), self.slots.clone());
                tokio::spawn(async move {
                    let work = async {
                        // Closed never, so this waits for a slot.
                        let _slot = slots.acquire().await;
                        run(&purge, edges.as_ref()).await
                    };
                    let end = tokio::select! {
                        () = ended.cancelled() => return,
                        end = work => end,
                    };
                    let progress = match end {
                        Ok(removed) => Progress::Done(removed),
                        Err(error) => Progress::Failed(error.to_string()),
                    };
                    states.lock().unwrap_or_else(PoisonError::into_inner).insert(key, progress);
                });
                Progress::Running
            }
        }
    }
}

/// The whole removal.
async fn run(purge: &Purge, edges: &dyn Edges) -> Result<u64, EdgeError> {
    let store = edges.store(&purge.store).await?;
    for (architecture, view) in &purge.catalogs {
        store.remove_catalog(&catalog_key(architecture), view).await?;
    }
    let groups: Vec<String> = purge.groups.iter().map(|revision| consumer_group(&purge.uid, revision, 0)).collect();
    if let Some(log) = purge.log.as_ref().filter(|_| !groups.is_empty()) {
        edges.delete_groups(log, &groups).await?;
    }
    let prefixes = match &purge.revision {
        _ if !purge.rows => Vec::new(),
        Some(revision) => vec![marker_key(&purge.uid, revision, 0, 0), revision_prefix(&purge.uid, revision)],
        // A UID never comes back, so nothing needs to be first.
        None => vec![view_prefix(&purge.uid)],
    };
    let mut removed = 0;
    for prefix in prefixes {
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let slice = store.purge(&prefix, at).await?;
            removed += slice.removed;
            cursor = slice.next;
        }
    }
    Ok(removed)
}
