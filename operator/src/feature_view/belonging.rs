//! To which Architecture a view belongs, and from which it was moved.
//!
//! Invariants: the Architecture in effect is one whose store holds the view's rows; while another is named that cannot take
//! over, everything goes on with the one before. Whose server answers for a view stands in status before it does, so that the
//! view is taken out of its catalog again, whatever comes in between.

use std::collections::BTreeSet;

use crds::feature_view::{FeatureViewStatus, ServingArchitecture};
use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};

use super::history;
use super::observe::{Observed, revision_of};
use super::phase::{Decision, Step};
use crate::architecture::archive;
use crate::conditions::seconds;
use crate::context::Context;
use crate::error::Error;
use crate::names::{self, PROMOTED_ANNOTATION};

/// The Architectures of a view.
pub struct Belonging {
    /// The one in effect.
    pub architecture: Option<Architecture>,
    /// Why the one that is named cannot take over.
    pub misfit: Option<String>,
    /// Those that it was moved from.
    pub former: Vec<Architecture>,
}

/// Reads the Architectures of a view.
pub(super) async fn observe(
    context: &Context,
    view: &FeatureView,
    history: &[ControllerRevision],
) -> Result<Belonging, Error> {
    let api = Api::<Architecture>::namespaced(context.client.clone(), &view.namespace().unwrap_or_default());
    let get = async |name: &str| api.get_opt(name).await.map_err(Error::read(format!("Architecture {name}")));
    let reference = &view.spec.architecture_ref.name;
    let named = get(reference).await?;
    let mut former = Vec::new();
    for name in names_before(view, history) {
        former.extend(get(&name).await?);
    }
    let held = held(view, history).filter(|held| held != reference);
    let held = held.and_then(|held| former.iter().position(|a| a.name_any() == held));
    let misfit = match (held, &named) {
        (Some(held), Some(named)) => misfit(view, &former[held], named),
        _ => None,
    };
    let architecture = match held {
        Some(held) if named.is_none() || misfit.is_some() => Some(former.remove(held)),
        _ => named,
    };
    Ok(Belonging { architecture, misfit, former })
}

/// The names of the Architectures that the view was moved from: that status knows, or that revisions in use were made with.
fn names_before(view: &FeatureView, history: &[ControllerRevision]) -> BTreeSet<String> {
    let status = view.status.clone().unwrap_or_default();
    let revisions = [&status.active_revision, &status.previous_revision, &status.candidate_revision];
    let in_use =
        |entry: &&ControllerRevision| revisions.iter().any(|r| r.is_some() && r.as_deref() == revision_of(*entry));
    let noted = history.iter().filter(in_use).filter_map(history::architecture_of_entry).map(str::to_owned);
    let mut names: BTreeSet<String> = status.architectures.into_iter().map(|a| a.name).chain(noted).collect();
    names.extend(held(view, history).map(str::to_owned));
    names.remove(&view.spec.architecture_ref.name);
    names
}

/// The name of the Architecture that the view belonged to until now, as status knows; or where that was lost, the one that the
/// revision which was promoted last was made with.
fn held<'a>(view: &'a FeatureView, history: &'a [ControllerRevision]) -> Option<&'a str> {
    let known = view.status.as_ref().map(|status| status.architectures.as_slice()).unwrap_or_default();
    if known.is_empty() {
        let promoted = |entry: &&ControllerRevision| entry.annotations().get(PROMOTED_ANNOTATION).cloned();
        return history::architecture_of_entry(history.iter().filter(|e| promoted(e).is_some()).max_by_key(promoted)?);
    }
    known.iter().find(|a| a.left_time.is_none()).map(|a| a.name.as_str())
}

/// Why a view cannot be moved from one Architecture to another: rows, offsets and tables do not move.
fn misfit(view: &FeatureView, from: &Architecture, to: &Architecture) -> Option<String> {
    let (old, new) = (from.name_any(), to.name_any());
    let (store, other) = (&from.spec.online_store.redis.url, &to.spec.online_store.redis.url);
    let differ = |what: &str, is: &str, was: &str| {
        format!(
            "spec.architectureRef.name: Architecture {new:?} has {what} {is}, and {old:?}, which the view is served by, has {was}; \
             name one of the same, or make a new view"
        )
    };
    if store != other {
        return Some(differ("spec.onlineStore.redis.url", other, store));
    }
    if let (Some(was), Some(is)) = (&from.spec.kafka, &to.spec.kafka)
        && was.bootstrap_servers != is.bootstrap_servers
    {
        return Some(differ("spec.kafka.bootstrapServers", &is.bootstrap_servers, &was.bootstrap_servers));
    }
    let (was, is) = (names::lake(from)?, names::lake(to)?);
    if was != is {
        return Some(differ("spec.offlineStore.delta.uri", &is, &was));
    }
    let archived = archive::topics(to, std::iter::once(view));
    let topic = archived.keys().find(|topic| archive::of_revisions(&old, view).any(|(of, _)| of == *topic))?;
    Some(format!(
        "spec.architectureRef.name: Architecture {new:?} would archive topic {topic:?} into the table that {old:?} archives it \
         into; change the mode of {old:?} instead, or make a new view"
    ))
}

/// The Architectures that the view was moved from, and whose servers still answer for it.
pub(super) fn left<'a>(
    view: &'a FeatureView,
    own: &'a Architecture,
) -> impl Iterator<Item = ServingArchitecture> + use<'a> {
    let uid = own.uid().unwrap_or_default();
    view.status.iter().flat_map(|status| &status.architectures).filter(move |a| a.uid != uid).cloned()
}

/// Whose servers answer for the view from now on.
pub(super) fn serving(observed: &Observed, status: &FeatureViewStatus, now: Timestamp) -> Vec<ServingArchitecture> {
    let Some(own) = &observed.architecture else { return status.architectures.clone() };
    let (name, uid) = (own.name_any(), own.uid().unwrap_or_default());
    let left_time = Some(seconds(now));
    let others =
        left(&observed.view, own).map(|a| ServingArchitecture { left_time: a.left_time.or(left_time.clone()), ..a });
    let mut serving = vec![ServingArchitecture { name, uid, left_time: None }];
    serving.extend(others);
    // Status may have been lost.
    for former in &observed.former {
        let (name, uid) = (former.name_any(), former.uid().unwrap_or_default());
        if !serving.iter().any(|a| a.uid == uid) {
            serving.push(ServingArchitecture { name, uid, left_time: left_time.clone() });
        }
    }
    serving
}

/// Whether status does not know yet that the servers of the Architecture in effect answer for the view, although those of
/// another do.
pub(super) fn moves(observed: &Observed) -> bool {
    let known = observed.view.status.as_ref().map(|status| status.architectures.as_slice()).unwrap_or_default();
    let uid = observed.architecture.as_ref().and_then(kube::ResourceExt::uid);
    (!known.is_empty() || !observed.former.is_empty())
        && !known.iter().any(|a| Some(&a.uid) == uid.as_ref() && a.left_time.is_none())
}

/// How long the servers of an Architecture that the view was moved from still answer for it: as long as revisions run with it,
/// and through a soak, in which clients move. `None`: until something else changes.
pub(super) fn answers_for(
    observed: &Observed,
    decision: &Decision,
    left: &ServingArchitecture,
    now: Timestamp,
) -> Option<SignedDuration> {
    let rollout = &observed.view.spec.rollout;
    let own = observed.architecture.as_ref()?;
    let wanted = decision.wanted.as_deref();
    let runs_elsewhere = decision.run.iter().any(|revision| {
        history::architecture(observed, revision, wanted).is_none_or(|a| a.name_any() != own.name_any())
    });
    if rollout.paused || runs_elsewhere || decision.step != Step::Serve {
        return None;
    }
    let soak = SignedDuration::from_secs(rollout.scale_down_delay_seconds.into());
    let end = left.left_time.as_ref()?.parse::<Timestamp>().ok()?.checked_add(soak).ok()?;
    Some(end.duration_since(now))
}

/// How long until time alone ends that the servers of another Architecture answer for the view.
pub(super) fn next(observed: &Observed, decision: &Decision, now: Timestamp) -> Option<SignedDuration> {
    let own = observed.architecture.as_ref()?;
    let rest = left(&observed.view, own).filter_map(|left| answers_for(observed, decision, &left, now));
    rest.map(|rest| rest.max(SignedDuration::from_secs(1))).min()
}
