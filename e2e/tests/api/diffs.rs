//! `featuremill diff`: what it tells of a file is what the API server and the operator then do.

use crds::condition::types;
use crds::{Architecture, FeatureView};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use operator::conditions::find;
use serde_json::{Value, json};

use crate::children::serve;
use crate::command_line::CommandLine;
use crate::cutover::{active, candidate};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, view_with, with};
use crate::world::{World, has};

/// What the command says of some objects as one file: its exit code and both outputs.
async fn diff(command: &CommandLine, objects: &[Value]) -> (i32, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text: Vec<String> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(file.path(), text.join("\n---\n")).unwrap();
    command.output(&["diff", "-f", file.path().to_str().unwrap()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_file_is_what_then_happens() {
    let world = World::new("diff").await;
    let operator = world.start(Faults::default());
    let command = CommandLine::of(&world);
    let (code, out, err) = diff(&command, &[architecture(), view()]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("architecture/realtime  would be made") && out.contains("would be made: revision "), "{out}");

    let old = active(&serve(&world).await);
    assert!(out.contains(&format!("would be made: revision {old}")), "{out}");
    let holds = |v: &FeatureView| v.status.as_ref().and_then(|s| s.source.clone()).is_some_and(|s| s.records == 100);
    let before = world.view(VIEW, "status says what the topic holds", holds).await;
    let (code, out, err) = diff(&command, &[architecture(), view()]).await;
    assert_eq!((code, out.matches("unchanged").count()), (0, 2), "{out}{err}");

    // In place, and anew.
    let (code, out, _) = diff(&command, &[view_with("/spec/replicas", json!(3))]).await;
    assert!(code == 1 && out.contains("updated in place") && out.contains("spec.replicas: 1 -> 3"), "{out}");
    let edited = view_with("/spec/features/0/window", json!("2h"));
    let (code, told, _) = diff(&command, std::slice::from_ref(&edited)).await;
    assert!(code == 1 && told.contains(&format!("to take the place of {old}")), "{told}");
    assert!(told.contains("at most 100 records of 1 partitions of topic clickstream: those of 20"), "{told}");
    let lambda = with(architecture(), "/spec/mode", json!("Lambda"));
    let lambda = with(lambda, "/spec/offlineStore", json!({"delta": {"uri": "s3://lake/shop"}}));
    // It follows the mode, for which it lacks a schedule.
    let (code, out, err) = diff(&command, std::slice::from_ref(&lambda)).await;
    assert!(code == 2 && out.is_empty() && err.contains("refused by the operator: spec.schedule"), "{out}{err}");

    // What is refused: by the API server in its words, by the operator in its.
    let (code, _, err) = diff(&command, &[view_with("/spec/replicas", json!(-1))]).await;
    let words = world.apply::<FeatureView>(&view_with("/spec/replicas", json!(-1))).await.unwrap_err();
    let kube::Error::Api(words) = words else { panic!("{words}") };
    assert!(code == 2 && err.contains(&words.message), "{err}\n{}", words.message);
    let (code, _, err) = diff(&command, &[view_with("/spec/replica", json!(1))]).await;
    assert!(code == 2 && err.contains(".spec.replica: field not declared in schema"), "{err}");
    let unknown = view_with("/spec/features/2/of", json!("cost"));
    let (code, _, err) = diff(&command, std::slice::from_ref(&unknown)).await;
    assert_eq!(code, 2, "{err}");
    assert_eq!(diff(&command, &[json!({"kind": "Secret"})]).await.0, 2);
    // Nothing of all that was written.
    let now = world.api::<FeatureView>().get(VIEW).await.unwrap();
    assert_eq!((now.metadata.generation, now.annotations()), (before.metadata.generation, before.annotations()));
    assert_eq!(world.api::<Architecture>().get(ARCHITECTURE).await.unwrap().metadata.generation, Some(1));

    world.apply::<FeatureView>(&unknown).await.unwrap();
    let refused =
        |v: &FeatureView| has(&v.status.clone().unwrap_or_default().conditions, "SpecAccepted", "False", None);
    let refused = world.view(VIEW, "the operator refuses it", refused).await;
    let words = find(&refused.status.unwrap().conditions, types::SPEC_ACCEPTED).unwrap().message.clone();
    assert!(err.contains(&words), "{err}\n{words}");
    world.apply::<FeatureView>(&edited).await.unwrap();
    let candidate = candidate(&world).await;
    assert!(told.contains(&format!("a new revision {candidate} is to")), "{candidate}, {told}");
    let (code, out, _) = diff(&command, std::slice::from_ref(&edited)).await;
    assert!(code == 0 && out.contains("unchanged"), "{out}");
    let (_, out, _) = diff(&command, &[view()]).await;
    assert!(out.contains(&format!("back to revision {old}, which serves; candidate {candidate} is given up")), "{out}");
    operator.stop().await;
}

/// What was made by `kubectl apply` is merged as by it: what it no longer says goes, what others say stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_merged_as_kubectl_apply_would() {
    let world = World::new("diff-apply").await;
    let command = CommandLine::of(&world);
    world.apply::<Architecture>(&architecture()).await.unwrap();
    let last = view_with("/spec/replicas", json!(2));
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": last.to_string()});
    world.create::<FeatureView>(&with(last, "/metadata/annotations", annotations)).await.unwrap();
    // Somebody pins it by hand.
    let pin = Patch::Merge(json!({"spec": {"rollout": {"servingRevision": "aaaaaaaaaa"}}}));
    world.api::<FeatureView>().patch(VIEW, &PatchParams::default(), &pin).await.unwrap();
    let (code, out, err) = diff(&command, &[view()]).await;
    assert!(code == 1 && out.contains("spec.replicas: 2 -> 1") && !out.contains("servingRevision"), "{out}{err}");
    let (code, out, err) = diff(&command, &[view_with("/spec/replicas", json!(2))]).await;
    assert!(code == 0 && out.contains("unchanged"), "{out}{err}");
    let (code, _, err) = diff(&command, &[view_with("/spec/replica", json!(1))]).await;
    assert!(code == 2 && err.contains("unknown field \"spec.replica\""), "{err}");
}
