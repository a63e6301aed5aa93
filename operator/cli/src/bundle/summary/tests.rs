#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::super::ask::{MADE, OPERATOR, OWN};
use super::*;

fn view(name: &str, conditions: &Value) -> Value {
    json!({
        "kind": "FeatureView", "metadata": {"namespace": "shop", "name": name, "generation": 2},
        "status": {"observedGeneration": 2, "phase": "Live", "activeRevision": "9b1c07de42", "conditions": conditions},
    })
}

fn said(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

#[test]
fn the_first_page_says_what_is_wrong_at_a_glance() {
    let well = view(
        "carts",
        &json!([
            said("Ready", "True", "Served", ""),
            said("Stalled", "False", "Moving", ""),
            said("Fresh", "True", "InTime", "")
        ]),
    );
    let ill = view(
        "clicks",
        &json!([
            said("Ready", "True", "Served", ""),
            said("Stalled", "True", "SourceGap", "records 3 to 9 of partition 0 are gone"),
            said("Fresh", "False", "LagTier1", "720 s behind"),
            said("Sound", "True", "Sound", ""),
        ]),
    );
    let mut new = view("views", &json!([]));
    new["metadata"]["generation"] = json!(3);
    let operator = json!({
        "kind": "Deployment", "metadata": {"namespace": "featuremill-system", "name": "featuremill-operator", "labels": {"helm.sh/chart": "featuremill-0.1.0"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": "featuremill:0.1.0"}]}}}, "status": {"readyReplicas": 1},
    });
    let ended = json!({"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T11:59:00Z"});
    let pod = json!({
        "kind": "Pod", "metadata": {"namespace": "shop", "name": "clicks-stream-1"},
        "status": {"phase": "Running", "containerStatuses": [{"name": "stream", "ready": false, "restartCount": 4, "image": "featuremill:0.1.0",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}]},
    });
    let event = |kind: &str, message: &str| {
        json!({"type": kind, "reason": "BackOff", "message": message, "count": 7, "lastTimestamp": "2026-01-01T11:59:30Z",
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "clicks-stream-1"}})
    };
    let found = Found {
        version: Some(json!({"gitVersion": "v1.36.3"})),
        objects: vec![(OWN[1], well), (OWN[1], ill), (OWN[1], new), (OPERATOR, operator), (MADE[5], pod)],
        leases: vec![
            json!({"spec": {"holderIdentity": "featuremill-operator-1", "renewTime": "2026-01-01T12:00:00Z"}}),
        ],
        events: vec![event("Normal", "it was pulled"), event("Warning", "it is started again")],
        missed: vec![Missed { what: "erasures of namespace shop".to_owned(), why: "erasures is forbidden".to_owned() }],
        ..Found::default()
    };
    insta::assert_snapshot!(summary(&found, "namespace shop", "2026-01-01T12:00:00Z"));
}

#[test]
fn what_is_not_known_worries_unless_it_only_begins() {
    let found = |conditions: &Value| Found { objects: vec![(OWN[1], view("clicks", conditions))], ..Found::default() };
    let away = "the online store does not say how far the topic was read";
    let ill = json!([
        said("Ready", "Unknown", "StoreUnreachable", "connection refused"),
        said("Fresh", "Unknown", "StoreUnreachable", away),
        said("Sound", "Unknown", "CheckFailed", "Job clicks-skew-1 came to no result"),
    ]);
    let page = summary(&found(&ill), "namespace shop", "2026-01-01T12:00:00Z");
    for words in ["Ready=Unknown StoreUnreachable: connection refused", away, "Sound=Unknown CheckFailed"] {
        assert!(page.contains(words), "{words} in:\n{page}");
    }
    let new = json!([
        said("Ready", "Unknown", "Pending", "it begins"),
        said("Fresh", "Unknown", "NoGeneration", "it begins"),
        said("Sound", "Unknown", "NotMonitored", "it begins"),
        said("ComparisonPassed", "Unknown", "NotCompared", "it begins"),
    ]);
    assert!(!summary(&found(&new), "namespace shop", "2026-01-01T12:00:00Z").contains("it begins"));
}

#[test]
fn where_there_is_nothing_it_says_so() {
    let page = summary(&Found::default(), "all namespaces", "2026-01-01T12:00:00Z");
    assert!(page.contains("Views\n  none\n") && page.contains("operator: none was found"), "{page}");
}
