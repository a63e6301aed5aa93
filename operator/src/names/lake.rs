//! The names of what belongs to tables: batch runs, archives, and the tables themselves.

use crds::{Architecture, FeatureView};
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

/// The longest name that Kubernetes takes for a CronJob: it adds eleven characters for each of its Jobs.
const MAX_CRON_JOB: usize = 52;

/// The CronJob of one revision's batch runs.
#[must_use]
pub fn batch_cron_job(view: &str, revision: &str) -> String {
    fitted(view, &format!("-batch-{revision}"))
}

/// The CronJob of the checks of one revision's values; `component` is `drift` or `skew`.
#[must_use]
pub fn check_cron_job(view: &str, component: &str, revision: &str) -> String {
    fitted(view, &format!("-{component}-{revision}"))
}

/// The Job that computes a new revision without waiting for its schedule.
#[must_use]
pub fn first_job(view: &str, revision: &str) -> String {
    format!("{}-first", batch_cron_job(view, revision))
}

/// The ConfigMap of one configuration of batch runs.
#[must_use]
pub fn batch_config_map(view: &str, hash: &str) -> String {
    format!("{view}-batch-{hash}")
}

/// The Deployment that archives a topic.
#[must_use]
pub fn archive(architecture: &str, topic: &str) -> String {
    format!("{architecture}-archive-{}", topic_hash(topic))
}

/// The CronJob that keeps a topic's archive in order.
#[must_use]
pub fn maintenance(architecture: &str, topic: &str) -> String {
    fitted(architecture, &format!("-maintain-{}", topic_hash(topic)))
}

/// A topic as a label's value: topics may be longer, and have characters that labels have not.
#[must_use]
pub fn topic_hash(topic: &str) -> String {
    hex(topic.as_bytes(), 8)
}

/// The folder of an architecture's tables, without a slash at its end.
#[must_use]
pub fn lake(architecture: &Architecture) -> Option<String> {
    Some(architecture.spec.offline_store.as_ref()?.delta.uri.trim_end_matches('/').to_owned())
}

/// The archive of a topic.
#[must_use]
pub fn bronze_table(lake: &str, topic: &str) -> String {
    format!("{lake}/bronze/{topic}")
}

/// A table of a view; `layer` is `silver` or `gold`.
#[must_use]
pub fn view_table(lake: &str, layer: &str, view: &FeatureView) -> String {
    format!("{lake}/{layer}/{}.{}", view.namespace().unwrap_or_default(), view.name_any())
}

/// The first `digits` hex digits of the SHA-256 of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8], digits: usize) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Sha256::digest(bytes).iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).take(digits).collect()
}

/// `name` and `suffix`, with the name cut and told apart by a hash where they would be too long for a CronJob.
fn fitted(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= MAX_CRON_JOB {
        return format!("{name}{suffix}");
    }
    // Names of roots are ASCII.
    let end = MAX_CRON_JOB.saturating_sub(suffix.len() + 7).min(name.len());
    format!("{}-{}{suffix}", name[..end].trim_end_matches('-'), hex(name.as_bytes(), 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_jobs_of_the_longest_names_fit_and_differ() {
        let (a, b) = ("a".repeat(40), format!("{}b", "a".repeat(39)));
        let [first, second] = [&a, &b].map(|name| batch_cron_job(name, "0123456789"));
        assert!(first.len() <= MAX_CRON_JOB && first.ends_with("-batch-0123456789"), "{first}");
        assert_ne!(first, second);
        assert_eq!(batch_cron_job("clicks", "0123456789"), "clicks-batch-0123456789");
        assert!(maintenance(&a, "clicks").len() <= MAX_CRON_JOB);
        assert!(first_job(&a, "0123456789").len() <= 63);
    }
}
