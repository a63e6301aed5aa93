//! The lanes of a generation, folded on a cluster.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionContext;
use engine::program::Program;
use lake::Storage;

use super::codec::Codec;
use super::job::{ClusterError, Fetched, Scheduler};
use super::parts::{self, Parts};
use super::task::{Reader, Task};
use crate::config::SourceTable;
use crate::decode::Taken;
use crate::events::EventsError;
use crate::fold::{Fold, Mould};
use crate::history::{File, History};

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where its scheduler is: `http://host:port`.
    pub url: String,
    /// Into how many partitions files, and then entities, are dealt: as many tasks can work beside each other.
    pub partitions: NonZeroUsize,
}

/// The result of a fold.
#[derive(Debug)]
pub struct Lanes {
    /// Fetches it: the keys and the lanes, each entity's whole.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What goes on from it.
    pub fold: Fold,
}

impl Cluster {
    /// Folds the events of `history` that are `taken`, and counts them there.
    ///
    /// # Errors
    /// [`ClusterError`], or [`EventsError`] if the source does not fit the plan.
    pub async fn lanes<E: From<ClusterError> + From<EventsError>>(
        &self,
        program: &Program,
        history: &History,
        source: Option<&SourceTable>,
        taken: &Taken,
        mould: &Mould,
        session: &SessionContext,
    ) -> Result<Lanes, E> {
        let columns = history.frame(session).await.map_err(EventsError::from)?.schema().as_arrow().clone();
        let task = Task::new(program, history, &Arc::new(columns), source, taken).map_err(ClusterError::from)?;
        let reader = Arc::new(Reader::new(task, Storage::local()).map_err(ClusterError::from)?);
        let parts = deal(history.files().map_err(EventsError::from)?, self.partitions.get());
        tracing::info!(scheduler = self.url, parts = parts.len(), "folding on the cluster");
        let events = Arc::new(Parts::new(reader, parts::values(&parts).map_err(ClusterError::from)?));
        let fold = Fold::new(events.schema(), self.partitions.get(), mould.clone()).map_err(ClusterError::from)?;
        let lanes = fold.lanes(events).map_err(ClusterError::from)?;
        let schema = lanes.schema();
        let results = if parts.is_empty() {
            Vec::new()
        } else {
            let name = format!("{}.{}", program.plan().view.namespace, program.plan().view.name);
            let codec = Codec::new(Storage::local());
            let done = Scheduler::connect(&self.url).await?.run(lanes, &codec, &name).await?;
            taken.counts.add(done.read.rows, done.read.taken, &done.read.refused);
            done.results
        };
        let fetched = |location| {
            let schema = schema.clone();
            Arc::new(Fetched { location, schema }) as Arc<dyn PartitionStream>
        };
        let partitions = results.into_iter().map(fetched).collect();
        let plan = StreamingTableExec::try_new(schema.clone(), partitions, None, [], false, None);
        Ok(Lanes { plan: Arc::new(plan.map_err(ClusterError::from)?), fold })
    }
}

/// Deals files to at most `parts` parts, the largest first, each to the part that has least so far; no part is empty.
fn deal(mut files: Vec<File>, parts: usize) -> Vec<Vec<String>> {
    files.sort_by(|a, b| (Reverse(a.bytes), &a.path).cmp(&(Reverse(b.bytes), &b.path)));
    let mut dealt: Vec<(u64, Vec<String>)> = vec![Default::default(); parts.min(files.len())];
    for File { path, bytes } in files {
        if let Some((sum, part)) = dealt.iter_mut().min_by_key(|(sum, part)| (*sum, part.len())) {
            *sum += bytes;
            part.push(path);
        }
    }
    dealt.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_dealt_once_each_and_evenly() {
        let file = |(i, bytes): (usize, &u64)| File { path: format!("f{i}"), bytes: *bytes };
        let files = |bytes: &[u64]| bytes.iter().enumerate().map(file).collect::<Vec<_>>();
        assert_eq!(deal(files(&[]), 3), Vec::<Vec<String>>::new());
        assert_eq!(deal(files(&[5]), 3), [["f0"]]);
        assert_eq!(deal(files(&[1, 9, 4, 4]), 2), [vec!["f1"], vec!["f2", "f3", "f0"]]);
        // Files of nothing are spread, too.
        assert_eq!(deal(files(&[0, 0, 0]), 2), [vec!["f0", "f2"], vec!["f1"]]);
    }
}
