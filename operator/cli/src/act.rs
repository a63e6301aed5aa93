//! What changes a view: one patch each, made of what the view's status says. Pure but for [`run`].
//!
//! Invariant: a patch names the resource version that it was made from, so what is decided on an old view is refused.

use crds::FeatureView;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use operator::names::{ABORT_ANNOTATION, PROMOTE_ANNOTATION, RETRY_ANNOTATION};
use serde_json::{Value, json};

use crate::error::CliError;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Let the candidate take over.
    Promote,
    /// Give it up.
    Abort,
    /// Try it again; or compare it again, if that is what failed.
    Retry,
    /// Stop the rollout, or let it go on.
    Pause(bool),
    /// Serve the revision before, or this one.
    Rollback {
        /// Which.
        to: Option<String>,
    },
    /// Serve what the spec describes.
    Unpin,
}

/// How often it is decided anew because the view was written in between, as its status is every few seconds in a replay.
const ATTEMPTS: usize = 5;

/// Does it, and says what was done.
pub async fn run(client: &Client, namespace: &str, name: &str, act: Act) -> Result<(), CliError> {
    let api: Api<FeatureView> = Api::namespaced(client.clone(), namespace);
    let mut left = ATTEMPTS;
    let done = loop {
        let view = api.get(name).await.map_err(CliError::api(format!("reading featureview {namespace}/{name}")))?;
        let (mut patch, done) = plan(&view, &act)?;
        patch["metadata"]["resourceVersion"] = json!(view.resource_version());
        left -= 1;
        match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => break done,
            Err(kube::Error::Api(answer)) if answer.code == 409 && left > 0 => {}
            Err(error) => return Err(CliError::api(format!("patching featureview {namespace}/{name}"))(error)),
        }
    };
    println!("{done}");
    println!("watch it: featuremill status {name} -n {namespace} --watch");
    Ok(())
}

/// The patch, and what it does in words.
fn plan(view: &FeatureView, act: &Act) -> Result<(Value, String), CliError> {
    let name = view.name_any();
    let status = view.status.clone().unwrap_or_default();
    let rollout = |field: &str, value: Value| json!({"spec": {"rollout": {field: value}}});
    let annotate = |key: &str, revision: &str| json!({"metadata": {"annotations": {key: revision}}});
    let nothing = |why: String| Err(CliError::Nothing(why));
    let candidate = || {
        status.candidate_revision.clone().ok_or_else(|| {
            CliError::Nothing(format!(
                "featureview {name} has no candidate: every edit so far is served or was given up"
            ))
        })
    };
    Ok(match act {
        Act::Promote => {
            let candidate = candidate()?;
            (annotate(PROMOTE_ANNOTATION, &candidate), format!("revision {candidate} takes over once it has caught up"))
        }
        Act::Abort => {
            let candidate = candidate()?;
            (annotate(ABORT_ANNOTATION, &candidate), format!("revision {candidate} is given up"))
        }
        Act::Retry => {
            let Some(trial) = status.rollout.and_then(|rollout| rollout.trial) else {
                return nothing(format!(
                    "featureview {name} has nothing to retry: no revision of it has to prove itself"
                ));
            };
            let done = match (&trial.aborted, &trial.comparison) {
                (Some(_), _) => format!("revision {} is tried again", trial.revision),
                (None, Some(attempt)) if attempt.failed => format!("revision {} is compared again", trial.revision),
                _ => {
                    let why = format!(
                        "revision {} of featureview {name} was not given up, and its comparison",
                        trial.revision
                    );
                    return nothing(format!("{why} has not failed: there is nothing to retry"));
                }
            };
            (annotate(RETRY_ANNOTATION, &trial.revision), done)
        }
        Act::Pause(paused) if view.spec.rollout.paused == *paused => {
            return nothing(format!(
                "the rollout of featureview {name} {} paused",
                if *paused { "is already" } else { "is not" }
            ));
        }
        Act::Pause(true) => {
            (rollout("paused", json!(true)), "the rollout stops where it is; workers read on".to_owned())
        }
        Act::Pause(false) => (rollout("paused", json!(false)), "the rollout goes on".to_owned()),
        // What is kept then is the newer: asked twice, it would serve again what was left for good reason.
        Act::Rollback { to: None } if went_back(view) => {
            let active = status.active_revision.unwrap_or_default();
            return nothing(format!(
                "featureview {name} was gone back to revision {active} already; `featuremill unpin {name}` takes that back"
            ));
        }
        Act::Rollback { to } => {
            let Some(to) = to.clone().or(status.previous_revision) else {
                return nothing(format!(
                    "featureview {name} keeps no revision before the one that serves; see `featuremill history {name}`, \
                     and name one of it with --to"
                ));
            };
            if status.active_revision.as_ref() == Some(&to) {
                return nothing(format!("revision {to} of featureview {name} serves already"));
            }
            (
                rollout("servingRevision", json!(to)),
                format!("reads go back to revision {to}; `featuremill unpin {name}` takes that back"),
            )
        }
        Act::Unpin if view.spec.rollout.serving_revision.as_deref().unwrap_or_default().is_empty() => {
            return nothing(format!("featureview {name} is not pinned"));
        }
        Act::Unpin => {
            (rollout("servingRevision", Value::Null), "what the spec describes is rolled out again".to_owned())
        }
    })
}

/// Whether a pin holds a revision that was gone back to.
fn went_back(view: &FeatureView) -> bool {
    let status = view.status.as_ref();
    let returned = status.and_then(|status| status.rollout.as_ref()).is_some_and(|rollout| rollout.rolled_back);
    let pin = view.spec.rollout.serving_revision.as_deref().filter(|pin| !pin.is_empty());
    returned && pin.is_some() && pin == status.and_then(|status| status.active_revision.as_deref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view(status: &Value, rollout: &Value) -> FeatureView {
        serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": "shopper"},
            "spec": {
                "architectureRef": {"name": "realtime"}, "entity": {"keys": ["user"]}, "features": [], "rollout": rollout,
                "source": {"timestamp": {"field": "at", "unit": "Milliseconds"}, "schema": []},
            },
            "status": status,
        }))
        .unwrap()
    }

    fn told(view: &FeatureView, act: &Act) -> String {
        match plan(view, act) {
            Ok((patch, _)) => patch.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_patched_names_the_revision_that_status_says() {
        let view = view(
            &json!({"activeRevision": "bb", "previousRevision": "aa", "candidateRevision": "cc",
                "rollout": {"trial": {"revision": "dd", "aborted": "DeadlineExceeded"}}}),
            &json!({"servingRevision": "bb"}),
        );
        assert_eq!(told(&view, &Act::Promote), r#"{"metadata":{"annotations":{"featuremill.dev/promote":"cc"}}}"#);
        assert_eq!(told(&view, &Act::Abort), r#"{"metadata":{"annotations":{"featuremill.dev/abort":"cc"}}}"#);
        assert_eq!(told(&view, &Act::Retry), r#"{"metadata":{"annotations":{"featuremill.dev/retry":"dd"}}}"#);
        assert_eq!(told(&view, &Act::Rollback { to: None }), r#"{"spec":{"rollout":{"servingRevision":"aa"}}}"#);
        assert_eq!(told(&view, &Act::Unpin), r#"{"spec":{"rollout":{"servingRevision":null}}}"#);
        assert_eq!(told(&view, &Act::Pause(true)), r#"{"spec":{"rollout":{"paused":true}}}"#);
        assert!(told(&view, &Act::Pause(false)).contains("is not paused"));
        assert!(told(&view, &Act::Rollback { to: Some("bb".into()) }).contains("serves already"));
    }

    #[test]
    fn who_goes_back_twice_is_not_taken_forward() {
        let returned = json!({"activeRevision": "aa", "previousRevision": "bb", "rollout": {"rolledBack": true}});
        let gone_back = view(&returned, &json!({"servingRevision": "aa"}));
        assert!(told(&gone_back, &Act::Rollback { to: None }).contains("already; `featuremill unpin shopper`"));
        let named = told(&gone_back, &Act::Rollback { to: Some("bb".into()) });
        assert_eq!(named, r#"{"spec":{"rollout":{"servingRevision":"bb"}}}"#);
        let told_anew = told(&view(&returned, &json!({})), &Act::Rollback { to: None });
        assert_eq!(told_anew, r#"{"spec":{"rollout":{"servingRevision":"bb"}}}"#);
    }

    /// The command refused to, although the annotation does it.
    #[test]
    fn what_failed_its_comparison_is_compared_again() {
        let retry = |failed: bool| {
            let comparison = json!({"definition": "d", "number": 1, "failed": failed});
            let trial = json!({"revision": "cc", "comparison": comparison});
            let status = json!({"activeRevision": "bb", "candidateRevision": "cc", "rollout": {"trial": trial}});
            told(&view(&status, &json!({})), &Act::Retry)
        };
        assert_eq!(retry(true), r#"{"metadata":{"annotations":{"featuremill.dev/retry":"cc"}}}"#);
        assert!(retry(false).contains("nothing to retry"));
    }

    #[test]
    fn where_there_is_nothing_to_do_it_says_so() {
        let view = view(&json!({"activeRevision": "bb"}), &json!({}));
        for act in [Act::Promote, Act::Abort, Act::Retry, Act::Unpin, Act::Rollback { to: None }] {
            assert!(plan(&view, &act).is_err(), "{act:?}");
        }
    }
}
