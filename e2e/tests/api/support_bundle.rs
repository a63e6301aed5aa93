//! `featuremill support-bundle`: all that helps is in it, and none of the secrets that are planted everywhere around.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crds::{Architecture, Erasure, FeatureView};
use e2e::control_plane::ControlPlane;
use flate2::read::GzDecoder;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::AuthInfo;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::children::finish;
use crate::command_line::CommandLine;
use crate::faults::Faults;
use crate::fixtures::{VIEW, architecture, view};
use crate::kubelet::{admin_port, kubelet};
use crate::world::{World, eventually, settings};

/// Nothing in it says that it is one.
const SECRET: &str = "Tr0ub4dor&3-planted";

/// The files of a bundle, without its one folder.
fn unpack(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(path).unwrap()));
    let file = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), text)
    };
    archive.entries().unwrap().map(file).collect()
}

fn assert_no_secret(files: &BTreeMap<String, String>) {
    let encoded = "Tr0ub4dor%263-planted";
    for (name, text) in files {
        assert!(!text.contains(SECRET) && !text.contains(encoded), "{name} holds the secret:\n{text}");
        assert!(!text.contains("person-0815"), "{name} says whom an erasure is about:\n{text}");
    }
}

/// A node whose kubelet is the test's, and a pod on it that logs, fails and is seen to, with secrets all over.
async fn plant(world: &World, node: &str) {
    let namespace = &world.namespace;
    let url = "redis://default:Tr0ub4dor%263-planted@redis:6379";
    let logs = kubelet(Arc::new(move |path| {
        let line = json!({"level": "WARN", "message": format!("{SECRET} was refused"), "sasl": {"password": SECRET}});
        let when = if path.contains("previous=true") { "before" } else { "now" };
        (200, format!("{line}\n{when}: cannot connect to {url}\n{path}\n"))
    }))
    .await;
    let (address, port) = admin_port(Arc::new(|path| match path {
        "/metrics" => (200, format!("feature_up{{note=\"{SECRET}\"}} 1\n")),
        _ => (503, json!({"ready": false, "reasons": {"redis": "gone for good"}}).to_string()),
    }))
    .await;
    let merge = |status: Value| Patch::Merge(json!({ "status": status }));
    let nodes = Api::<Node>::all(world.client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": node}})).unwrap();
    nodes.create(&PostParams::default(), &object).await.unwrap();
    let status = json!({"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": logs}}});
    nodes.patch_status(node, &PatchParams::default(), &merge(status)).await.unwrap();

    world.create::<Secret>(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-client"}, "stringData": {"password": SECRET}})).await.unwrap();
    let labels = json!({"app.kubernetes.io/managed-by": "featuremill-operator", "featuremill.dev/view": VIEW});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker", "labels": labels, "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": json!({"env": [{"name": "REDIS_PASSWORD", "value": SECRET}]}).to_string(),
        }},
        "spec": {"nodeName": node, "containers": [{
            "name": "stream", "image": "featuremill:dev", "args": [format!("--redis-url={url}"), "--password", SECRET],
            "env": [{"name": "HARMLESS", "value": SECRET}], "ports": [{"name": "admin", "containerPort": port}],
        }], "volumes": [{"name": "redis", "secret": {"secretName": "redis-client"}}]},
    });
    world.create::<Pod>(&pod).await.unwrap();
    let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [{
        "name": "stream", "image": "featuremill:dev", "imageID": "", "ready": false, "restartCount": 2,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": format!("password={SECRET}")}},
    }]});
    world.api::<Pod>().patch_status("worker", &PatchParams::default(), &merge(status)).await.unwrap();
    world
        .create::<ConfigMap>(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted", "labels": labels},
        "data": {"client.properties": format!("topic=clickstream\nsasl.password={SECRET}\n")}}),
        )
        .await
        .unwrap();
    world.create::<Event>(&json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "worker.1"}, "type": "Warning", "reason": "BackOff",
        "message": format!("started again: {SECRET}"), "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "worker", "namespace": namespace},
    })).await.unwrap();
    world
        .create::<Erasure>(
            &json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "Erasure", "metadata": {"name": "request-17"},
        "spec": {"architectureRef": {"name": "nowhere"}, "entity": {"user_id": "person-0815"}}}),
        )
        .await
        .unwrap();
    let labels = json!({"app.kubernetes.io/component": "operator", "helm.sh/chart": "featuremill-0.1.0"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "operator", "image": "featuremill:0.1.0",
        "env": [{"name": "TOKEN", "value": SECRET}]}]}});
    world.create::<Deployment>(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "the-operator", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template}})).await.unwrap();
}

/// Who may do little gets what that is, and is told the rest.
async fn little(world: &World, command: CommandLine, directory: &Path) {
    let ns = &world.namespace;
    let looks = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "looks"}, "rules": [{"apiGroups": ["featuremill.dev"], "resources": ["featureviews"], "verbs": ["list"]}]});
    world.create::<Role>(&looks).await.unwrap();
    let binds = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "looks"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looks"},
        "subjects": [{"kind": "ServiceAccount", "name": "joe", "namespace": ns}]});
    world.create::<RoleBinding>(&binds).await.unwrap();
    world
        .create::<ServiceAccount>(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "joe"}}))
        .await
        .unwrap();
    let token: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}})).unwrap();
    let token =
        world.api::<ServiceAccount>().create_token_request("joe", &PostParams::default(), &token).await.unwrap();
    let token = token.status.unwrap().token;
    // The API server hears of rights by a watch of its own.
    let mut config = ControlPlane::shared().unwrap().config();
    config.auth_info = AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() };
    let views = Api::<FeatureView>::namespaced(Client::try_from(config).unwrap(), ns);
    eventually("joe may list views", || async {
        views.list(&ListParams::default()).await.map_err(|error| error.to_string())
    })
    .await;
    let file = directory.join("little.tar.gz");
    let name = file.display().to_string();
    let said = command.with_token(&token).run(&["support-bundle", "-o", &name]).await.unwrap();
    assert!(said.contains("could not be read with your rights"), "{said}");
    let files = unpack(&file);
    assert_no_secret(&files);
    assert!(files[&format!("objects/{ns}/featureviews.yaml")].contains("clicks_24h"));
    let missed = &files["not-read.txt"];
    for what in [
        "architectures of namespace",
        "pods of namespace",
        "events of namespace",
        "the operator's deployment",
        "definition featureviews",
    ] {
        assert!(missed.lines().any(|line| line.starts_with(what) && line.contains("joe")), "{what} in\n{missed}");
    }
    assert!(files["summary.txt"].contains("operator: none was found"), "{}", files["summary.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_holds_what_helps_and_no_secret() {
    let world = World::new("bundle").await;
    let operator = world.start_with(Faults::default(), settings(), Some("operator-1"));
    let mut roots = (architecture(), view());
    for root in [&mut roots.0, &mut roots.1] {
        root["metadata"]["annotations"] = json!({"somebody/note": SECRET});
    }
    world.apply::<Architecture>(&roots.0).await.unwrap();
    world.apply::<FeatureView>(&roots.1).await.unwrap();
    finish(&world).await;
    let node = format!("node-{}", world.namespace);
    plant(&world, &node).await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bundle.tar.gz");
    let name = file.display().to_string();
    let command = CommandLine::of(&world);
    let (code, out, err) = command.output(&["support-bundle", "-o", &name, "--tail", "7"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&name) && out.contains("Look through it before you send it"), "{out}");
    assert!(err.contains("logs and metrics") && !out.contains("could not be read"), "{err}{out}");
    let files = unpack(&file);
    assert_no_secret(&files);
    let holds = |file: &str, words: &[&str]| {
        let text = files.get(file).unwrap_or_else(|| panic!("no {file} among {:?}", files.keys()));
        for word in words {
            assert!(text.contains(word), "no {word:?} in {file}:\n{text}");
        }
    };
    let ns = &world.namespace;
    holds(
        "summary.txt",
        &[
            "1: 1 ready, 0 stalled",
            &format!("{ns}/user-clicks"),
            "leads: operator-1",
            "featuremill:0.1.0",
            "Kubernetes: v1.",
            "stream: 2 restarts",
            "BackOff",
            "What could not be read\n  none",
        ],
    );
    holds("versions.yaml", &["storedVersions", "featureviews.featuremill.dev", "lacks: []"]);
    holds(
        &format!("objects/{ns}/featureviews.yaml"),
        &["kind: FeatureView", "clicks_24h", "activeRevision", "type: Ready", "somebody/note: <masked>"],
    );
    holds(
        &format!("objects/{ns}/pods.yaml"),
        &["secretName: redis-client", "--redis-url=redis://<masked>@redis:6379", "name: HARMLESS"],
    );
    holds(
        &format!("objects/{ns}/configmaps.yaml"),
        &["assignments.json", "topic=clickstream", "sasl.password=<masked>"],
    );
    holds(&format!("objects/{ns}/erasures.yaml"), &["user_id: <masked>"]);
    holds(&format!("objects/{ns}/events.yaml"), &["started again: <masked>"]);
    for kind in ["architectures", "controllerrevisions", "deployments", "leases", "services"] {
        holds(&format!("objects/{ns}/{kind}.yaml"), &["metadata:"]);
    }
    holds(
        &format!("logs/{ns}/worker/stream.log"),
        &["<masked> was refused", "now: cannot connect to redis://<masked>@redis:6379", "tailLines=7"],
    );
    holds(&format!("logs/{ns}/worker/stream.previous.log"), &["before: cannot connect"]);
    holds(&format!("metrics/{ns}/worker.metrics.txt"), &["feature_up{note=\"<masked>\"} 1"]);
    holds(&format!("metrics/{ns}/worker.readyz.json"), &["gone for good"]);
    assert!(
        !files.contains_key("not-read.txt") && !files.keys().any(|name| name.contains("secrets")),
        "{:?}",
        files.keys()
    );

    let again = command.run(&["support-bundle", "-o", &name]).await.unwrap_err();
    assert!(again.contains("exists already"), "{again}");

    little(&world, command, directory.path()).await;

    // Everybody's tests share the API server: a node is nobody's but this one's.
    Api::<Node>::all(world.client.clone()).delete(&node, &DeleteParams::default()).await.unwrap();
    operator.stop().await;
}
