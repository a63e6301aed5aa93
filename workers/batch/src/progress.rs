//! A line every few seconds of what a run has done so far, with its share of the whole where that is known.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::decode::Counts;
use crate::produce::Producer;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// Writes lines until it is dropped.
#[derive(Debug)]
pub struct Progress(JoinHandle<()>);

impl Progress {
    /// Of a fold; `total` is how many rows the source holds, of which the scan may skip some.
    #[must_use]
    pub fn of_fold(counts: Arc<Counts>, producer: Arc<Producer>, total: Option<u64>) -> Self {
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.tick().await;
            loop {
                tick.tick().await;
                let rows = counts.rows();
                let percent = total.filter(|total| *total > 0).map(|total| rows.min(total) * 100 / total);
                let entities = producer.entities.load(Ordering::Relaxed);
                tracing::info!(rows, events = counts.taken(), entities, percent, "folding");
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
