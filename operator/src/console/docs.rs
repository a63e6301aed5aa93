//! The pages of the documentation that alerts lead to, built in, so that they are those of this version and at hand where
//! nothing else can be reached.

use crds::condition::reasons;
use serde::Serialize;

/// A page by its name, as it is written.
pub const PAGES: [(&str, &str); 5] = [
    ("runbook", include_str!("../../../docs/runbook.md")),
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
        reasons::RUN_FAILED | reasons::GENERATION_REFUSED | reasons::NO_GENERATION => "A batch run",
        reasons::DEADLINE_EXCEEDED
        | reasons::REPLAY_FAILED
        | reasons::RETENTION_TOO_SHORT
        | reasons::COMPARISON_FAILED
        | reasons::NO_VERDICT
        | reasons::ABORTED_BY_USER => "A rollout that stands still",
        lag if lag.starts_with("LagTier") => "Behind",
        _ => return None,
    };
    Some(Section { page: "runbook", heading })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_that_is_led_to_is_there() {
        let headings: Vec<&str> =
            PAGES.iter().filter(|(page, _)| *page == "runbook").flat_map(|(_, text)| text.lines()).collect();
        let led_to = [
            reasons::INVALID_SPEC,
            reasons::STORE_UNREACHABLE,
            reasons::KAFKA_REFUSED,
            reasons::SOURCE_GAP,
            reasons::CRASHING,
            "LagTier1",
            reasons::RUN_FAILED,
            reasons::RETENTION_TOO_SHORT,
        ];
        for reason in led_to {
            let section = runbook(reason).map(|section| format!("## {}", section.heading));
            assert!(section.as_deref().is_some_and(|heading| headings.contains(&heading)), "{reason}: {section:?}");
            // Each is named where it is explained, so that a search for it finds it.
            assert!(reason.starts_with("Lag") || headings.iter().any(|line| line.contains(reason)), "{reason}");
        }
        assert_eq!(runbook(reasons::HEALTHY), None);
    }
}
