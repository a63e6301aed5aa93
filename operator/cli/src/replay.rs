//! A `FeatureReplay`: made, and watched to its end.

use std::fmt::Write as _;
use std::time::Duration;

use crds::condition::{ConditionStatus, types};
use crds::feature_view::{StartFrom, StartPolicy};
use crds::once::Phase;
use crds::{FeatureReplay, FeatureReplaySpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};
use operator::conditions::find;

use crate::args::Replay;
use crate::error::CliError;
use crate::screen::Screen;
use crate::tell::{grouped, read};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the part of the name is that the view's gives.
const PREFIX: usize = 40;

/// Makes it, and shows how far it is until it ends.
pub async fn run(client: &Client, namespace: &str, asked: &Replay) -> Result<(), CliError> {
    let api = Api::<FeatureReplay>::namespaced(client.clone(), namespace);
    let wanted = object(asked)?;
    let doing = CliError::api(format!("making a featurereplay of {namespace}/{}", asked.view));
    let made = api.create(&PostParams::default(), &wanted).await.map_err(doing)?;
    let name = made.name_any();
    println!("featurereplay/{name} made");
    if asked.no_wait {
        println!(
            "wait for it: kubectl wait -n {namespace} featurereplay/{name} --for=condition=Complete --timeout=-1s"
        );
        return Ok(());
    }
    if !asked.dry_run {
        println!("Ctrl-C leaves it running; kubectl delete -n {namespace} featurereplay/{name} gives it up");
    }
    let mut screen = Screen::default();
    loop {
        let doing = CliError::api(format!("reading featurereplay {namespace}/{name}"));
        let replay = api.get(&name).await.map_err(doing)?;
        screen.show(told(&replay));
        match end(namespace, &replay) {
            Some(end) => return end,
            None => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// How it ended, or why it does not begin without a person: nobody is to wait for that.
fn end(namespace: &str, replay: &FeatureReplay) -> Option<Result<(), CliError>> {
    let (name, progress) = (replay.name_any(), &replay.status.as_ref()?.progress);
    let stalled = find(&progress.conditions, types::STALLED).is_some_and(|c| c.status == ConditionStatus::True);
    match progress.phase {
        Phase::Succeeded => Some(Ok(())),
        Phase::Failed => Some(Err(CliError::Nothing(format!("featurereplay/{name} failed")))),
        Phase::Pending if stalled => Some(Err(CliError::Nothing(format!(
            "featurereplay/{name} does not begin; it does once that is mended, unless it is given up: \
             kubectl delete -n {namespace} featurereplay/{name}"
        )))),
        _ => None,
    }
}

/// What is made. The API server finds it a name.
fn object(asked: &Replay) -> Result<FeatureReplay, CliError> {
    let prefix: String = asked.view.chars().take(PREFIX).collect();
    let start_from = asked.start_from.as_deref().map(start).transpose()?;
    let spec = FeatureReplaySpec {
        view_ref: crds::pod::LocalReference { name: asked.view.clone() },
        revision: asked.revision.clone(),
        start_from,
        parallelism: asked.parallelism,
        max_records_per_second: asked.max_records_per_second,
        backoff_limit: 6,
        active_deadline_seconds: None,
        ttl_seconds_after_finished: None,
        suspend: false,
        dry_run: asked.dry_run,
    };
    let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
    Ok(FeatureReplay { metadata, spec, status: None })
}

/// From where is read.
fn start(text: &str) -> Result<StartFrom, CliError> {
    let policy = match text {
        "LongestWindow" => StartPolicy::LongestWindow,
        "OfflineThenStream" => StartPolicy::OfflineThenStream,
        "Earliest" => StartPolicy::Earliest,
        "Latest" => StartPolicy::Latest,
        time if time.parse::<Timestamp>().is_ok() => {
            return Ok(StartFrom { policy: StartPolicy::Timestamp, timestamp: Some(time.to_owned()) });
        }
        _ => {
            let message = format!(
                "--start-from {text:?} is neither LongestWindow, OfflineThenStream, Earliest, Latest nor a time in RFC 3339"
            );
            return Err(CliError::Nothing(message));
        }
    };
    Ok(StartFrom { policy, timestamp: None })
}

/// How far it is, in a bar and words.
fn told(replay: &FeatureReplay) -> String {
    let status = replay.status.clone().unwrap_or_default();
    let mut text = format!("{}  {:?}\n", replay.spec.view_ref.name, status.progress.phase);
    if let Some(order) = &status.replay {
        let parts = order.parts.len();
        let records = grouped(status.records.unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  reads    {records} records of {parts} partitions");
        if !replay.spec.dry_run {
            let _ = writeln!(text, "  replay   {}", read(order));
        }
    }
    let shown = [types::FAILED, types::COMPLETE, types::STALLED, types::RECONCILING];
    let conditions = &status.progress.conditions;
    let told = shown.iter().find_map(|type_| {
        find(conditions, type_).filter(|c| c.status == ConditionStatus::True && !c.message.is_empty())
    });
    if let Some(condition) = told {
        let _ = writeln!(text, "  {}", condition.message);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn asked(start_from: Option<&str>) -> Replay {
        Replay {
            view: "shopper".to_owned(),
            revision: None,
            start_from: start_from.map(str::to_owned),
            parallelism: Some(4),
            max_records_per_second: None,
            dry_run: false,
            no_wait: false,
        }
    }

    #[test]
    fn what_is_made_says_what_was_asked_and_nothing_else() {
        let made = serde_json::to_value(object(&asked(Some("2026-11-01T00:00:00Z"))).unwrap()).unwrap();
        let start = json!({"policy": "Timestamp", "timestamp": "2026-11-01T00:00:00Z"});
        let spec = json!({"viewRef": {"name": "shopper"}, "startFrom": start, "parallelism": 4, "backoffLimit": 6,
            "suspend": false, "dryRun": false});
        assert_eq!((&made["metadata"]["generateName"], &made["spec"]), (&json!("shopper-"), &spec));
        assert!(object(&asked(None)).unwrap().spec.start_from.is_none());
        assert!(object(&asked(Some("yesterday"))).unwrap_err().to_string().contains("neither LongestWindow"));
    }

    #[test]
    fn how_far_it_is_is_told_from_its_beginning_to_its_end() {
        let mut replay = object(&asked(None)).unwrap();
        let mut texts = told(&replay);
        let condition = |kind: &str, message: &str| {
            json!({"type": kind, "status": "True", "reason": "R", "message": message,
                "lastTransitionTime": "2026-11-28T12:00:00Z"})
        };
        let mut status = json!({
            "phase": "Running", "revision": "9b1c07de42", "run": "3f0a55c81e", "records": 12_300_000,
            "replay": {"fence": "f", "capturedTime": "2026-11-28T12:00:00Z", "parts": [{"partition": 0, "from": 0, "to": 12_300_000}],
                "progress": {"percent": 25, "remainingRecords": 9_225_000, "recordsPerSecond": 400_000, "etaSeconds": 23,
                    "observedTime": "2026-11-28T12:00:00Z"}},
            "conditions": [condition("Reconciling", "revision 3f0a55c81e reads 12300000 records of 1 partitions again")],
        });
        replay.status = serde_json::from_value(status.clone()).unwrap();
        texts += &told(&replay);
        status["phase"] = json!("Succeeded");
        status["replay"]["progress"] = json!({"percent": 100, "remainingRecords": 0, "recordsPerSecond": 0, "observedTime": "2026-11-28T12:00:23Z"});
        status["conditions"] = json!([condition("Complete", "FeatureView \"shopper\" serves revision 3f0a55c81e")]);
        replay.status = serde_json::from_value(status.clone()).unwrap();
        texts += &told(&replay);
        status["phase"] = json!("Failed");
        status["conditions"] = json!([condition("Failed", "revision 3f0a55c81e was given up")]);
        replay.status = serde_json::from_value(status).unwrap();
        texts += &told(&replay);
        assert_snapshot!(texts);
    }

    /// The command waited for ever for a replay that was refused: of a view that does not exist, or has no stream.
    #[test]
    fn nobody_waits_for_a_replay_that_does_not_begin() {
        let with = |phase: &str, stalled: &str| {
            let mut replay = object(&asked(None)).unwrap();
            replay.metadata.name = Some("shopper-1".to_owned());
            let stalled = json!({"type": "Stalled", "status": stalled, "reason": "R", "message": "m",
                "lastTransitionTime": "2026-11-28T12:00:00Z"});
            replay.status = serde_json::from_value(json!({"phase": phase, "conditions": [stalled]})).unwrap();
            end("shop", &replay).map(|end| end.map_err(|error| error.to_string()))
        };
        assert_eq!((with("Pending", "False"), with("Running", "False"), with("Running", "True")), (None, None, None));
        assert_eq!(with("Succeeded", "False"), Some(Ok(())));
        let refused = with("Pending", "True").unwrap().unwrap_err();
        assert!(refused.contains("kubectl delete -n shop featurereplay/shopper-1"), "{refused}");
    }
}
