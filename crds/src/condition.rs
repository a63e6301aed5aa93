//! Conditions as every Kubernetes API has them, and the types and reasons of ours.
//!
//! Types and reasons are part of the API: they are never renamed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of an object's state; the same fields as `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The `metadata.generation` this was observed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// One stable word in capitals and small letters, such as `CaughtUp`.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// One sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The condition types, in the order in which they are reported.
pub mod types {
    /// The spec as written is in effect and served.
    pub const READY: &str = "Ready";
    /// Work towards the spec is moving.
    pub const RECONCILING: &str = "Reconciling";
    /// A person is needed.
    pub const STALLED: &str = "Stalled";
    /// The spec can be carried out.
    pub const SPEC_ACCEPTED: &str = "SpecAccepted";
    /// The newest revision has read its source up to now.
    pub const CAUGHT_UP: &str = "CaughtUp";
    /// The newest revision's values are those of the one before it, but for changes that were announced.
    pub const COMPARISON_PASSED: &str = "ComparisonPassed";
    /// The revision before is kept, and can be gone back to at once.
    pub const ROLLBACK_AVAILABLE: &str = "RollbackAvailable";
    /// What is served is as young as it should be: the lag exceeds no tier, and the horizon of the served generation is no older
    /// than its target.
    pub const FRESH: &str = "Fresh";
    /// There are fewer workers than the lag asks for.
    pub const SCALING_LIMITED: &str = "ScalingLimited";
    /// The values that are served look as they did, and are what their history gives, as far as that is checked.
    pub const SOUND: &str = "Sound";
    /// The work is done; only of what is done once, in the words of a Job.
    pub const COMPLETE: &str = "Complete";
    /// The work is given up; only of what is done once, in the words of a Job.
    pub const FAILED: &str = "Failed";
}

/// The reasons of all conditions and events.
pub mod reasons {
    /// Everything is as written.
    pub const HEALTHY: &str = "Healthy";
    /// The spec was found valid.
    pub const ACCEPTED: &str = "Accepted";
    /// The spec cannot be carried out; the message names the field.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// `spec.architectureRef` names no Architecture of this namespace.
    pub const ARCHITECTURE_NOT_FOUND: &str = "ArchitectureNotFound";
    /// The newest revision is reading its source.
    pub const CATCHING_UP: &str = "CatchingUp";
    /// The newest revision has read its source up to now.
    pub const CAUGHT_UP: &str = "CaughtUp";
    /// The newest revision is being compared with the one that serves.
    pub const COMPARING: &str = "Comparing";
    /// A comparison began.
    pub const COMPARISON_STARTED: &str = "ComparisonStarted";
    /// The newest revision's values are as announced.
    pub const COMPARISON_PASSED: &str = "ComparisonPassed";
    /// The newest revision's values are not as announced.
    pub const COMPARISON_FAILED: &str = "ComparisonFailed";
    /// A comparison came to no verdict; it is made again.
    pub const NO_VERDICT: &str = "NoVerdict";
    /// Nothing was compared.
    pub const NOT_COMPARED: &str = "NotCompared";
    /// The live pointer is being moved.
    pub const PROMOTING: &str = "Promoting";
    /// Too few pods are ready.
    pub const WORKLOAD_UNAVAILABLE: &str = "WorkloadUnavailable";
    /// The API server makes no pod of a workload: a quota or an admission rule refuses it.
    pub const POD_REFUSED: &str = "PodRefused";
    /// No node has room for a pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// A pod's image cannot be had.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// A pod's container cannot be made: a Secret or ConfigMap that it names is missing.
    pub const CONTAINER_REFUSED: &str = "ContainerRefused";
    /// A pod's process ended with an error.
    pub const CRASHING: &str = "Crashing";
    /// A worker says of itself that it is not ready.
    pub const WORKER_NOT_READY: &str = "WorkerNotReady";
    /// The online store takes no writes: it is full, a replica, or cannot save.
    pub const STORE_REFUSES_WRITES: &str = "StoreRefusesWrites";
    /// A plan that a worker cannot run.
    pub const PLAN_REFUSED: &str = "PlanRefused";
    /// A topic that does not exist or may not be described.
    pub const TOPIC_MISSING: &str = "TopicMissing";
    /// A topic that does not keep every event.
    pub const TOPIC_COMPACTED: &str = "TopicCompacted";
    /// The dead-letter topic is another view's.
    pub const FOREIGN_DEAD_LETTERS: &str = "ForeignDeadLetters";
    /// The brokers do not take dead letters.
    pub const DEAD_LETTERS_REFUSED: &str = "DeadLettersRefused";
    /// The topic no longer holds what was not read yet.
    pub const SOURCE_GAP: &str = "SourceGap";
    /// The topic ends before what was read of it.
    pub const SOURCE_RESET: &str = "SourceReset";
    /// The brokers do not answer.
    pub const KAFKA_UNREACHABLE: &str = "KafkaUnreachable";
    /// The settings of the Kafka client are wrong.
    pub const KAFKA_REFUSED: &str = "KafkaRefused";
    /// A Deployment is being rolled.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// The online store does not answer.
    pub const STORE_UNREACHABLE: &str = "StoreUnreachable";
    /// A referenced Secret does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// The object is being deleted and cleaned up after.
    pub const TERMINATING: &str = "Terminating";
    /// Views still refer to the Architecture that is being deleted.
    pub const IN_USE: &str = "InUse";
    /// The old revision's workers, group and rows are being removed.
    pub const RETIRING: &str = "Retiring";
    /// Nothing is being done.
    pub const IDLE: &str = "Idle";
    /// Nothing is known yet.
    pub const PENDING: &str = "Pending";
    /// A new revision runs beside the one that serves.
    pub const ROLLOUT_STARTED: &str = "RolloutStarted";
    /// The new revision has caught up and waits for a person's word.
    pub const AWAITING_PROMOTION: &str = "AwaitingPromotion";
    /// `spec.rollout.paused` is set.
    pub const PAUSED: &str = "Paused";
    /// The newest revision became live.
    pub const PROMOTED: &str = "Promoted";
    /// The revision before is kept and goes on reading its source.
    pub const SOAKING: &str = "Soaking";
    /// The soak is over: the revision before is no longer kept.
    pub const SOAKED: &str = "Soaked";
    /// No revision was served before this one.
    pub const NO_PREVIOUS_REVISION: &str = "NoPreviousRevision";
    /// The new revision did not catch up within `spec.rollout.catchUp.deadlineSeconds`.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// Nothing of the newest revision advanced for too long, and it was given up.
    pub const NO_PROGRESS: &str = "NoProgress";
    /// The newest revision's history is read again, by a Job.
    pub const REPLAYING: &str = "Replaying";
    /// The offsets of a replay were captured.
    pub const REPLAY_STARTED: &str = "ReplayStarted";
    /// A replay's Job is complete.
    pub const REPLAY_COMPLETED: &str = "ReplayCompleted";
    /// A replay's Job failed.
    pub const REPLAY_FAILED: &str = "ReplayFailed";
    /// A replay is to begin in the topic's archive, and it has none.
    pub const NOT_ARCHIVED: &str = "NotArchived";
    /// The topic no longer holds what the longest window needs.
    pub const RETENTION_TOO_SHORT: &str = "RetentionTooShort";
    /// A person gave up the new revision.
    pub const ABORTED_BY_USER: &str = "AbortedByUser";
    /// `spec.rollout.servingRevision` holds the served revision, whatever the spec says.
    pub const PINNED: &str = "Pinned";
    /// `spec.rollout.servingRevision` names a revision of which nothing is known.
    pub const REVISION_UNAVAILABLE: &str = "RevisionUnavailable";
    /// An annotation asks for something that is not to be done.
    pub const REQUEST_IGNORED: &str = "RequestIgnored";
    /// The view waits for its turn to follow a change of its Architecture's mode.
    pub const AWAITING_MIGRATION: &str = "AwaitingMigration";
    /// Views follow a change of the Architecture's mode.
    pub const MIGRATING: &str = "Migrating";
    /// Views that were given up keep the others from following a change of the Architecture's mode.
    pub const MIGRATION_HALTED: &str = "MigrationHalted";
    /// A newer edit took the candidate's place.
    pub const SUPERSEDED: &str = "Superseded";
    /// What a deleted view left in the online store or Kafka was removed.
    pub const PURGED: &str = "Purged";
    /// What a deleted view left in the online store or Kafka could not be removed in time.
    pub const LEFT_BEHIND: &str = "LeftBehind";
    /// The online store no longer had what is served; it is computed anew from what the source still holds.
    pub const STORE_LOST: &str = "StoreLost";

    /// No batch run has published a generation yet.
    pub const NO_GENERATION: &str = "NoGeneration";
    /// A batch run published a generation.
    pub const GENERATION_PUBLISHED: &str = "GenerationPublished";
    /// The quality gate refused a generation; the one before is served on.
    pub const GENERATION_REFUSED: &str = "GenerationRefused";
    /// `spec.servingGeneration` names a generation that cannot be served.
    pub const GENERATION_UNAVAILABLE: &str = "GenerationUnavailable";
    /// An earlier revision or generation is served again.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// A batch run failed; the generation before is served on.
    pub const RUN_FAILED: &str = "RunFailed";
    /// The horizon is within its target.
    pub const WITHIN_TARGET: &str = "WithinTarget";
    /// The horizon is older than its target.
    pub const OVERDUE: &str = "Overdue";

    /// The lag exceeds no tier.
    pub const ON_TIME: &str = "OnTime";
    /// The lag exceeds the most urgent tier, or nothing is read.
    pub const LAG_TIER_1: &str = "LagTier1";
    /// The lag exceeds the second tier.
    pub const LAG_TIER_2: &str = "LagTier2";
    /// The lag exceeds the third tier.
    pub const LAG_TIER_3: &str = "LagTier3";
    /// A tier is exceeded that was not before.
    pub const LAG_TIER_1_RAISED: &str = "LagTier1Raised";
    /// As above.
    pub const LAG_TIER_2_RAISED: &str = "LagTier2Raised";
    /// As above.
    pub const LAG_TIER_3_RAISED: &str = "LagTier3Raised";
    /// A tier is no longer exceeded.
    pub const LAG_TIER_CLEARED: &str = "LagTierCleared";

    /// `spec.replicas` says how many workers there are.
    pub const FIXED: &str = "Fixed";
    /// An autoscaler says by `spec.replicas` how many workers there are.
    pub const EXTERNAL: &str = "External";
    /// There are as many workers as the lag asks for.
    pub const DESIRED_WITHIN_RANGE: &str = "DesiredWithinRange";
    /// The workers that were asked for are not all ready; no more are asked for until they are.
    pub const AWAITING_WORKERS: &str = "AwaitingWorkers";
    /// The lag asks for more workers than `spec.scaling.maxReplicas`.
    pub const TOO_MANY_REPLICAS: &str = "TooManyReplicas";
    /// The lag asks for more workers than the topic has partitions.
    pub const TOO_FEW_PARTITIONS: &str = "TooFewPartitions";
    /// More workers did not read more.
    pub const SCALING_INEFFECTIVE: &str = "ScalingIneffective";
    /// There are more workers than before.
    pub const SCALED_UP: &str = "ScaledUp";
    /// There are fewer workers than before.
    pub const SCALED_DOWN: &str = "ScaledDown";
    /// No check found anything.
    pub const SOUND: &str = "Sound";
    /// `spec.monitoring` asks for no checks.
    pub const NOT_MONITORED: &str = "NotMonitored";
    /// A feature's values are far from their reference.
    pub const FEATURE_DRIFTED: &str = "FeatureDrifted";
    /// What is served is not what its history gives.
    pub const VALUES_SKEWED: &str = "ValuesSkewed";
    /// A check came to no result.
    pub const CHECK_FAILED: &str = "CheckFailed";

    /// The Architecture's own spec cannot be carried out.
    pub const ARCHITECTURE_NOT_ACCEPTED: &str = "ArchitectureNotAccepted";
    /// What is done once is done.
    pub const SUCCEEDED: &str = "Succeeded";
    /// What is done once is under way.
    pub const RUNNING: &str = "Running";
    /// What is done once was given up.
    pub const JOB_FAILED: &str = "JobFailed";
    /// A view that is named does not exist, or belongs to another Architecture.
    pub const VIEW_NOT_FOUND: &str = "ViewNotFound";
    /// A view that is named has no revision that could be asked yet.
    pub const VIEW_NOT_READY: &str = "ViewNotReady";
    /// The revision that a `FeatureReplay` names is not the one that serves.
    pub const REVISION_NOT_LIVE: &str = "RevisionNotLive";
    /// Another `FeatureReplay` of the view comes first.
    pub const AWAITING_REPLAY: &str = "AwaitingReplay";
    /// A `FeatureReplay` says what it would read.
    pub const DRY_RUN: &str = "DryRun";
    /// A view keeps no events in tables, so nothing can be asked of its past.
    pub const NO_OFFLINE_SIDE: &str = "NoOfflineSide";
    /// No view has the entity's keys.
    pub const NO_VIEW_MATCHES: &str = "NoViewMatches";

    /// The reasons that workers give for themselves.
    const OF_WORKERS: [&str; 10] = [
        PLAN_REFUSED,
        TOPIC_MISSING,
        TOPIC_COMPACTED,
        FOREIGN_DEAD_LETTERS,
        DEAD_LETTERS_REFUSED,
        SOURCE_GAP,
        SOURCE_RESET,
        STORE_UNREACHABLE,
        KAFKA_UNREACHABLE,
        KAFKA_REFUSED,
    ];

    /// A reason that a worker gives, as one of ours; of another version of it, that it is not ready.
    #[must_use]
    pub fn of_worker(reason: &str) -> &'static str {
        OF_WORKERS.into_iter().find(|known| *known == reason).unwrap_or(WORKER_NOT_READY)
    }

    /// Whether what a worker gives as its reason can heal without a person.
    #[must_use]
    pub fn passes(reason: &str) -> bool {
        [STORE_UNREACHABLE, KAFKA_UNREACHABLE, DEAD_LETTERS_REFUSED, WORKER_NOT_READY].contains(&reason)
    }
}
