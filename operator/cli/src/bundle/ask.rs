//! What a support bundle asks the API server for, and which of what it answers is ours. Pure.
//!
//! Invariant: no Secret is ever asked for, by whatever path.

use std::collections::BTreeSet;

use operator::names::{CONTROLLER, MANAGED_BY_SELECTOR};
use serde_json::Value;

/// What the chart's own objects have in common.
const OPERATOR_SELECTOR: &str = "app.kubernetes.io/component=operator";
/// Whose objects those are, whatever the release is called.
const CHART: &str = "featuremill-";
/// Where the operator is looked for by who may not look everywhere; what README and docs call its namespace.
const OPERATOR_NAMESPACE: &str = "featuremill-system";
/// How many objects one answer may hold.
const PAGE: usize = 500;
/// The most of one log that is read: more than its lines ever are, unless they are enormous.
const LOG_BYTES: usize = 8 << 20;

/// Where is looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    All,
    /// In one namespace.
    Namespace(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// A sort of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    api: &'static str,
    /// Its name in paths and files.
    pub plural: &'static str,
    /// Of which of them.
    selector: Option<&'static str>,
}

const fn kind(api: &'static str, plural: &'static str, selector: Option<&'static str>) -> Kind {
    Kind { api, plural, selector }
}

/// Our own kinds, all of them.
pub const OWN: [Kind; 5] = [
    kind("apis/featuremill.dev/v1alpha1", "architectures", None),
    kind("apis/featuremill.dev/v1alpha1", "featureviews", None),
    kind("apis/featuremill.dev/v1alpha1", "featurereplays", None),
    kind("apis/featuremill.dev/v1alpha1", "trainingsets", None),
    kind("apis/featuremill.dev/v1alpha1", "erasures", None),
];

/// What the operator makes of them.
pub const MADE: [Kind; 10] = [
    kind("apis/apps/v1", "deployments", Some(MANAGED_BY_SELECTOR)),
    kind("apis/apps/v1", "replicasets", Some(MANAGED_BY_SELECTOR)),
    kind("apis/apps/v1", "controllerrevisions", Some(MANAGED_BY_SELECTOR)),
    kind("apis/batch/v1", "cronjobs", Some(MANAGED_BY_SELECTOR)),
    kind("apis/batch/v1", "jobs", Some(MANAGED_BY_SELECTOR)),
    kind("api/v1", "pods", Some(MANAGED_BY_SELECTOR)),
    kind("api/v1", "configmaps", Some(MANAGED_BY_SELECTOR)),
    kind("api/v1", "services", Some(MANAGED_BY_SELECTOR)),
    kind("apis/policy/v1", "poddisruptionbudgets", Some(MANAGED_BY_SELECTOR)),
    kind("apis/networking.k8s.io/v1", "networkpolicies", Some(MANAGED_BY_SELECTOR)),
];

/// By which the operator is found.
pub const OPERATOR: Kind = kind("apis/apps/v1", "deployments", Some(OPERATOR_SELECTOR));

/// What else belongs to it, where it is.
pub const OF_OPERATOR: [Kind; 5] = [
    kind("apis/apps/v1", "replicasets", Some(OPERATOR_SELECTOR)),
    kind("api/v1", "pods", Some(OPERATOR_SELECTOR)),
    kind("api/v1", "services", Some(OPERATOR_SELECTOR)),
    kind("apis/policy/v1", "poddisruptionbudgets", Some(OPERATOR_SELECTOR)),
    kind("apis/networking.k8s.io/v1", "networkpolicies", Some(OPERATOR_SELECTOR)),
];

/// What happened, to whatever: [`happened_to_us`] says to what of ours.
pub const EVENTS: Kind = kind("api/v1", "events", None);

impl Kind {
    /// Whether it is one of ours.
    pub fn is_own(&self) -> bool {
        OWN.contains(self)
    }

    /// The path and query of a page of them.
    pub fn page(&self, scope: &Scope, after: Option<&str>) -> String {
        let Self { api, plural, selector } = self;
        let within = match scope {
            Scope::All => String::new(),
            Scope::Namespace(name) => format!("namespaces/{name}/"),
        };
        let selector = selector.map_or_else(String::new, |selector| format!("&labelSelector={selector}"));
        let after = after.map_or_else(String::new, |after| format!("&continue={after}"));
        format!("/{api}/{within}{plural}?limit={PAGE}{selector}{after}")
    }
}

/// The path of the operator's Lease in its namespace.
pub fn lease(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{CONTROLLER}")
}

/// The path of a definition.
pub fn definition(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

/// The path of what the API server says of itself.
pub const VERSION: &str = "/version";

/// Where the operator is looked for one after the other by who may not list everywhere.
pub fn likely_operator_scopes(scope: &Scope) -> Vec<Scope> {
    let likely = Scope::Namespace(OPERATOR_NAMESPACE.to_owned());
    match scope {
        Scope::Namespace(name) if name != OPERATOR_NAMESPACE => vec![likely, scope.clone()],
        _ => vec![likely],
    }
}

/// Whether an object with the operator's selector is of our chart: others have a component of that name, too.
pub fn is_of_our_chart(object: &Value) -> bool {
    text(object, "/metadata/labels/helm.sh~1chart").starts_with(CHART)
}

/// Whether an event is of one of our kinds, or of one of `objects`, or of a pod or the like that one of them made and that is gone.
pub fn happened_to_us(event: &Value, objects: &[Value]) -> bool {
    let about = &event["involvedObject"];
    if text(about, "/apiVersion").starts_with("featuremill.dev/") {
        return true;
    }
    let (namespace, name, uid) = (text(about, "/namespace"), text(about, "/name"), text(about, "/uid"));
    let derived = ["Pod", "Job", "ReplicaSet"].contains(&text(about, "/kind"));
    objects.iter().any(|object| {
        let made_by = |maker: &str| name.strip_prefix(maker).is_some_and(|rest| rest.starts_with('-'));
        let maker = ["Deployment", "CronJob", "Job"].contains(&text(object, "/kind"));
        let named_so = text(object, "/kind") == text(about, "/kind")
            && text(object, "/metadata/namespace") == namespace
            && text(object, "/metadata/name") == name;
        named_so
            || (!uid.is_empty() && text(object, "/metadata/uid") == uid)
            || (derived
                && maker
                && text(object, "/metadata/namespace") == namespace
                && made_by(text(object, "/metadata/name")))
    })
}

/// When an event was seen last.
pub fn when(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.into_iter().map(|time| text(event, time)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// A text that is asked for, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The file in the bundle.
    pub file: String,
    /// The path and query at the API server.
    pub path: String,
    /// Whether the pod itself answers.
    pub from_pod: bool,
}

/// The logs of all containers of pods, those first that say most: of the operator, then of what is in trouble.
pub fn logs(pods: &[&Value], lines: u32) -> Vec<Text> {
    let mut ordered = pods.to_vec();
    ordered.sort_by_key(|pod| (!is_of_our_chart(pod), !is_troubled(pod)));
    let mut texts = Vec::new();
    for pod in ordered {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        for container in each(pod, "/spec/initContainers").chain(each(pod, "/spec/containers")) {
            let container = text(container, "/name");
            let path = format!(
                "/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&tailLines={lines}&limitBytes={LOG_BYTES}"
            );
            let file = format!("logs/{namespace}/{name}/{container}");
            if began(pod, container) {
                texts.push(Text { file: format!("{file}.log"), path: path.clone(), from_pod: false });
            }
            if began_before(pod, container) {
                texts.push(Text {
                    file: format!("{file}.previous.log"),
                    path: format!("{path}&previous=true"),
                    from_pod: false,
                });
            }
        }
    }
    texts
}

/// The metrics and readiness of pods that run and have an admin port, through the API server.
pub fn metrics(pods: &[&Value]) -> Vec<Text> {
    let mut texts = Vec::new();
    for pod in pods.iter().filter(|pod| text(pod, "/status/phase") == "Running") {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let ports = each(pod, "/spec/containers").flat_map(|container| each(container, "/ports"));
        let Some(port) = ports.filter(|port| text(port, "/name") == "admin").find_map(|p| p["containerPort"].as_u64())
        else {
            continue;
        };
        for (route, ending) in [("metrics", "metrics.txt"), ("readyz", "readyz.json")] {
            texts.push(Text {
                file: format!("metrics/{namespace}/{name}.{ending}"),
                path: format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{route}"),
                from_pod: true,
            });
        }
    }
    texts
}

/// The namespaces of objects.
pub fn namespaces(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| text(object, "/metadata/namespace").to_owned()).collect()
}

/// Whether a pod is not ready, or a container of it ended before.
pub fn is_troubled(pod: &Value) -> bool {
    let statuses = || each(pod, "/status/initContainerStatuses").chain(each(pod, "/status/containerStatuses"));
    let done = text(pod, "/status/phase") == "Succeeded";
    (!done && each(pod, "/status/containerStatuses").any(|status| status["ready"] != Value::Bool(true)))
        || ["Pending", "Failed", "Unknown"].contains(&text(pod, "/status/phase"))
        || statuses().any(|status| status["restartCount"].as_u64().unwrap_or_default() > 0)
}

fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let mut statuses = each(pod, "/status/initContainerStatuses").chain(each(pod, "/status/containerStatuses"));
    statuses.find(|status| text(status, "/name") == container)
}

/// Whether a container has a log at all.
fn began(pod: &Value, container: &str) -> bool {
    let of = |status: &Value| !status["state"]["running"].is_null() || !status["state"]["terminated"].is_null();
    status_of(pod, container).is_some_and(|status| of(status) || !status["lastState"]["terminated"].is_null())
}

/// Whether it was started again, so that there is a log of before.
fn began_before(pod: &Value, container: &str) -> bool {
    status_of(pod, container).is_some_and(|status| !status["lastState"]["terminated"].is_null())
}

/// The text at a pointer, or none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of the list at a pointer.
pub fn each<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_are_asked_for_where_one_looks_and_of_what_is_ours() {
        let [shop, views, pods] = [Scope::Namespace("shop".to_owned()), Scope::All, Scope::All];
        assert_eq!(
            MADE[5].page(&shop, None),
            "/api/v1/namespaces/shop/pods?limit=500&labelSelector=app.kubernetes.io/managed-by=featuremill-operator"
        );
        assert_eq!(OWN[1].page(&views, Some("x")), "/apis/featuremill.dev/v1alpha1/featureviews?limit=500&continue=x");
        assert_eq!(
            OPERATOR.page(&pods, None),
            "/apis/apps/v1/deployments?limit=500&labelSelector=app.kubernetes.io/component=operator"
        );
    }

    #[test]
    fn no_path_is_of_a_secret() {
        let kinds = OWN.iter().chain(&MADE).chain(&OF_OPERATOR).chain([&OPERATOR, &EVENTS]);
        let paths: Vec<String> =
            kinds.map(|kind| kind.page(&Scope::All, None)).chain([lease("a"), definition("b")]).collect();
        assert!(paths.iter().all(|path| !path.contains("secret")), "{paths:?}");
    }

    fn pod(name: &str, status: &Value) -> Value {
        json!({
            "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "initContainers": [{"name": "archive"}],
                "containers": [{"name": "stream", "ports": [{"name": "admin", "containerPort": 8080}]}],
            },
            "status": status,
        })
    }

    #[test]
    fn logs_of_what_is_in_trouble_come_first_with_those_of_before() {
        let running =
            json!({"name": "stream", "ready": true, "restartCount": 0, "state": {"running": {}}, "lastState": {}});
        let well = pod("well", &json!({"phase": "Running", "containerStatuses": [running]}));
        let again = json!({"name": "stream", "ready": false, "restartCount": 2, "state": {"waiting": {}}, "lastState": {"terminated": {}}});
        let ill = pod("ill", &json!({"phase": "Running", "containerStatuses": [again]}));
        let new = pod("new", &json!({"phase": "Pending"}));
        let files: Vec<String> = logs(&[&well, &new, &ill], 100).into_iter().map(|text| text.file).collect();
        assert_eq!(
            files,
            ["logs/shop/ill/stream.log", "logs/shop/ill/stream.previous.log", "logs/shop/well/stream.log"]
        );
        let paths: Vec<String> = logs(&[&ill], 100).into_iter().map(|text| text.path).collect();
        assert!(paths[1].ends_with("container=stream&tailLines=100&limitBytes=8388608&previous=true"), "{paths:?}");
        let asked: Vec<String> = metrics(&[&well, &new]).into_iter().map(|text| text.path).collect();
        let at = "/api/v1/namespaces/shop/pods/well:8080/proxy";
        assert_eq!(asked, [format!("{at}/metrics"), format!("{at}/readyz")]);
    }

    #[test]
    fn events_are_of_our_kinds_and_of_what_ours_made_even_when_it_is_gone() {
        let objects = [json!({"kind": "Job", "metadata": {"name": "clicks-replay", "namespace": "shop", "uid": "u1"}})];
        let about = |kind: &str, name: &str, uid: &str| json!({"involvedObject": {"kind": kind, "namespace": "shop", "name": name, "uid": uid, "apiVersion": "v1"}});
        let ours = |event: &Value| happened_to_us(event, &objects);
        assert!(ours(&about("Job", "clicks-replay", "u1")) && ours(&about("Pod", "clicks-replay-0-abcde", "gone")));
        assert!(!ours(&about("Pod", "clicks", "u2")) && !ours(&about("Pod", "clicks-replayed-0", "u3")));
        assert!(!ours(&about("Service", "clicks-replay-0", "u4")));
        assert!(ours(&json!({"involvedObject": {"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView"}})));
    }
}
