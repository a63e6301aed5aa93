#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn deployment(status: &Value) -> Deployment {
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {}});
    serde_json::from_value(json!({"metadata": {"name": "clicks-stream"}, "spec": spec, "status": status})).unwrap()
}

fn pod(name: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"a": "b", "c": "d"}}, "status": status}))
        .unwrap()
}

fn container(state: &Value, last: &Value) -> Value {
    json!({"containerStatuses": [{
        "name": "stream", "image": "featuremill:9", "imageID": "", "ready": false, "restartCount": 3,
        "state": state, "lastState": last,
    }]})
}

#[test]
fn every_way_of_not_starting_is_named() {
    let table = [
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
            ("Unschedulable", "pod p: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.", false),
        ),
        (
            container(&json!({"waiting": {"reason": "ImagePullBackOff"}}), &json!({})),
            ("ImageUnavailable", "pod p: image featuremill:9 cannot be pulled", true),
        ),
        (
            container(&json!({"waiting": {"reason": "ErrImageNeverPull"}}), &json!({})),
            ("ImageUnavailable", "imagePullPolicy is Never", true),
        ),
        (
            container(
                &json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"redis\" not found"}}),
                &json!({}),
            ),
            ("ContainerRefused", "secret \"redis\" not found", true),
        ),
        (
            container(
                &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                &json!({"terminated": {"exitCode": 2, "message": "first line\nadmin port 0.0.0.0:8080: in use"}}),
            ),
            ("Crashing", "ended with exit code 2: admin port 0.0.0.0:8080: in use", true),
        ),
        (
            container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            ("Crashing", "more memory than its limit", true),
        ),
    ];
    for (status, (reason, says, stuck)) in table {
        let trouble = of_deployment(&deployment(&json!({})), &[pod("p", &status)]).unwrap();
        assert_eq!((trouble.reason, trouble.stuck), (reason, stuck), "{status}");
        assert!(trouble.message.contains(says), "{}", trouble.message);
    }
}

#[test]
fn a_pod_that_only_takes_its_time_is_in_no_trouble() {
    let starting = container(&json!({"waiting": {"reason": "ContainerCreating"}}), &json!({}));
    assert_eq!(of_deployment(&deployment(&json!({})), &[pod("p", &starting)]), None);
    let ended_well = container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 0}}));
    assert_eq!(of_deployment(&deployment(&json!({})), &[pod("p", &ended_well)]), None);
}

#[test]
fn a_quota_comes_first_and_pods_of_others_do_not_count() {
    let quota = "pods \"clicks-stream-1\" is forbidden: exceeded quota: small";
    let status = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": quota}]});
    let trouble = of_deployment(&deployment(&status), &[]).unwrap();
    assert_eq!((trouble.reason, trouble.message), ("PodRefused", format!("Deployment clicks-stream: {quota}")));
    let mut other = pod("p", &container(&json!({"waiting": {"reason": "ErrImagePull"}}), &json!({})));
    other.metadata.labels = None;
    assert_eq!(of_deployment(&deployment(&json!({})), &[other]), None);
}

#[test]
fn of_several_pods_the_worst_and_first_is_named_whatever_their_order() {
    let crash = container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 1}}));
    let image = container(&json!({"waiting": {"reason": "ErrImagePull"}}), &json!({}));
    let mut pods = [pod("a", &crash), pod("c", &image), pod("b", &image)];
    let first = of_pods(pods.iter()).unwrap();
    assert!(first.message.starts_with("pod b: image"), "{}", first.message);
    pods.reverse();
    assert_eq!(of_pods(pods.iter()).unwrap(), first);
}

#[test]
fn workers_are_believed_while_they_repeat_themselves() {
    let told = |reason: &str, since_ms, said_ms| Told { reason: reason.into(), message: "m".into(), since_ms, said_ms };
    let (a, b) =
        (("a".to_owned(), told("KafkaUnreachable", 1, 90_000)), ("b".to_owned(), told("SourceGap", 5, 90_000)));
    let all = [a, b, ("c".to_owned(), told("SourceReset", 0, 1_000))];
    let trouble = of_workers(all.iter().map(|(worker, told)| (worker, told)), 100_000).unwrap();
    assert_eq!((trouble.reason, trouble.message.as_str(), trouble.stuck), ("SourceGap", "pod b: m", true));
    assert_eq!(of_workers(all.iter().map(|(worker, told)| (worker, told)), 200_000), None);
    let newer = [("a".to_owned(), told("NotThoughtOfYet", 0, 0))];
    assert_eq!(of_workers(newer.iter().map(|(w, t)| (w, t)), 0).unwrap().reason, "WorkerNotReady");
}
