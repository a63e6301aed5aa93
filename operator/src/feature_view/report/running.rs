//! What a report says of the revisions that run: in which mode, with which Architecture, over which archive. Pure.

use crds::FeatureViewStatus;
use crds::architecture::Mode;
use crds::feature_view::{ArchivedTopic, RunningRevision, ServingArchitecture};
use engine::plan::Plan;
use kube::ResourceExt as _;

use super::Round;
use crate::feature_view::{belonging, history, migration};

impl Round<'_> {
    /// The plan of what reads go to after this round.
    pub(super) fn live_plan(&self) -> Option<&Plan> {
        self.plans.get(&self.active()?).map(AsRef::as_ref)
    }

    /// The mode of what reads go to after this round.
    pub(super) fn mode(&self, previous: &FeatureViewStatus) -> Option<Mode> {
        let active = self.active()?;
        let known = previous.mode.filter(|_| previous.active_revision.as_ref() == Some(&active));
        migration::mode(self.observed, self.plans, &active).or(known)
    }

    /// The revisions that run after this round.
    pub(super) fn revisions(&self, previous: &FeatureViewStatus) -> Vec<RunningRevision> {
        let memory = self.memory();
        let mut all: Vec<RunningRevision> = Vec::new();
        for revision in memory.active.iter().chain(&memory.previous).chain(&memory.candidate) {
            let known = previous.revisions.iter().find(|r| r.revision == *revision).cloned();
            if !all.iter().any(|r| r.revision == *revision) {
                all.extend(self.running(revision).or(known));
            }
        }
        all
    }

    fn running(&self, revision: &str) -> Option<RunningRevision> {
        let wanted = self.decision.wanted.as_deref();
        let mode = migration::mode(self.observed, self.plans, revision)?;
        let architecture = history::architecture(self.observed, revision, wanted)?.name_any();
        let spec = &history::view(self.observed, revision, wanted).spec;
        let archive = spec.source.topic.clone().filter(|_| spec.archive || mode == Mode::Lakehouse);
        let archive = archive.map(|topic| ArchivedTopic { topic, timestamp: spec.source.timestamp.clone() });
        Some(RunningRevision { revision: revision.to_owned(), mode, architecture, archive })
    }

    /// Whose servers answer for the view after this round.
    pub(super) fn architectures(&self, previous: &FeatureViewStatus) -> Vec<ServingArchitecture> {
        if self.memory().active.is_none() && previous.architectures.is_empty() {
            return Vec::new();
        }
        let mut serving = belonging::serving(self.observed, previous, self.now);
        serving.retain(|architecture| !self.acted.left.contains(&architecture.uid));
        serving
    }
}
