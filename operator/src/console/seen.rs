//! A `FeatureView` as it was seen: decoded part by part, so that what one version of the operator does not know, or cannot
//! read, does not hide the rest. Pure.

use crds::condition::{Condition, ConditionStatus, reasons, types};
use crds::feature_view::FeatureViewSpec;
use crds::{Architecture, FeatureViewStatus};
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conditions::find;

/// A view.
#[derive(Clone, Debug)]
pub struct Seen {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub created: Option<String>,
    pub deleted: bool,
    /// Whether status is of the newest spec.
    pub observed: bool,
    /// The spec, or why it does not read.
    pub spec: Result<FeatureViewSpec, String>,
    pub status: FeatureViewStatus,
    /// As it was measured; none if nobody measures it.
    pub lag: Option<Lag>,
    /// The first thing of status that does not read.
    pub problem: Option<String>,
}

/// How far the active revision is behind its topic. What is not measured is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// The most urgent tier that holds; none if it is on time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_per_second: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalled_partitions: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_partitions: Vec<i32>,
    /// Whether there are records and none is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl Seen {
    /// What an object says.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or(Value::Null);
        let mut status = part("status");
        let lag = status.as_object_mut().and_then(|status| status.remove("lag")).and_then(|lag| decoded(lag).ok());
        let observed = status.get("observedGeneration").and_then(Value::as_i64) == object.metadata.generation;
        let read = if status.is_null() { Ok(FeatureViewStatus::default()) } else { decoded(status.take()) };
        let (status, problem) = match read {
            Ok(status) => (status, None),
            Err(problem) => (FeatureViewStatus::default(), Some(format!("status does not read: {problem}"))),
        };
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            created: object.creation_timestamp().map(|time| time.0.to_string()),
            deleted: object.metadata.deletion_timestamp.is_some(),
            observed,
            spec: decoded(part("spec")),
            status,
            lag,
            problem,
        }
    }

    /// A condition.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        find(&self.status.conditions, type_)
    }

    /// Whether a condition stands and has a status.
    pub fn is(&self, type_: &str, status: ConditionStatus) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == status)
    }

    /// What is served is older than promised, and that is nothing that was meant: not a first reading, nor a suspension.
    pub fn stale(&self) -> Option<&Condition> {
        let meant = [reasons::CATCHING_UP, reasons::SUSPENDED];
        let fresh = self.condition(types::FRESH)?;
        (fresh.status == ConditionStatus::False && !meant.contains(&fresh.reason.as_str())).then_some(fresh)
    }

    /// Nobody knows how far it is behind, and why: what was measured before is no longer how it is.
    pub fn unmeasured(&self) -> Option<&Condition> {
        let why = [reasons::STORE_UNREACHABLE, reasons::KAFKA_UNREACHABLE, reasons::TOPIC_MISSING];
        let fresh = self.condition(types::FRESH)?;
        (fresh.status == ConditionStatus::Unknown && why.contains(&fresh.reason.as_str())).then_some(fresh)
    }

    /// Whether a person is needed.
    pub fn stalled(&self) -> bool {
        self.is(types::STALLED, ConditionStatus::True)
    }
}

/// An Architecture, or why it does not read.
pub fn architecture(object: &DynamicObject) -> Result<Architecture, String> {
    let mut data = object.data.clone();
    let metadata = serde_json::to_value(&object.metadata).map_err(|error| error.to_string())?;
    if let Some(fields) = data.as_object_mut() {
        fields.insert("metadata".to_owned(), metadata);
        fields.insert("apiVersion".to_owned(), "featuremill.dev/v1alpha1".into());
        fields.insert("kind".to_owned(), "Architecture".into());
    }
    decoded(data)
}

/// An address without what is nobody's business: user, password, and a query that may hold a signature. The container of
/// `abfss://container@account` is no user.
pub fn without_credentials(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let shown = match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') || !scheme.starts_with("abfs") => host,
        _ => authority,
    };
    format!("{scheme}://{shown}{path}")
}

fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::fixtures::view;
    use serde_json::json;

    #[test]
    fn addresses_lose_their_credentials_and_nothing_else() {
        for (uri, shown) in [
            ("s3://lake/shop/clicks", "s3://lake/shop/clicks"),
            ("s3://key:secret@lake/shop?X-Amz-Signature=1#x", "s3://lake/shop"),
            ("redis://user@redis:6379/0", "redis://redis:6379/0"),
            ("abfss://box@account.dfs.core.windows.net/a", "abfss://box@account.dfs.core.windows.net/a"),
            ("abfss://a:b@account/x", "abfss://account/x"),
            ("file:///lake/a@b", "file:///lake/a@b"),
        ] {
            assert_eq!(without_credentials(uri), shown);
        }
    }

    #[test]
    fn what_does_not_read_hides_nothing_else() {
        let mut object = view(json!({"phase": "Live", "lag": {"seconds": 4, "unknown": true}}));
        object.data["spec"]["features"] = json!("none");
        let seen = Seen::of(&object);
        assert!(seen.spec.is_err());
        assert_eq!((seen.status.phase.as_deref(), seen.lag.and_then(|lag| lag.seconds)), (Some("Live"), Some(4)));

        let seen = Seen::of(&view(json!({"phase": 7, "lag": {"seconds": "many"}})));
        assert!(seen.spec.is_ok() && seen.problem.is_some_and(|p| p.contains("status does not read")));
        assert_eq!(seen.lag, None);
    }
}
