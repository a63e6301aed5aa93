//! Reads under pointers that move, are missing, or lead to what the catalog does not hold.

use engine::plan::Plan;
use engine::row::{head_key, live_key};
use serve::failure::Failure;
use serve::read::{Reader, ViewRows};
use serve::request::parse;
use serve::select::wanted;
use serve::store::StoreError;

use crate::fixtures::{FakeStore, count, plan, reader};

fn views() -> (Plan, Plan) {
    let a = plan("v", &[("u", "String")], vec![count("x", "k", None)]);
    let b = plan("v", &[("u", "String")], vec![count("x", "k", None), count("y", "k", None)]);
    assert_ne!(a.revision, b.revision);
    (a, b)
}

async fn ask(reader: &Reader, feature: &str) -> Result<ViewRows, Failure> {
    let body = format!(r#"{{"features":["{feature}"],"entities":{{"u":["1"]}}}}"#);
    let request = parse(body.as_bytes()).unwrap();
    reader.read(&wanted(&request)[0], &request).await
}

#[tokio::test]
async fn a_view_at_rest_takes_one_round_trip() {
    let (a, _) = views();
    let store = FakeStore::new(|c| {
        c.publish(&a, 77);
        c.set_lane(&a, 0, "1", 0, &[(0, b"1@1".to_vec())]);
    });
    let (reader, _stop) = reader(store.clone()).await;
    let rows = ask(&reader, "v:x").await.unwrap();
    assert_eq!((rows.incarnation, rows.complete_to, rows.rows[0].len()), (0, Some(77), 1));
    ask(&reader, "v:x").await.unwrap();
    assert_eq!(store.reads(), 2);
}

#[tokio::test]
async fn a_flip_between_two_reads_is_followed_and_what_was_read_is_discarded() {
    let (a, b) = views();
    let store = FakeStore::new(|c| {
        c.publish(&a, 77);
        c.set_entry(&[&a, &b]);
        c.set_head(&b, 4);
        c.set_lane(&a, 0, "1", 0, &[(0, b"old".to_vec())]);
        c.set_lane(&b, 4, "1", 0, &[(0, b"new".to_vec())]);
    });
    let (reader, _stop) = reader(store.clone()).await;
    ask(&reader, "v:x").await.unwrap();
    store.contents.lock().unwrap().set_live(&b, 2);
    let rows = ask(&reader, "v:x").await.unwrap();
    assert_eq!((rows.revision.program.plan().revision.as_str(), rows.incarnation), (b.revision.as_str(), 4));
    assert_eq!(rows.rows[0][0].1, b"new");
    // The pointer, then the new revision's head, then the rows.
    assert_eq!(store.reads(), 1 + 3);
    // A feature that only the new revision has is known at once, one of the old is not lost for being asked in between.
    ask(&reader, "v:y").await.unwrap();
    store.contents.lock().unwrap().set_live(&a, 3);
    let failure = ask(&reader, "v:y").await.unwrap_err();
    assert_eq!((failure.code(), failure.field()), (404, Some("features[0]")));
    store.contents.lock().unwrap().set_live(&b, 4);
    ask(&reader, "v:y").await.unwrap();
}

#[tokio::test]
async fn pointers_that_never_rest_are_unavailable() {
    let (a, b) = views();
    let store = FakeStore::new(|c| {
        c.publish(&a, 77);
        c.set_entry(&[&a, &b]);
        c.set_head(&b, 0);
    });
    let (next_a, next_b) = (a.clone(), b.clone());
    store.script(move |n, contents| {
        contents.set_live(if n % 2 == 0 { &next_b } else { &next_a }, n as u64 + 2);
        Ok(())
    });
    let (reader, _stop) = reader(store.clone()).await;
    let failure = ask(&reader, "v:x").await.unwrap_err();
    assert_eq!(failure.code(), 503);
    assert!(failure.to_string().contains("moved"), "{failure}");
}

#[tokio::test]
async fn an_unknown_revision_or_view_has_the_catalog_polled_at_once() {
    let (a, b) = views();
    let store = FakeStore::new(|c| c.publish(&a, 77));
    let (reader, _stop) = reader(store.clone()).await;
    ask(&reader, "v:x").await.unwrap();
    let polls = store.polls();
    {
        let mut contents = store.contents.lock().unwrap();
        contents.set_entry(&[&a, &b]);
        contents.set_head(&b, 0);
        contents.set_live(&b, 2);
    }
    assert_eq!(ask(&reader, "v:x").await.unwrap().revision.program.plan().revision, b.revision);
    let w = plan("w", &[("u", "String")], vec![count("x", "k", None)]);
    store.contents.lock().unwrap().publish(&w, 77);
    ask(&reader, "w:x").await.unwrap();
    assert!(store.polls() >= polls + 2);
    let failure = ask(&reader, "nowhere:x").await.unwrap_err();
    assert_eq!((failure.code(), failure.field()), (404, Some("features[0]")));
    assert!(failure.to_string().contains("`nowhere`"));
}

#[tokio::test]
async fn what_is_not_there_yet_is_unavailable_and_says_what() {
    let (a, b) = views();
    let store = FakeStore::new(|c| c.publish(&a, 77));
    let (reader, _stop) = reader(store.clone()).await;
    let without = async |key: String| {
        let kept = store.contents.lock().unwrap().strings.remove(&key).unwrap();
        let failure = ask(&reader, "v:x").await.unwrap_err();
        store.contents.lock().unwrap().strings.insert(key, kept);
        assert_eq!(failure.code(), 503);
        failure.to_string()
    };
    assert!(without(live_key(&a.view.uid)).await.contains("no revision of it is live"));
    assert!(without(head_key(&a.view.uid, &a.revision)).await.contains("no readable rows"));
    store.contents.lock().unwrap().set_live(&b, 2);
    store.contents.lock().unwrap().set_head(&b, 0);
    let failure = ask(&reader, "v:x").await.unwrap_err();
    assert_eq!(failure.code(), 503);
    assert!(failure.to_string().contains("not in the catalog"), "{failure}");
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_never_an_answer() {
    let (a, _) = views();
    let store = FakeStore::new(|c| c.publish(&a, 77));
    let (reader, _stop) = reader(store.clone()).await;
    store.script(|_, _| Err(StoreError::Away("connection refused".into())));
    let failure = ask(&reader, "v:x").await.unwrap_err();
    assert_eq!(failure.code(), 503);
    assert!(failure.to_string().contains("connection refused"), "{failure}");
}

#[tokio::test]
async fn a_view_made_anew_under_another_uid_is_found() {
    let (a, _) = views();
    let mut anew = a.clone();
    anew.view.uid = "uid-again".into();
    let store = FakeStore::new(|c| c.publish(&a, 77));
    let (reader, _stop) = reader(store.clone()).await;
    ask(&reader, "v:x").await.unwrap();
    {
        let mut contents = store.contents.lock().unwrap();
        contents.strings.clear();
        contents.publish(&anew, 78);
    }
    assert_eq!(ask(&reader, "v:x").await.unwrap().view.uid, "uid-again");
}
