//! One flush: changed lanes first, then the markers that cover them, per plan and partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::row::Marker;
use futures::future::join;
use shell::store::{Fence, MarkerWrite, Outcome, RowStore, Segments, StoreError};
use shell::trace::{Kind, Trace};

use crate::fold::FoldError;
use crate::folding::{Chunk, Rows};
use crate::plan_run::PlanRun;

/// What one plan and partition writes.
#[derive(Debug)]
pub struct Part {
    /// The partition.
    pub partition: i32,
    /// Which reading of the partition this belongs to; results for an earlier one mean nothing.
    pub term: u64,
    /// The plan's position among the plans.
    pub plan: usize,
    /// The changed lanes.
    pub rows: Rows,
    /// What is true once they are written.
    pub marker: Option<MarkerWrite>,
    /// The version of the erasures that all of it was made with.
    pub erased: u64,
}

/// What became of a [`Part`].
#[derive(Debug)]
pub struct Done {
    /// See [`Part::partition`].
    pub partition: i32,
    /// See [`Part::term`].
    pub term: u64,
    /// See [`Part::plan`].
    pub plan: usize,
    /// The slots that were written or superseded.
    pub slots: Vec<u32>,
    /// Of lanes whose events waited what the store has of them now, by the same order.
    pub whole: Vec<Segments>,
    /// The slots that must be written whole.
    pub needs_whole: Vec<u32>,
    /// Whether the store had lost writes.
    pub lost: bool,
    /// Whether somebody was erased since, so that nothing was written.
    pub fenced: bool,
    /// Why a lane could not be made, so that no more was written.
    pub broken: Option<FoldError>,
    /// Whether another reader's marker is further than ours; its rows are as good.
    pub overtaken: bool,
    /// The marker that stands, if all went well.
    pub marker: Option<Marker>,
}

/// What became of a flush.
#[derive(Debug)]
pub struct Report {
    /// The parts that were done before an error.
    pub done: Vec<Done>,
    /// Why it ended early.
    pub error: Option<StoreError>,
    /// Lanes written.
    pub written: u64,
    /// Lanes of which the store had as much or more.
    pub superseded: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What is logged of it belongs here.
    pub trace: Trace,
}

/// Writes all parts, one after the other. `partitions` is how many the topic has.
pub async fn execute<S: RowStore>(store: S, plans: Arc<[PlanRun]>, partitions: i32, parts: Vec<Part>) -> Report {
    let (start, trace) = (Instant::now(), Trace::next());
    let mut report =
        Report { done: Vec::new(), error: None, written: 0, superseded: 0, elapsed: Duration::ZERO, trace };
    let mut span = trace.open("flush", Kind::Internal);
    let all = async {
        for part in parts {
            match write(&store, &plans, partitions, part, &mut report).await {
                Ok(done) => report.done.push(done),
                Err(error) => {
                    report.error = Some(error);
                    break;
                }
            }
        }
    };
    trace.scope(all).await;
    report.elapsed = start.elapsed();
    span.note("featuremill.lanes", &report.written);
    if let Some(error) = &report.error {
        span.fail(error);
    }
    report
}

async fn write<S: RowStore>(
    store: &S,
    plans: &[PlanRun],
    partitions: i32,
    part: Part,
    report: &mut Report,
) -> Result<Done, StoreError> {
    let plan = &plans[part.plan];
    let Part { partition, term, plan: number, mut rows, marker, erased } = part;
    let fence = Fence { uid: &plan.plan().view.uid, version: erased };
    let mut done = Done {
        partition,
        term,
        plan: number,
        slots: Vec::new(),
        whole: Vec::new(),
        needs_whole: Vec::new(),
        lost: false,
        fenced: false,
        broken: None,
        overtaken: false,
        marker: None,
    };
    let mut next = rows.next(&plan.layout);
    loop {
        let Chunk { writes, slots, whole } = match next {
            Ok(chunk) if chunk.writes.is_empty() => break,
            Ok(chunk) => chunk,
            Err(error) => {
                done.broken = Some(error);
                return Ok(done);
            }
        };
        // What is next is made while the store is at work, once the writes are on their way to it.
        let written = store.flush(partition, plan.ttl_ms, fence, &writes);
        let making = async {
            tokio::task::yield_now().await;
            rows.next(&plan.layout)
        };
        let (outcomes, made) = join(written, making).await;
        next = made;
        for (slot, outcome) in slots.iter().zip(&outcomes?) {
            match outcome {
                Outcome::Written => report.written += 1,
                Outcome::Superseded => report.superseded += 1,
                Outcome::Lost => done.lost = true,
                Outcome::NeedsWhole => done.needs_whole.push(*slot),
                Outcome::Fenced => done.fenced = true,
            }
        }
        done.slots.extend(slots);
        done.whole.extend(whole);
        if done.lost || done.fenced {
            return Ok(done);
        }
    }
    if !done.needs_whole.is_empty() {
        return Ok(done);
    }
    if let Some(write) = marker {
        match store.write_marker(&plan.marker_key, partitions, fence, write).await? {
            Outcome::Written => done.marker = Some(write.marker),
            Outcome::Superseded | Outcome::NeedsWhole => done.overtaken = true,
            Outcome::Lost => done.lost = true,
            Outcome::Fenced => done.fenced = true,
        }
    }
    Ok(done)
}
