//! The same calls on a Redis Cluster of three masters, and what a connection makes of slots that move and masters that die.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// Three masters with a third of the slots each, for as long as the value lives.
struct Three {
    masters: Vec<(Child, u16)>,
    dir: std::path::PathBuf,
}

/// Slots of each master.
const RANGES: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl Three {
    async fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("featuremill-shell-{name}-{}", std::process::id()));
        // All are held until all are known, so that no two are the same.
        let free: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|port| port.local_addr().unwrap().port()).collect();
        drop(free);
        let masters = ports.chunks(2).map(|ports| {
            let own = dir.join(ports[0].to_string());
            std::fs::create_dir_all(&own).unwrap();
            let process = Command::new("redis-server")
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "2000",
                ])
                .args(["--port", &ports[0].to_string(), "--cluster-port", &ports[1].to_string(), "--dir"])
                .arg(&own)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server must be installed for this test");
            (process, ports[0])
        });
        let three = Self { masters: masters.collect(), dir };
        for (number, (first, last)) in RANGES.into_iter().enumerate() {
            three.until(number, &["PING"], "PONG").await;
            three.ask(number, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await.unwrap();
            let (port, bus) = (ports[2 * number].to_string(), ports[2 * number + 1].to_string());
            three.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.unwrap();
        }
        for number in 0..3 {
            three.until(number, &["CLUSTER", "INFO"], "cluster_state:ok").await;
            three.until(number, &["CLUSTER", "INFO"], "cluster_slots_ok:16384").await;
        }
        three
    }

    /// Asks one master in words.
    async fn ask(&self, number: usize, words: &[&str]) -> Result<String, String> {
        let text = |error: ::redis::RedisError| error.to_string();
        let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", self.masters[number].1)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.map_err(text)?;
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.map_err(text)
    }

    /// Waits until a master's answer holds a text.
    async fn until(&self, number: usize, words: &[&str], wanted: &str) {
        let mut last = Err("never asked".to_owned());
        for _ in 0..1_000 {
            last = self.ask(number, words).await;
            if last.as_ref().is_ok_and(|answer| answer.contains(wanted)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{words:?} of master {number} does not say {wanted}: {last:?}");
    }

    async fn store(&self, number: usize) -> Result<RedisStore, StoreError> {
        let url = format!("redis://127.0.0.1:{}", self.masters[number].1);
        RedisStore::connect(&Connector::new(&url, None).unwrap()).await
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        for (process, _) in &mut self.masters {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn a_cluster_does_what_the_twin_does_and_every_view_is_in_one_slot() {
    let three = Three::start("cluster").await;
    let store = three.store(0).await.unwrap();
    let prefix = "view/test-[1]/";
    assert_eq!(exercise(store.clone(), prefix).await, exercise(MemoryStore::default(), prefix).await);
    keeps_texts(&store, "view/texts").await;
    assert_eq!(store.eviction_policy().await.unwrap().as_deref(), Some("noeviction"));
    for uid in ["uid-[1]", "uid-2", "uid-3", "uid-4", "uid-5"] {
        let seen = exercise_erasure(store.clone(), uid).await;
        assert_eq!(seen, exercise_erasure(MemoryStore::default(), uid).await, "{uid}");
    }
    // Each view is listed whole, by whichever server one connects; and the views are not all in one place.
    let other = three.store(2).await.unwrap();
    for uid in ["uid-2", "uid-3", "uid-4", "uid-5"] {
        let rows = async |store: &RedisStore| -> Vec<String> {
            let mut keys = store.scan(&format!("{uid}/r1/"), 0).await.unwrap().keys;
            keys.sort();
            keys
        };
        let listed = rows(&store).await;
        assert!(listed.contains(&format!("{uid}/r1/0/e/bob")), "{listed:?}");
        assert_eq!(rows(&other).await, listed);
    }
    let mut used = 0;
    for number in 0..3 {
        used += usize::from(three.ask(number, &["RANDOMKEY"]).await.is_ok());
    }
    assert!(used > 1, "the views of five UIDs are all on one of three masters");
    // Scripts that one master has lost are loaded again.
    for number in 0..3 {
        three.ask(number, &["SCRIPT", "FLUSH"]).await.unwrap();
    }
    let again = store.flush(0, None, fence(0), &[write("view/after", None, 1, true, false)]).await.unwrap();
    assert_eq!(again, [Outcome::Written]);
    let across = [write("view/a", None, 1, true, false), write("other/a", None, 1, true, false)];
    let refused = store.flush(0, None, fence(0), &across).await.unwrap_err();
    assert!(!refused.is_away() && refused.to_string().contains("several UIDs"), "{refused}");
}

#[tokio::test]
async fn a_slot_that_moves_and_a_master_that_dies_break_the_connection() {
    let mut three = Three::start("moves").await;
    let store = three.store(0).await.unwrap();
    assert_eq!(store.pointer::<Live>("view/live").await.unwrap(), None);
    let slot: u16 = {
        let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", three.masters[0].1)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd("CLUSTER").arg("KEYSLOT").arg("{view}/live").query_async(&mut connection).await.unwrap()
    };
    let from = RANGES.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap();
    let to = (from + 1) % 3;
    let id = three.ask(to, &["CLUSTER", "MYID"]).await.unwrap();
    for number in [to, from] {
        three.ask(number, &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]).await.unwrap();
    }
    assert!(store.pointer::<Live>("view/live").await.unwrap_err().is_away(), "it was sent elsewhere");
    assert!(store.markers("view/m").await.unwrap_err().is_away(), "it never comes back by itself");
    // Both sides were told, so either tells.
    let anew = three.store(from).await.unwrap();
    assert_eq!(anew.pointer::<Live>("view/live").await.unwrap(), None);

    let before = anew.connection().identity().clone();
    assert_eq!(before.run_id.split(',').count(), 3, "all masters are known: {before:?}");
    three.masters[to].0.kill().unwrap();
    three.masters[to].0.wait().unwrap();
    assert!(anew.pointer::<Live>("view/live").await.unwrap_err().is_away());
    assert!(three.store(from).await.is_err_and(|error| error.is_away()), "a cluster without a master is away");
}
