#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::super::fixtures::observed;
use super::super::phase::{Memory, Step};
use super::*;

fn revision(observed: &Observed) -> String {
    resolve::plan(&observed.view, "Kappa").unwrap().revision.clone()
}

fn runs(observed: &Observed, revisions: &[&str]) -> Decision {
    let wanted = Some(revision(observed));
    Decision {
        step: Step::Serve,
        target: wanted.clone(),
        wanted,
        memory: Memory::default(),
        run: revisions.iter().map(|r| (*r).to_owned()).collect(),
        replay: None,
        retire: BTreeSet::new(),
        remove: BTreeSet::new(),
        caught_up: true,
        workers: None,
        first: None,
        compare: None,
        compared: Vec::new(),
        answered: Vec::new(),
        next: None,
    }
}

/// The history after each of the windows was the spec's in turn.
fn history(windows: &[&str]) -> (Vec<String>, Vec<ControllerRevision>) {
    let (mut names, mut entries) = (Vec::new(), Vec::new());
    for window in windows {
        let observed = observed(window, 1, entries.clone());
        let name = revision(&observed);
        entries.extend(desire(&observed, &runs(&observed, &[&name]), &format!("image-of-{window}")));
        names.push(name);
    }
    (names, entries)
}

#[test]
fn a_revision_of_the_history_is_made_as_it_was_but_for_what_changes_no_value() {
    let (names, entries) = history(&["1h"]);
    let now = observed("2h", 3, entries);
    let wanted = revision(&now);
    assert_ne!(names[0], wanted);
    let before = view(&now, &names[0], Some(&wanted));
    assert_eq!((before.spec.features[0].window.as_deref(), before.spec.replicas), (Some("1h"), 3));
    assert_eq!(plan(&now, &names[0]).unwrap().revision, names[0]);
    assert_eq!(view(&now, &wanted, Some(&wanted)).spec, now.view.spec);
    assert!(plan(&now, &wanted).is_none(), "the history does not have it yet");
}

#[test]
fn another_revision_than_the_specs_keeps_its_image() {
    let (names, entries) = history(&["1h", "2h"]);
    let now = observed("2h", 1, entries);
    assert_eq!(image(&now, &names[0], Some(&names[1]), "newest"), "image-of-1h");
    assert_eq!(image(&now, &names[1], Some(&names[1]), "newest"), "newest");
    assert_eq!(image(&now, "unknown", Some(&names[1]), "newest"), "newest");
}

#[test]
fn what_a_revision_was_made_of_is_never_written_anew() {
    let (names, mut entries) = history(&["1h"]);
    entries[0].data = Some(RawExtension(json!({"mode": "Kappa", "spec": {"written": "once"}})));
    let now = observed("1h", 1, entries.clone());
    let again = desire(&now, &runs(&now, &[&names[0]]), "newest");
    assert_eq!((&again[0].data, again[0].revision), (&entries[0].data, 1));
}

#[test]
fn a_revision_that_runs_but_that_nobody_noted_has_no_entry() {
    let now = observed("1h", 1, Vec::new());
    let entries = desire(&now, &runs(&now, &["0123456789", &revision(&now)]), "newest");
    assert_eq!(entries.iter().filter_map(revision_of).collect::<Vec<_>>(), [revision(&now)]);
}

#[test]
fn the_oldest_of_what_no_longer_runs_go_first() {
    let (names, entries) = history(&["1h", "2h", "3h", "4h"]);
    assert_eq!(entries.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let now = observed("4h", 1, entries);
    let names_of = |gone: Vec<&ControllerRevision>| -> Vec<String> {
        gone.into_iter().filter_map(revision_of).map(str::to_owned).collect()
    };
    assert_eq!(names_of(surplus(&now, &runs(&now, &[&names[3]]))), [names[1].clone(), names[0].clone()]);
    // What is kept to go back to, or still being removed, does not count.
    let mut decision = runs(&now, &[&names[3], &names[0]]);
    decision.retire.insert(names[1].clone());
    assert!(surplus(&now, &decision).is_empty());
    // Nor does what is asked for, although it was given up.
    let mut decision = runs(&now, &[&names[3]]);
    decision.target = Some(names[0].clone());
    assert_eq!(names_of(surplus(&now, &decision)), [names[1].clone()]);
}

/// The view and its architecture as they are in a mode; Kappa needs neither a schedule nor how batches run.
fn in_mode(mode: &str, history: Vec<ControllerRevision>) -> Observed {
    let mut observed = observed("1h", 1, history);
    let mut spec = serde_json::to_value(&observed.view.spec).unwrap();
    spec["source"]["table"] = json!({"uri": "s3://lake/clicks"});
    let mut architecture = serde_json::to_value(observed.architecture.take().unwrap()).unwrap();
    architecture["spec"]["mode"] = json!(mode);
    architecture["spec"]["offlineStore"] = json!({"delta": {"uri": "s3://lake/shop"}});
    if mode != "Kappa" {
        spec["schedule"] = json!({"schedule": "7 3 * * *"});
        architecture["spec"]["batch"] = json!({"memoryMiB": 777});
    }
    observed.view.spec = serde_json::from_value(spec).unwrap();
    observed.architecture = Some(serde_json::from_value(architecture).unwrap());
    observed
}

#[test]
fn a_revision_of_another_mode_goes_on_as_it_was_made() {
    let lambda = in_mode("Lambda", Vec::new());
    let old = resolve::plan(&lambda.view, "Lambda").unwrap();
    let decision = Decision { wanted: Some(old.revision.clone()), ..runs(&lambda, &[&old.revision]) };
    let entries = desire(&lambda, &decision, "image");

    let kappa = in_mode("Kappa", entries);
    let new = resolve::plan(&kappa.view, "Kappa").unwrap();
    assert_ne!(old.revision, new.revision);
    let wanted = Some(new.revision.as_str());
    assert_eq!(mode(&kappa, &old.revision), Some(crds::architecture::Mode::Lambda));
    assert_eq!(plan(&kappa, &old.revision).unwrap(), old);
    assert_eq!(view(&kappa, &old.revision, wanted).spec.schedule.clone().unwrap().schedule, "7 3 * * *");
    let batch = architecture(&kappa, &old.revision, wanted).unwrap().spec.batch.clone();
    assert_eq!(batch.unwrap().pod.memory_mib, 777);
    assert!(architecture(&kappa, &new.revision, wanted).unwrap().spec.batch.is_none());

    // Its runs and its workers stand beside the workers of the new one, and its notes stay as they are.
    let plans = [old.clone(), new.clone()].map(|plan| (plan.revision.clone(), plan)).into();
    let run = vec![old.revision.clone(), new.revision.clone()];
    let decision = Decision { wanted: Some(new.revision.clone()), run, ..runs(&kappa, &[]) };
    let settings = crate::settings::Settings::default();
    let desired = super::super::desire::desire(&kappa, &plans, &decision, &settings).unwrap();
    let labelled = |labels: Vec<Option<&str>>| labels.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(labelled(desired.cron_jobs.iter().map(revision_of).collect()), std::slice::from_ref(&old.revision));
    assert_eq!(labelled(desired.streams.iter().map(revision_of).collect()), decision.run);
    assert_eq!(
        desired.history[0].annotations()[names::RUNS_ANNOTATION],
        kappa.history[0].annotations()[names::RUNS_ANNOTATION]
    );

    // An Architecture that has no tables cannot compute it anew.
    let mut bare = in_mode("Kappa", kappa.history.clone());
    bare.architecture.as_mut().unwrap().spec.offline_store = None;
    assert!(plan(&bare, &old.revision).is_none());
}

/// What a table declares lies in `source`, beside what a revision is made of, and is edited in place. An entry of the history is
/// written once, so that a revision which is no longer the spec's was run as the table was declared when it was first seen: a
/// correction from `NewestEvent` to `Declared` was taken back for the one that serves as soon as a candidate began (an edit,
/// or a replay on demand), and its runs published a horizon that the table does not hold.
#[test]
fn what_a_table_declares_stays_corrected_while_another_revision_is_rolled_out() {
    use crds::feature_view::CompleteUntil::{Declared, NewestEvent};
    let declares = |window: &str, uri: &str, declares: &str, history: Vec<ControllerRevision>| {
        let mut observed = in_mode("Lambda", history);
        let mut spec = serde_json::to_value(&observed.view.spec).unwrap();
        spec["source"]["table"] = json!({"uri": uri, "completeUntil": declares});
        spec["features"][0]["window"] = json!(window);
        observed.view.spec = serde_json::from_value(spec).unwrap();
        observed
    };
    let noted = |observed: &Observed| {
        let revision = resolve::plan(&observed.view, "Lambda").unwrap().revision.clone();
        let decision = Decision { wanted: Some(revision.clone()), ..runs(observed, &[&revision]) };
        (revision, desire(observed, &decision, "image"))
    };
    let (old, entries) = noted(&declares("1h", "s3://lake/clicks", "NewestEvent", Vec::new()));
    let (same, entries) = noted(&declares("1h", "s3://lake/clicks", "Declared", entries));
    assert_eq!(old, same, "it is an edit in place");
    let declared = |now: &Observed| {
        let wanted = resolve::plan(&now.view, "Lambda").unwrap().revision.clone();
        assert_ne!(old, wanted);
        view(now, &old, Some(&wanted)).spec.source.table.clone().unwrap().complete_until
    };
    assert_eq!(declared(&declares("2h", "s3://lake/clicks", "Declared", entries.clone())), Declared);
    // It is edited in place for both, too; what another table declares says nothing of this one.
    assert_eq!(declared(&declares("2h", "s3://lake/clicks", "NewestEvent", entries.clone())), NewestEvent);
    assert_eq!(declared(&declares("2h", "s3://lake/other", "NewestEvent", entries)), Declared);
}

/// Each replay on demand has an entry of its own. A view that is computed anew every night had nothing but those after
/// `revisionHistoryLimit` nights, and no former definition could be gone back to any more.
#[test]
fn replays_push_no_definition_out_of_the_history() {
    let (names, mut entries) = history(&["1h", "2h"]);
    let base = revision_of(&entries[1]).unwrap().to_owned();
    for number in 3..=6 {
        let run = format!("a00000000{number}");
        let mut entry = entries[1].clone();
        entry.metadata.name = Some(names::controller_revision("clicks", &run));
        entry.metadata.labels.as_mut().unwrap().insert(names::REVISION_LABEL.to_owned(), run);
        entry.metadata.annotations.as_mut().unwrap().insert(names::BASE_ANNOTATION.to_owned(), base.clone());
        entry.revision = number;
        entries.push(entry);
    }
    let now = observed("2h", 1, entries);
    let live = "a000000006";
    let gone: Vec<&str> = surplus(&now, &runs(&now, &[live])).into_iter().filter_map(revision_of).collect();
    assert!(!gone.contains(&names[0].as_str()), "{gone:?}");
    // What the spec describes by itself is asked for, and so stays, too.
    assert_eq!(gone, ["a000000005", "a000000004", "a000000003"]);
}
