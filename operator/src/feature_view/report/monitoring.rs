//! What a report says of checks of the values that are served, and condition `Sound`. Pure.

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::{DriftStatus, MonitoringStatus};
use engine::row::RunOutcome;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::{Round, Verdict};
use crate::feature_view::monitoring::figures::Figures;
use crate::feature_view::monitoring::{is_check, told};
use crate::feature_view::observe::{StoreView, revision_of};
use crate::jobs;
use crate::lag::figures::View;
use crate::names::{COMPONENT_LABEL, DRIFT, SKEW};

/// The index above which a generation's feature has drifted, where the view says nothing else.
const MAX_PSI: &str = "0.25";

impl Round<'_> {
    /// What was found last of the values of the live revision.
    pub(super) fn monitoring(&self, previous: &FeatureViewStatus) -> Option<MonitoringStatus> {
        let active = self.active()?;
        let wanted = self.observed.view.spec.monitoring.as_deref();
        let before = previous.monitoring.as_deref();
        let known = match self.store {
            // What moves now was not read in this round.
            StoreView::Known(facts) if self.acted.moved.is_none() => Some(&facts.checks),
            _ => None,
        };
        let drift = match wanted.and_then(|wanted| wanted.drift.as_ref()) {
            Some(watch) => match known {
                Some(checks) => checks.drift.as_ref().map(|report| told::drift(report, watch)),
                None => before.and_then(|before| before.drift.clone()),
            },
            None => self.of_generation(before.and_then(|before| before.drift.as_ref())),
        };
        let skew = wanted.and_then(|wanted| wanted.skew.as_ref()).and_then(|watch| match known {
            Some(checks) => checks.skew.as_ref().map(|report| told::skew(report, watch)),
            None => before.and_then(|before| before.skew.clone()),
        });
        let status = MonitoringStatus {
            drift: drift.filter(|drift| drift.revision == active),
            skew: skew.filter(|skew| skew.revision == active),
        };
        (status != MonitoringStatus::default()).then_some(status)
    }

    /// How far the generation that is served is from the one before, as its quality gate saw; what was known while that is not.
    fn of_generation(&self, before: Option<&DriftStatus>) -> Option<DriftStatus> {
        let plan = self.live_plan().filter(|plan| plan.mode.has_generations())?;
        let before =
            before.filter(|before| before.revision == plan.revision && before.reference.as_deref() != Some("Baseline"));
        let head = self.served_head().filter(|head| head.generation > 0);
        // The run that was read is the target's.
        let run = self.report().filter(|_| self.serves_target());
        match (head, run) {
            (Some(head), Some(run)) if run.outcome == RunOutcome::Published && run.generation == head.generation => {
                Some(told::generation(run, &plan.revision, MAX_PSI))
            }
            _ => before.cloned(),
        }
    }

    /// Whether the values that are served are sound, as far as they are checked.
    pub(super) fn sound(&self, status: Option<&MonitoringStatus>) -> Verdict {
        let unknown = |reason, message: String| (ConditionStatus::Unknown, reason, message);
        if let Some((reason, message)) = status.and_then(told::finding) {
            return (ConditionStatus::False, reason, message);
        }
        if let Some(why) = &self.applied.check_refused {
            return unknown(reasons::INVALID_SPEC, format!("spec.monitoring: {why}"));
        }
        if let Some(message) = self.failed_check() {
            return unknown(reasons::CHECK_FAILED, message);
        }
        let wanted = self.observed.view.spec.monitoring.as_deref();
        let (drift, skew) = (status.and_then(|s| s.drift.as_ref()), status.and_then(|s| s.skew.as_ref()));
        let awaited = wanted.and_then(|wanted| match (&wanted.drift, &wanted.skew) {
            (Some(watch), _) if drift.is_none() => Some((DRIFT, &watch.schedule)),
            (_, Some(watch)) if skew.is_none() => Some((SKEW, &watch.schedule)),
            _ => None,
        });
        if let Some((check, schedule)) = awaited {
            return unknown(
                reasons::PENDING,
                format!("the first {check} check has not ended; its schedule is {schedule:?}"),
            );
        }
        if let Some(message) = status.zip(wanted).and_then(|(status, wanted)| told::says_nothing(status, wanted)) {
            return unknown(reasons::PENDING, message);
        }
        match status {
            Some(status) => (ConditionStatus::True, reasons::SOUND, told::well(status)),
            None => unknown(reasons::NOT_MONITORED, "spec.monitoring asks for no checks".to_owned()),
        }
    }

    /// Shows what status says of checks as metrics.
    pub fn show_checks(&self, figures: &Figures, status: &FeatureViewStatus) {
        let view = &self.observed.view;
        let labels = View { namespace: view.namespace().unwrap_or_default(), feature_view: view.name_any() };
        let failed = view.spec.monitoring.as_ref().map(|_| self.failed_check().is_some());
        figures.show(&view.uid().unwrap_or_default(), &labels, status.monitoring.as_deref(), failed);
    }

    /// Why the newest check of either sort that has ended came to no result, if it did not: one that is under way says nothing yet.
    pub(super) fn failed_check(&self) -> Option<String> {
        let active = self.active()?;
        [DRIFT, SKEW].into_iter().find_map(|component| {
            let mine = |job: &&Job| {
                is_check(*job)
                    && jobs::is_finished(job)
                    && job.labels().get(COMPONENT_LABEL).is_some_and(|c| c == component)
                    && revision_of(*job) == Some(active.as_str())
            };
            let newest = self.observed.jobs.iter().filter(mine).max_by_key(|job| jobs::begun(job))?;
            let why = jobs::failure(newest)?;
            let name = newest.name_any();
            Some(format!("Job {name} came to no result: {why}; kubectl logs job/{name} says more"))
        })
    }
}
