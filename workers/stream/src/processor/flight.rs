//! The flushes of a processor: one is under way at a time, beside the reading, and its result is taken in by the thread.

use std::time::{Duration, Instant};

use shell::clock::now_ms;
use shell::store::RowStore;
use tokio::sync::oneshot;

use super::Processor;
use crate::batch::Ended;
use crate::flush::{self, Done, Report};
use crate::link::Connected;
use crate::metrics::{Flushed, StoreLost};
use crate::parts;
use crate::shared::Request;

impl<S: RowStore> Processor<S> {
    /// Starts a flush of all that changed, if anything did.
    pub(super) fn begin_flight(&mut self) {
        let Some(Connected { number, store }) = self.shared.link.current() else { return };
        let mut all = Vec::new();
        let waited = self.waiting_bytes();
        for (partition, known) in &mut self.partitions {
            if let Some(reading) = known.reading.as_mut().filter(|reading| reading.connection.number == number) {
                parts::collect(&self.shared, *partition, reading, &mut all);
            }
        }
        if all.is_empty() {
            return;
        }
        self.flying = waited - self.waiting_bytes();
        let (report, flight) = oneshot::channel();
        let (plans, partitions, thread) = (self.shared.plans.clone(), self.shared.partitions(), std::thread::current());
        self.shared.runtime.spawn(async move {
            // The processor is gone only at the very end.
            drop(report.send(flush::execute(store, plans, partitions, all).await));
            thread.unpark();
        });
        self.flight = Some(flight);
    }

    /// Takes in the result of the flush that is under way, if it has ended.
    pub(super) fn end_flight(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        match flight.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => {}
            report => self.landed(report.ok()),
        }
    }

    /// Takes in the result of a flush; one that panicked has none.
    fn landed(&mut self, report: Option<Report>) {
        (self.flight, self.flying) = (None, 0);
        let Some(report) = report else { return self.restart_all("a flush ended without a result") };
        report.trace.within(|| self.take_report(report));
    }

    fn take_report(&mut self, report: Report) {
        self.pace.end(report.elapsed, Instant::now());
        let Report { done, error, written, superseded, elapsed, trace: _ } = report;
        if written + superseded > 0 {
            Flushed { written, superseded, elapsed }.emit(&self.shared.metrics);
        }
        for done in done {
            self.take_in(done);
        }
        if let Some(error) = error {
            let reason = error.to_string();
            if let Some(number) = self.shared.link.number() {
                self.shared.link.broke(number, &error);
            }
            self.restart_all(&reason);
        } else if self.cache_bytes() > self.shared.cache_bytes {
            self.shrink();
        }
    }

    /// Which lanes the store has is not known any more, of no partition of this thread.
    fn restart_all(&mut self, reason: &str) {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.end(partition, Ended::Restart(reason.to_owned()));
        }
    }

    fn take_in(&mut self, done: Done) {
        let Done { partition, term, plan, slots, whole, needs_whole, lost, fenced, broken, overtaken, marker } = done;
        let reading = self.partitions.get_mut(&partition).and_then(|known| known.reading.as_mut());
        let Some(reading) = reading.filter(|reading| reading.term == term) else { return };
        if lost {
            StoreLost { partition }.emit(&self.shared.metrics);
            self.end(partition, Ended::Restart("the online store lost writes".to_owned()));
            return;
        }
        if fenced {
            self.end(partition, Ended::Restart("an entity was erased from the view".to_owned()));
            return;
        }
        if let Some(error) = broken {
            self.end(partition, Ended::of(error));
            return;
        }
        if overtaken && reading.until < i64::MAX {
            // What has an end would wait for its own marker there for ever; and what another has read need not be read again.
            self.end(partition, Ended::Restart("another process has read further".to_owned()));
            return;
        }
        let state = &mut reading.plans[plan];
        if state.is_deferred() && whole.is_empty() && !needs_whole.is_empty() {
            // Of the last writes nothing was kept that a whole lane could be made of.
            self.end(partition, Ended::Restart("another process has written the same rows".to_owned()));
            return;
        }
        // What has an end is a replay of history, of which no age says how fresh anything is.
        if reading.until == i64::MAX {
            let view = &self.shared.plans[plan].plan().view.name;
            state.flown.readable(now_ms(), &self.shared.metrics.freshness(view));
        }
        state.cache.written(&slots);
        state.cache.written_whole(&slots, whole);
        for slot in &needs_whole {
            state.cache.needs_whole(*slot);
        }
        if !needs_whole.is_empty() {
            self.pace.hurry(Instant::now());
        }
        if let Some(marker) = marker {
            state.marker = Some(marker);
            state.marked = Some(Instant::now());
            let all = reading.plans.iter().map(|plan| plan.marker.map_or(i64::MIN, |marker| marker.offset)).min();
            if let Some(offset) = all.filter(|offset| *offset >= 0) {
                self.shared.stored(partition, offset);
                if offset >= reading.until {
                    // The coordinator is gone only at the very end.
                    drop(self.requests.send(Request::Reached { partition, term }));
                }
            }
        }
    }

    /// Flushes until nothing is left to write, or `limit` has passed. Nothing is polled meanwhile.
    pub(super) fn flush_all(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.shared.dead_letters.flush(limit / 2);
        self.wait_for_flight(deadline);
        // A second round writes what was superseded by another owner in the first; more than that is another's now. None
        // begins behind a flush that is still under way: its marker might pass what that one has yet to write.
        for _ in 0..3 {
            if self.flight.is_some() || Instant::now() >= deadline {
                break;
            }
            self.begin_flight();
            self.wait_for_flight(deadline);
            if self.changed() == 0 {
                break;
            }
        }
        if self.changed() > 0 {
            tracing::warn!(lanes = self.changed(), "left without flushing; the next owner reads them anew");
        }
    }

    /// Waits for the flush that is under way; one that has not ended by `deadline` stays under way.
    fn wait_for_flight(&mut self, deadline: Instant) {
        let Some(flight) = &mut self.flight else { return };
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(report) = self.shared.runtime.block_on(async { tokio::time::timeout(left, flight).await }) {
            self.landed(report.ok());
        }
    }
}
