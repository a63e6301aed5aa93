//! The operator: turns `FeatureView`s and `Architecture`s into plans, workers and servers, moves each view from one revision
//! to the next without a wrong read, and does once what `TrainingSet`s and `Erasure`s ask for.
//!
//! The way of one round: `observe` reads, `resolve`, `phase`, `desire` and `report` decide and are pure, [`apply`] writes to
//! Kubernetes, `act` to the online store. Only [`run`] knows the controller runtime.

pub mod alertmanager;
pub mod apply;
pub mod architecture;
pub mod args;
pub mod client;
pub mod conditions;
pub mod console;
pub mod context;
pub mod edges;
pub mod erasure;
pub mod error;
mod events;
pub mod feature_replay;
pub mod feature_view;
pub mod freshness;
mod jobs;
pub mod lag;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod once;
mod pods;
pub mod purge;
pub mod run;
pub mod scaling;
pub mod settings;
pub mod training_set;
pub mod trouble;
pub mod watch;
pub mod workload;

use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::controller::Action;

/// When an object is looked at again although nothing changed: spread by UID, so that not all come at once.
fn resync<K: apply::Object>(context: &context::Context, object: &K) -> Action {
    Action::requeue(resync_after(context, object))
}

/// How long after that is.
fn resync_after<K: apply::Object>(context: &context::Context, object: &K) -> Duration {
    let seconds = context.settings.resync_seconds;
    let spread =
        object.uid().unwrap_or_default().bytes().fold(0_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    Duration::from_secs(seconds + spread % (seconds / 5 + 1))
}
