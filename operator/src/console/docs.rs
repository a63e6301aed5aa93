//! The pages of the documentation that alerts lead to, built in, so that they are those of this version and at hand where
//! nothing else can be reached.

use crds::condition::reasons;
use serde::Serialize;

/// A page by its name, as it is written.
pub const PAGES: [(&str, &str); 14] = [
    ("reasons", include_str!("../../../docs/reasons.md")),
    ("FeaturemillLagTier1", include_str!("../../../docs/runbooks/FeaturemillLagTier1.md")),
    ("FeaturemillLagTier2", include_str!("../../../docs/runbooks/FeaturemillLagTier2.md")),
    ("FeaturemillLagTier3", include_str!("../../../docs/runbooks/FeaturemillLagTier3.md")),
    ("FeaturemillFeatureDrift", include_str!("../../../docs/runbooks/FeaturemillFeatureDrift.md")),
    ("FeaturemillFeatureSkew", include_str!("../../../docs/runbooks/FeaturemillFeatureSkew.md")),
    ("FeaturemillCheckFailed", include_str!("../../../docs/runbooks/FeaturemillCheckFailed.md")),
    ("drift", include_str!("../../../docs/drift.md")),
    ("lag", include_str!("../../../docs/lag.md")),
    ("scaling", include_str!("../../../docs/scaling.md")),
    ("rollouts", include_str!("../../../docs/rollouts.md")),
    ("operations", include_str!("../../../docs/operations.md")),
    ("batch", include_str!("../../../docs/batch.md")),
    ("modes", include_str!("../../../docs/modes.md")),
];

/// A section of a page, by its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    pub page: &'static str,
    pub heading: &'static str,
}

/// What to read about a reason.
pub fn runbook(reason: &str) -> Option<Section> {
    let heading = match reason {
        reasons::INVALID_SPEC
        | reasons::PLAN_REFUSED
        | reasons::ARCHITECTURE_NOT_FOUND
        | reasons::ARCHITECTURE_NOT_ACCEPTED
        | reasons::SECRET_NOT_FOUND
        | reasons::REVISION_UNAVAILABLE
        | reasons::GENERATION_UNAVAILABLE => "The spec cannot be carried out",
        reasons::STORE_UNREACHABLE | reasons::STORE_REFUSES_WRITES => "The online store",
        reasons::KAFKA_UNREACHABLE
        | reasons::KAFKA_REFUSED
        | reasons::TOPIC_MISSING
        | reasons::TOPIC_COMPACTED
        | reasons::FOREIGN_DEAD_LETTERS
        | reasons::DEAD_LETTERS_REFUSED => "The topic and its brokers",
        reasons::SOURCE_GAP | reasons::SOURCE_RESET => "A gap in the topic, or a topic made anew",
        reasons::WORKLOAD_UNAVAILABLE
        | reasons::POD_REFUSED
        | reasons::UNSCHEDULABLE
        | reasons::IMAGE_UNAVAILABLE
        | reasons::CONTAINER_REFUSED
        | reasons::CRASHING
        | reasons::WORKER_NOT_READY => "Pods that do not run",
        reasons::OVERDUE | reasons::CATCHING_UP => "Behind",
        reasons::TOO_MANY_REPLICAS
        | reasons::TOO_FEW_PARTITIONS
        | reasons::SCALING_INEFFECTIVE
        | reasons::AWAITING_WORKERS => "Scaling",
        reasons::RUN_FAILED | reasons::GENERATION_REFUSED | reasons::NO_GENERATION => "A batch run",
        reasons::DEADLINE_EXCEEDED
        | reasons::REPLAY_FAILED
        | reasons::NO_PROGRESS
        | reasons::RETENTION_TOO_SHORT
        | reasons::NOT_ARCHIVED
        | reasons::COMPARISON_FAILED
        | reasons::NO_VERDICT
        | reasons::ABORTED_BY_USER => "A rollout that stands still",
        reasons::LAG_TIER_1 => return whole("FeaturemillLagTier1"),
        reasons::LAG_TIER_2 => return whole("FeaturemillLagTier2"),
        reasons::LAG_TIER_3 => return whole("FeaturemillLagTier3"),
        reasons::FEATURE_DRIFTED => return whole("FeaturemillFeatureDrift"),
        reasons::VALUES_SKEWED => return whole("FeaturemillFeatureSkew"),
        reasons::CHECK_FAILED => return whole("FeaturemillCheckFailed"),
        _ => return None,
    };
    Some(Section { page: "reasons", heading })
}

/// A page by its own heading.
#[expect(clippy::unnecessary_wraps, reason = "as its caller answers")]
fn whole(page: &'static str) -> Option<Section> {
    Some(Section { page, heading: page })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn every_section_that_is_led_to_is_there() {
        let led_to = [
            reasons::INVALID_SPEC,
            reasons::STORE_UNREACHABLE,
            reasons::KAFKA_REFUSED,
            reasons::SOURCE_GAP,
            reasons::CRASHING,
            reasons::OVERDUE,
            reasons::LAG_TIER_1,
            reasons::LAG_TIER_2,
            reasons::LAG_TIER_3,
            reasons::SCALING_INEFFECTIVE,
            reasons::FEATURE_DRIFTED,
            reasons::VALUES_SKEWED,
            reasons::CHECK_FAILED,
            reasons::RUN_FAILED,
            reasons::RETENTION_TOO_SHORT,
            reasons::NO_PROGRESS,
            reasons::NOT_ARCHIVED,
        ];
        for reason in led_to {
            let Some(Section { page, heading }) = runbook(reason) else { panic!("{reason} leads nowhere") };
            let text = PAGES.iter().find(|(name, _)| *name == page).map_or("", |(_, text)| text);
            let is_heading = |line: &str| line.trim_start_matches('#').strip_prefix(' ') == Some(heading);
            assert!(text.lines().any(|line| line.starts_with('#') && is_heading(line)), "{reason}: {page}, {heading}");
            // Each is named where it is explained, so that a search for it finds it.
            assert!(text.contains(reason), "{reason} is not in {page}");
        }
        assert_eq!(runbook(reasons::HEALTHY), None);
    }
}
