//! The guards, and the scripts against them on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use engine::replay::{Progress, State};

use super::*;
use crate::redis::Connector;

mod cluster;
use engine::row::catalog_version_key;

/// What a writer knows.
fn fence(version: u64) -> Fence<'static> {
    Fence { uid: "view", version }
}

/// A head segment with an offset, as the engine writes it.
fn head(offset: i64) -> Vec<u8> {
    let mut bytes = vec![1; 9];
    bytes.extend(offset.to_be_bytes());
    bytes
}

fn write(key: &str, base: Option<i64>, new: i64, whole: bool, may_have_expired: bool) -> LaneWrite {
    let segments = vec![(0, head(new)), (2, vec![7, 0, 255])];
    LaneWrite { key: key.to_owned(), base, new, whole, may_have_expired, segments, removed: vec![1] }
}

#[test]
fn a_lane_is_written_iff_its_base_is_covered_and_it_is_news() {
    use Outcome::{Lost, NeedsWhole, Superseded, Written};
    for (stored, base, new, whole, expired, outcome) in [
        (None, None, 5, true, false, Written),
        (None, Some(3), 5, true, false, Lost),
        (None, Some(3), 5, true, true, Written),
        (Some(3), Some(3), 5, false, false, Written),
        (Some(4), Some(3), 5, false, false, NeedsWhole),
        (Some(4), Some(3), 5, true, false, Written),
        (Some(4), None, 5, true, false, Written),
        (Some(2), Some(3), 5, true, false, Lost),
        (Some(5), Some(3), 5, false, false, Superseded),
        (Some(9), None, 5, true, false, Superseded),
    ] {
        assert_eq!(decide(stored, base, new, whole, expired), outcome, "{stored:?} {base:?} {new} {whole} {expired}");
    }
}

#[test]
fn a_marker_never_goes_back_and_a_lost_one_is_seen() {
    assert_eq!(decide_marker(None, None, 0), Outcome::Written);
    assert_eq!(decide_marker(Some(5), Some(5), 5), Outcome::Written);
    assert_eq!(decide_marker(Some(6), Some(5), 5), Outcome::Superseded);
    assert_eq!(decide_marker(None, Some(5), 6), Outcome::Lost);
    assert_eq!(decide_marker(Some(4), Some(5), 6), Outcome::Lost);
}

async fn keeps_texts<S: RowStore>(store: &S, key: &str) {
    assert_eq!(store.text(key).await.unwrap(), None);
    store.put_text(key, "{}").await.unwrap();
    assert_eq!(store.text(key).await.unwrap().as_deref(), Some("{}"));
}

/// The same calls on any store; the Redis form must do what the twin does.
async fn exercise<S: RowStore>(store: S, prefix: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let key = |name: &str| format!("{prefix}{name}");
    for stored in [None, Some(2), Some(3), Some(4), Some(5), Some(9)] {
        for base in [None, Some(3)] {
            for (whole, expired) in [(false, false), (true, false), (true, true)] {
                let row = key(&format!("row-{stored:?}-{base:?}-{whole}-{expired}"));
                if let Some(stored) = stored {
                    store.flush(3, None, fence(0), &[write(&row, None, stored, true, false)]).await.unwrap();
                }
                let outcome =
                    store.flush(3, Some(60_000), fence(0), &[write(&row, base, 5, whole, expired)]).await.unwrap();
                let lanes = store.load(3, &[row, key("absent")]).await.unwrap();
                seen.push(format!("{stored:?} {base:?} {whole} {expired}: {outcome:?} {lanes:?}"));
            }
        }
    }
    let many: Vec<LaneWrite> = (0..100).map(|i| write(&key(&format!("many-{i}")), None, i + 1, true, false)).collect();
    seen.push(format!("{:?}", store.flush(0, Some(60_000), fence(0), &many).await.unwrap()));
    let wide: Segments = (0..12).map(|n| (n, head(7))).collect();
    let wide = LaneWrite { segments: wide, removed: vec![], ..write(&key("wide"), None, 7, true, false) };
    store.flush(0, None, fence(0), &[wide]).await.unwrap();
    seen.push(format!("{:?}", store.load(0, &[key("wide")]).await.unwrap()));
    let markers = key("m/0");
    for (base, offset) in [(Some(1), 2), (None, 5), (Some(5), 5), (Some(5), 4), (Some(6), 7), (Some(5), 8)] {
        let marker = Marker { offset, event_time: i64::MIN, end_offset: 9, read_to_end_at: 0 };
        // One worker has not heard yet that the topic has eight partitions.
        let partitions = if offset == 8 { 6 } else { 8 };
        let write = MarkerWrite { partition: 3, base, marker };
        let outcome = store.write_marker(&markers, partitions, fence(0), write).await.unwrap();
        seen.push(format!("{outcome:?} {:?}", store.markers(&markers).await.unwrap()));
    }
    assert_eq!(store.markers(&markers).await.unwrap().partitions, Some(8));
    let live = key("live");
    for (expected, fence) in [(Some(1), 2), (None, 1), (None, 2), (Some(1), 2), (Some(1), 3)] {
        let pointer = Live { revision: format!("r{fence}"), fence };
        let swap = store.swap_pointer(&live, expected, &pointer).await.unwrap();
        seen.push(format!("{swap:?} {:?}", store.pointer::<Live>(&live).await.unwrap()));
    }
    let (mut seen_head, first) = (None, Publication { incarnation: 0, generation: 1, horizon: -5 });
    for (generation, stale) in [(1, false), (2, false), (3, true), (3, false)] {
        let next = Publication { generation, ..first };
        let before: Option<Head> = if stale { Some(Head::default()) } else { seen_head.clone() };
        let done = publish_head(&store, prefix, "r", before.as_ref(), next).await.unwrap();
        assert_eq!(done.is_none(), stale);
        seen_head = store.pointer::<Head>(&engine::row::head_key(prefix, "r")).await.unwrap();
        assert!(stale || done == seen_head);
        seen.push(format!("{done:?} {seen_head:?}"));
    }
    let report = RunReport {
        generation: 3,
        horizon_ms: 7,
        table_version: None,
        started_ms: 1,
        finished_ms: 2,
        rows: 3,
        outcome: engine::row::RunOutcome::Published,
        features: vec![],
        refused: std::collections::BTreeMap::new(),
        notes: vec![],
    };
    assert_eq!(store.run_report(&key("run")).await.unwrap(), None);
    store.put_run_report(&key("run"), &report).await.unwrap();
    assert_eq!(store.run_report(&key("run")).await.unwrap(), Some(report));
    let comparison = comparison();
    assert_eq!(store.comparison(&key("comparison")).await.unwrap(), None);
    store.put_comparison(&key("comparison"), &comparison).await.unwrap();
    assert_eq!(store.comparison(&key("comparison")).await.unwrap(), Some(comparison));
    let catalog = key("catalog");
    let entry =
        CatalogEntry { uid: "u".into(), freshness_target_ms: 1, horizon_target_ms: None, plans: vec![], shadow: None };
    store.put_catalog(&catalog, "a", &entry).await.unwrap();
    store.put_catalog(&catalog, "b", &entry).await.unwrap();
    store.remove_catalog(&catalog, "b").await.unwrap();
    seen.push(format!("{:?}", store.catalog(&catalog).await.unwrap()));
    let troubles = key("trouble");
    let trouble = Trouble { reason: "SourceGap".into(), message: "a gap; mend it".into(), since_ms: 1, said_ms: 2 };
    store.say_trouble(&troubles, "pod-a", Some(&trouble), 60_000).await.unwrap();
    store.say_trouble(&troubles, "pod-b", Some(&trouble), 60_000).await.unwrap();
    store.say_trouble(&troubles, "pod-b", None, 60_000).await.unwrap();
    store.say_trouble(&troubles, "pod-c", None, 60_000).await.unwrap();
    seen.push(format!("{:?}", store.troubles(&troubles).await.unwrap()));
    seen.push(say_replays(&store, &key("replay")).await);
    say_shadows(&store, &key("shadow")).await;
    seen.push(format!("{:?}", store.refusal(&key("write-test")).await.unwrap()));
    let (mut cursor, mut removed) = (0, 0);
    loop {
        let purge = store.purge(prefix, cursor).await.unwrap();
        removed += purge.removed;
        match purge.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    seen.push(format!(
        "{removed} {:?} {:?}",
        store.catalog(&catalog).await.unwrap(),
        store.markers(&markers).await.unwrap()
    ));
    seen
}

/// What servers say of shadow reads, each for itself.
async fn say_shadows<S: RowStore>(store: &S, key: &str) {
    assert!(store.shadows(key).await.unwrap().is_empty());
    let report = |reads| engine::shadow::Report { former: "a".into(), reads, ..Default::default() };
    for (server, reads) in [("server-a", 3), ("server-b", 1), ("server-a", 4)] {
        store.say_shadow(key, server, &report(reads), 60_000).await.unwrap();
    }
    let said = [("server-a".to_owned(), report(4)), ("server-b".to_owned(), report(1))];
    assert_eq!(store.shadows(key).await.unwrap(), said.into());
}

/// The progress of two partitions' replays, one of them said twice.
async fn say_replays<S: RowStore>(store: &S, key: &str) -> String {
    for (partition, position, state) in [
        (0, 5, State::Running),
        (2, 7, State::Running),
        (0, 9, State::Refused { reason: "RetentionTooShort".into(), message: "gone".into() }),
    ] {
        let (from, to, records_per_second, eta_seconds, said_ms) = (0, 9, 3, Some(1), 4);
        let progress = Progress { from, to, position, records_per_second, eta_seconds, said_ms, state };
        store.say_replay(key, partition, &progress).await.unwrap();
    }
    let said = store.replays(key).await.unwrap();
    assert_eq!(said.iter().map(|(partition, of)| (*partition, of.position)).collect::<Vec<_>>(), [(0, 9), (2, 7)]);
    format!("{said:?}")
}

/// An erasure beside a lagging worker, on any store.
async fn exercise_erasure<S: Eraser>(store: S, uid: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let key = |revision: &str, incarnation, entity: &str| engine::row::row_key(uid, revision, incarnation, entity);
    let lane = |key: &str, new| [write(key, None, new, true, false)];
    let of = async |version| Fence { uid, version: store.erased(uid).await.unwrap().version.min(version) };
    let marker = |offset| {
        let marker = Marker { offset, event_time: 8, end_offset: 90, read_to_end_at: 3 };
        MarkerWrite { partition: 1, base: None, marker }
    };
    let latest = u64::MAX;
    for (revision, incarnation, offset) in [("r1", 0, 70), ("r1", 1, 40), ("r2", 0, 60)] {
        for entity in ["ada", "bob"] {
            let row = key(revision, incarnation, entity);
            store.flush(1, None, of(latest).await, &lane(&row, offset)).await.unwrap();
        }
        let markers = engine::row::marker_key(uid, revision, incarnation, 0);
        store.write_marker(&markers, 3, of(latest).await, marker(offset)).await.unwrap();
        // A partition that the topic has since got.
        let new = MarkerWrite { partition: 2, ..marker(3) };
        store.write_marker(&markers, 3, of(latest).await, new).await.unwrap();
    }
    let wanted = Covers { offsets: [(0, 5), (1, 50)].into(), before_ms: 7 };
    let covers = store.begin_erasure(uid, "ada", &wanted).await.unwrap();
    let later = Covers { offsets: [(1, 80)].into(), before_ms: 9 };
    assert_eq!(store.begin_erasure(uid, "ada", &later).await.unwrap(), covers, "it covers what it first did");
    let erasure = RowErasure { uid: uid.to_owned(), entity: "ada".into(), covers, lows: [(1, 55)].into() };
    let known = [("r1".to_owned(), 0)];
    let removed = erase_rows(&store, &erasure, &known).await.unwrap();
    let first = store.erased(uid).await.unwrap();
    seen.push(format!("{removed} {:?} {:?}", first.tombstones, store.incarnations_of(uid, "ada").await.unwrap()));
    for (revision, incarnation) in [("r1", 0), ("r1", 1), ("r2", 0)] {
        let found = store.markers(&engine::row::marker_key(uid, revision, incarnation, 0)).await.unwrap();
        seen.push(format!(
            "{revision}/{incarnation} {found:?} {:?}",
            store.load(1, &[key(revision, incarnation, "bob")]).await
        ));
    }
    // Who does not know of it writes neither rows, of anybody, nor markers; who does writes what came later.
    let row = key("r1", 0, "ada");
    for version in [0, first.version - 1, first.version] {
        let fence = Fence { uid, version };
        let both = [lane(&row, 71), lane(&key("r1", 0, "bob"), 72)].concat();
        let outcomes = store.flush(1, None, fence, &both).await.unwrap();
        let markers = engine::row::marker_key(uid, "r1", 0, 0);
        seen.push(format!("{outcomes:?} {:?}", store.write_marker(&markers, 3, fence, marker(72)).await.unwrap()));
    }
    // Repeated before it ended, it leaves the new row alone, and the version too; afterwards it is another erasure.
    assert_eq!(erase_rows(&store, &erasure, &known).await.unwrap(), 0);
    assert_eq!(store.erased(uid).await.unwrap(), first);
    store.end_erasure(uid, "ada").await.unwrap();
    let covers = store.begin_erasure(uid, "ada", &later).await.unwrap();
    seen.push(format!("{covers:?}"));
    let again = RowErasure { covers, ..erasure };
    seen.push(format!("{}", erase_rows(&store, &again, &[]).await.unwrap()));
    store.end_erasure(uid, "ada").await.unwrap();
    assert!(store.erased(uid).await.unwrap().version > first.version);
    seen.push(format!("{:?}", store.tombstone(uid, "ada").await.unwrap()));
    assert_eq!(store.remove_rows(&again, None, &[]).await.unwrap(), Removal::Overtaken);
    seen
}

#[tokio::test]
async fn who_is_erased_stays_away_from_every_incarnation() {
    let server = Server::start_in("erase");
    let redis = server.store().await;
    let seen = exercise_erasure(redis.clone(), "uid-[1]").await;
    assert_eq!(seen, exercise_erasure(MemoryStore::default(), "uid-[1]").await);
    let ada = |end, before_ms| Covers { offsets: [(0, 5), (1, end)].into(), before_ms };
    let mut tombstones = Tombstones::default();
    tombstones.add("ada", &ada(50, 7));
    assert_eq!(seen[0], format!("3 {tombstones:?} []"));
    // Rows at 40 hold nothing behind what is covered; the others are read again, from what the topic still has.
    for (at, offset) in [(1, 55), (2, 40), (3, 55)] {
        assert!(seen[at].contains(&format!("offset: {offset}, event_time: 8, end_offset: 90")), "{}", seen[at]);
        assert!(seen[at].contains("2: Marker { offset: 0, "), "what is new is read from its beginning: {}", seen[at]);
        assert!(seen[at].contains("Ok([[(0, "), "another's row is gone: {}", seen[at]);
    }
    assert_eq!(seen[4..7], ["[Fenced, Fenced] Fenced", "[Fenced, Fenced] Fenced", "[Written, Written] Written"]);
    assert_eq!(seen[8..], ["1".to_owned(), format!("{:?}", Some(ada(80, 9)))]);
    let left: Vec<String> =
        redis.connection().run("testing", ::redis::cmd("KEYS").arg("uid-?1?/erasing*")).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// A `redis-server` on a socket of its own, for as long as the value lives.
struct Server {
    process: std::process::Child,
    dir: std::path::PathBuf,
}

impl Server {
    fn start() -> Self {
        Self::start_in("redis")
    }

    fn start_in(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("featuremill-shell-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let process = std::process::Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
            .arg(&dir)
            .current_dir(&dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server must be installed for this test");
        Self { process, dir }
    }

    /// Connects as soon as the server is up.
    async fn store(&self) -> RedisStore {
        let connector = Connector::new(&format!("unix://{}/redis.sock", self.dir.display()), None).unwrap();
        for _ in 0..500 {
            match RedisStore::connect(&connector).await {
                Err(error) if error.is_away() => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                store => return store.unwrap(),
            }
        }
        panic!("redis-server did not come up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn redis_does_what_the_twin_does_and_a_broken_connection_stays_broken() {
    let mut server = Server::start();
    let redis = server.store().await;
    let prefix = format!("test-[{}]/", std::process::id());
    assert_eq!(exercise(redis.clone(), &prefix).await, exercise(MemoryStore::default(), &prefix).await);
    keeps_texts(&redis, &format!("{prefix}texts")).await;
    keeps_texts(&MemoryStore::default(), "texts").await;
    assert_eq!(redis.eviction_policy().await.unwrap().as_deref(), Some("noeviction"));
    let memory = async |limit: &str| {
        let mut set = ::redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(limit);
        let _: () = redis.connection().run("testing", &set).await.unwrap();
    };
    memory("1").await;
    let refusal = redis.refusal("write-test").await.unwrap().unwrap_or_default();
    assert!(refusal.contains("OOM") || refusal.contains("maxmemory"), "{refusal}");
    memory("0").await;
    assert_eq!(redis.refusal("write-test").await.unwrap(), None);
    let _: () = redis.connection().run("testing", ::redis::cmd("SCRIPT").arg("FLUSH")).await.unwrap();
    let again = redis.flush(0, None, fence(0), &[write("after", None, 1, true, false)]).await.unwrap();
    assert_eq!(again, [Outcome::Written], "scripts that were flushed are loaded again");

    server.process.kill().unwrap();
    server.process.wait().unwrap();
    assert!(redis.markers("m").await.unwrap_err().is_away());
    std::fs::remove_file(server.dir.join("redis.sock")).unwrap();
    let server = {
        drop(server);
        Server::start()
    };
    let anew = server.store().await;
    assert!(redis.markers("m").await.unwrap_err().is_away(), "it never comes back by itself");
    assert_ne!(anew.connection().identity(), redis.connection().identity());
    assert_eq!(anew.markers("m").await.unwrap(), Markers::default());
}

#[tokio::test]
async fn a_store_that_is_away_says_so() {
    let store = MemoryStore::default();
    store.set_away(true);
    assert!(store.markers("m").await.unwrap_err().is_away());
    store.set_away(false);
    assert_eq!(store.markers("m").await.unwrap(), Markers::default());
}

#[tokio::test]
async fn every_write_of_a_catalog_raises_its_version_and_an_empty_one_leaves_nothing() {
    let server = Server::start_in("catalog");
    let store = server.store().await;
    let version = async || -> Option<u64> {
        store.connection().run("testing", ::redis::cmd("GET").arg(catalog_version_key("a/catalog"))).await.unwrap()
    };
    let entry =
        CatalogEntry { uid: "u".into(), freshness_target_ms: 1, horizon_target_ms: None, plans: vec![], shadow: None };
    let mut before = 0;
    for view in ["a", "b", "b", "c"] {
        store.put_catalog("a/catalog", view, &entry).await.unwrap();
        let now = version().await.unwrap();
        assert!(now > before, "{now} after {before}");
        before = now;
    }
    for view in ["a", "b"] {
        store.remove_catalog("a/catalog", view).await.unwrap();
        let now = version().await.unwrap();
        assert!(now > before, "{now} after {before}");
        before = now;
    }
    store.remove_catalog("a/catalog", "c").await.unwrap();
    let left: Vec<String> = store.connection().run("testing", ::redis::cmd("KEYS").arg("*")).await.unwrap();
    assert_eq!(left, Vec::<String>::new());
    // A server that saw the last version does not take the first of a new catalog for it.
    store.put_catalog("a/catalog", "a", &entry).await.unwrap();
    assert!(version().await.unwrap() > before);
}

fn comparison() -> engine::compare::Report {
    engine::compare::Report {
        name: "c".into(),
        former: "a".into(),
        candidate: "b".into(),
        as_of_ms: 7,
        entities: 3,
        verdict: engine::compare::Verdict::Passed,
        features: vec![],
    }
}

/// Every key with the prefix is listed, and none beside it.
#[tokio::test]
async fn keys_are_listed_by_prefix() {
    let store = MemoryStore::default();
    for key in ["u/a/0/e/1", "u/a/0/e/2", "u/a/1/e/1", "v/a/0/e/1"] {
        store.put_comparison(key, &comparison()).await.unwrap();
    }
    let keys = store.scan("u/a/0/e/", 0).await.unwrap();
    assert_eq!((keys.next, keys.keys), (None, vec!["u/a/0/e/1".to_owned(), "u/a/0/e/2".to_owned()]));
}
