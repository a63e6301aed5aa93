//! Snapshots of the catalog: what is shared, what is compiled anew, and what a broken entry does.

use std::sync::Arc;

use serve::catalog::Catalog;

use crate::fixtures::{count, entry, plan};

fn field(name: &str, entry: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    (name.into(), entry)
}

#[test]
fn what_did_not_change_is_shared() {
    let (a, b) = (
        plan("a", &[("u", "String")], vec![count("x", "k", None)]),
        plan("b", &[("u", "String")], vec![count("x", "k", None)]),
    );
    let a2 = plan("a", &[("u", "String")], vec![count("y", "k", None)]);
    let first = Catalog::default().next(None, vec![field("a", entry(&[&a])), field("b", entry(&[&b]))]);
    let second = first.next(Some(b"2".to_vec()), vec![field("a", entry(&[&a, &a2])), field("b", entry(&[&b]))]);
    assert_eq!(second.version(), Some(&b"2"[..]));
    assert!(Arc::ptr_eq(first.view("b").unwrap(), second.view("b").unwrap()));
    let (before, after) = (first.view("a").unwrap(), second.view("a").unwrap());
    assert!(!Arc::ptr_eq(before, after));
    let program = |view: &serve::catalog::View| Arc::clone(view.revision(&a.revision).unwrap().unwrap());
    assert!(Arc::ptr_eq(&program(before), &program(after)), "a plan that stayed is not compiled again");
    assert!(before.revision(&a2.revision).is_none());
    assert!(after.revision(&a2.revision).unwrap().is_ok());
    // A removed view is gone.
    let third = second.next(None, vec![field("b", entry(&[&b]))]);
    assert!(third.view("a").is_none());
    assert_eq!(third.sizes(), (1, 0));
}

#[test]
fn a_broken_plan_or_entry_harms_no_other() {
    let good = plan("good", &[("u", "String")], vec![count("x", "k", None)]);
    let mut alien = plan("alien", &[("u", "String")], vec![count("x", "k", None)]);
    let sound = alien.clone();
    alien.semantics += 1;
    alien.revision = "alien".into();
    let catalog = Catalog::default().next(
        None,
        vec![field("good", entry(&[&good])), field("alien", entry(&[&sound, &alien])), field("text", b"{".to_vec())],
    );
    assert!(catalog.view("good").unwrap().revision(&good.revision).unwrap().is_ok());
    let alien_view = catalog.view("alien").unwrap();
    assert!(alien_view.revision(&sound.revision).unwrap().is_ok());
    assert!(alien_view.revision("alien").unwrap().unwrap_err().contains("semantics"));
    assert!(catalog.view("text").unwrap().assumed().unwrap_err().contains("cannot be read"));
    assert_eq!(catalog.sizes(), (3, 2));
    assert_eq!(catalog.problems().count(), 2);
}

#[test]
fn a_plan_with_fields_of_a_later_version_is_refused_alone() {
    let good = plan("v", &[("u", "String")], vec![count("x", "k", None)]);
    let mut json: serde_json::Value = serde_json::from_slice(&entry(&[&good])).unwrap();
    let mut later = json["plans"][0].clone();
    later["revision"] = "later".into();
    later["novelty"] = 1.into();
    json["plans"].as_array_mut().unwrap().push(later);
    let catalog = Catalog::default().next(None, vec![field("v", json.to_string().into_bytes())]);
    let view = catalog.view("v").unwrap();
    assert!(view.revision(&good.revision).unwrap().is_ok());
    assert!(view.revision("later").unwrap().unwrap_err().contains("novelty"));
}
