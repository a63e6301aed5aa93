//! Poisoned batches: half the shoppers gone, a column all NULL, a distribution that moved. The gate refuses each, says so in a
//! condition and an event, and what is served stays. And runs that are killed while they publish: what is served is whole.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use e2e::clickstream::Clickstream;
use e2e::online::{Answer, Client};
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::{compare, compare_answer, example, history, horizon, lake, spoilt_history, table};
use crate::values::features;
use crate::world::{SHOPPER, World};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// How often the rounds of the test of kills are repeated, and how often each run is killed.
const ROUNDS: i64 = 2;
const KILLS: u64 = 2;

/// A Batch view over a history table, its first generation served, and no run but those that the test begins.
struct Served {
    world: World,
    client: Client,
    clickstream: Clickstream,
    /// The history table.
    table: String,
    /// The newest event's time.
    last: i64,
    /// The first generation's horizon.
    horizon: i64,
}

impl Served {
    async fn new(name: &str) -> Self {
        let mut world = World::bare(name, 1).await;
        let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 10 * DAY);
        let (lake, last) = (lake(&world), clickstream.events.last().unwrap().ts);
        let table = table(&lake);
        history(&clickstream, &table, "true", last);
        world.apply(&example(&world, "Batch", &lake).replace("* * * * *", "0 0 1 1 *"));
        let horizon = horizon(&world, i64::MIN).await;
        for object in ["architecture/shop", "featureview/shopper"] {
            world.ready(object);
        }
        let client = world.client_of("service/shop-server");
        let (_, telling) = compare(&world, &client, &clickstream, "true", horizon);
        assert!(telling > 1_000, "there would be nothing to spoil: {telling}");
        Self { world, client, clickstream, table, last, horizon }
    }

    /// Begins a run as `kubectl create job --from=cronjob/…` does; gives the Job's name.
    fn begin(&self, name: &str) -> String {
        let jsonpath = "jsonpath={.items[0].metadata.name}";
        let cron_job = self.world.kubectl(&["get", "cronjobs", "-o", jsonpath]).unwrap();
        self.world.kubectl(&["create", "job", name, &format!("--from=cronjob/{cron_job}")]).unwrap();
        name.to_owned()
    }

    /// All features of all shoppers as of the horizon that is served.
    fn read(&self) -> Answer {
        read(&self.client, &features(&self.world), &self.clickstream.users()).unwrap()
    }

    fn generation(&self) -> String {
        self.world.kubectl(&["get", "featureview", SHOPPER, "-o", "jsonpath={.status.generation}"]).unwrap()
    }
}

fn read(client: &Client, features: &[String], users: &[String]) -> Result<Answer, String> {
    client.get(SHOPPER, features, "user_id", users, None).map_err(|e| e.to_string())
}

/// The generation and the horizon, in milliseconds, that an answer was read from.
fn read_from(answer: &Answer) -> (u64, i64) {
    let view = &answer.metadata["views"][SHOPPER];
    let horizon = &view["horizon"];
    let horizon =
        horizon.as_i64().or_else(|| horizon.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    (view["generation"].as_u64().unwrap(), horizon.unwrap())
}

/// A way to spoil the history table.
struct Poison {
    name: &'static str,
    /// Which events are left.
    events: &'static str,
    /// The SQL in place of columns.
    columns: &'static [(&'static str, &'static str)],
    /// What only its refusal says.
    refusal: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_batch_is_refused_with_a_condition_and_an_event_and_the_old_one_serves_on() {
    let served = Served::new("poison").await;
    let before = served.read();
    let even = "CAST(regexp_extract(user_id, '[0-9]+') AS INTEGER) % 2 = 0";
    let poisons = [
        Poison { name: "half-the-rows", events: even, columns: &[], refusal: "maxRowCountDrop" },
        Poison {
            name: "a-null-column",
            events: "true",
            columns: &[("event", "CAST(NULL AS VARCHAR)")],
            refusal: "feature last_event: its share of NULLs rose",
        },
        Poison {
            name: "a-shifted-distribution",
            events: "true",
            columns: &[("session_id", "session_id || i % 7")],
            refusal: "feature sessions_7d: its population stability index",
        },
    ];
    for Poison { name, events, columns, refusal } in poisons {
        // It says that it is complete for a day more, as a table that nobody knows to be spoilt would.
        spoilt_history(&served.clickstream, &served.table, events, columns, served.last + DAY);
        served.begin(name);
        let stalled = r#"jsonpath={.status.conditions[?(@.type=="Stalled")].reason}: {.status.conditions[?(@.type=="Stalled")].message}"#;
        let said = wait_for("the refusal", Duration::from_mins(3), || async {
            let said = served.world.kubectl(&["get", "featureview", SHOPPER, "-o", stalled])?;
            if said.starts_with("GenerationRefused: ") && said.contains(refusal) { Ok(said) } else { Err(said) }
        })
        .await
        .unwrap();
        println!("{name}: {}", said.chars().take(160).collect::<String>());
        // A note is cut shorter than a condition's message.
        let begins: String = said.chars().skip("GenerationRefused: ".len()).take(80).collect();
        served.world.is_told("Warning", "GenerationRefused", &begins, Duration::from_mins(1)).await;
        let failed = served.world.kubectl(&["wait", &format!("job/{name}"), "--for=condition=Failed", "--timeout=60s"]);
        failed.expect("exit code 3 ends the Job at once");
        let after = served.read();
        assert_eq!(read_from(&after), read_from(&before), "{name}");
        assert_eq!(after.features, before.features, "{name}");
        assert_eq!((served.generation().as_str(), read_from(&after).1), ("1", served.horizon));
        served.world.ready("featureview/shopper");
    }
    // A table that is mended heals it without anybody's hand.
    history(&served.clickstream, &served.table, "true", served.last + DAY);
    served.begin("mended");
    let next = horizon(&served.world, served.horizon + 1).await;
    compare(&served.world, &served.client, &served.clickstream, "true", next);
    served.world.kubectl(&["wait", "featureview/shopper", "--for=condition=Stalled=False", "--timeout=60s"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_killed_while_they_publish_leave_a_whole_generation() {
    let served = Served::new("killed-runs").await;
    // Which events each generation was made of.
    let mut made_of = BTreeMap::from([(served.horizon, "true".to_owned())]);
    let stop = Arc::new(AtomicBool::new(false));
    let (names, users) = (features(&served.world), served.clickstream.users());
    let reader = {
        let (client, stop, names, users) = (served.client.clone(), stop.clone(), names.clone(), users.clone());
        std::thread::spawn(move || {
            let (mut seen, mut reads) = (BTreeMap::<(u64, i64), Answer>::new(), 0_usize);
            while !stop.load(Ordering::Acquire) {
                let answer = read(&client, &names, &users).unwrap();
                reads += 1;
                let from = read_from(&answer);
                assert!(
                    seen.last_key_value().is_none_or(|(last, _)| *last <= from),
                    "{from:?} after {:?}",
                    seen.keys()
                );
                // Every answer of a generation is the same, so one of each is compared with DuckDB at the end.
                let first = seen.entry(from).or_insert_with(|| answer.clone());
                assert_eq!(first.features, answer.features, "generation {from:?} is not whole");
            }
            (seen, reads)
        })
    };
    let (mut newest, mut killed) = (served.horizon, 0);
    for round in 1..=ROUNDS {
        // Few events fewer each time: another generation, of which the gate has nothing to say.
        let events = format!("i % 97 != {round}");
        history(&served.clickstream, &served.table, &events, served.last + round * DAY);
        let job = served.begin(&format!("killed-{round}"));
        for kill in 0..KILLS {
            killed += usize::from(strike(&served.world, &job, (round, kill)).await);
        }
        newest = horizon(&served.world, newest + 1).await;
        made_of.insert(newest, events);
    }
    // The last one has been read too, before reading ends.
    wait_for("the newest generation to be read", Duration::from_mins(1), || async {
        let from = read_from(&served.read());
        if from.1 == newest { Ok(()) } else { Err(format!("{from:?}")) }
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Release);
    let (seen, reads) = reader.join().unwrap();
    println!("{reads} reads of {} generations while {killed} runs were killed", seen.len());
    assert!(killed >= 2 && reads > 50 && seen.len() >= usize::try_from(ROUNDS).unwrap());
    for ((_, horizon), answer) in &seen {
        compare_answer(answer, &names, &served.clickstream, &made_of[horizon], *horizon);
    }
}

/// Kills the Job's pod, once its container runs, at a moment that nobody chose; whether there was one to kill.
async fn strike(world: &World, job: &str, seed: impl std::hash::Hash) -> bool {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let running = wait_for("a run", Duration::from_mins(3), || async {
        let ended = r#"jsonpath={.status.conditions[?(@.status=="True")].type}"#;
        if world.kubectl(&["get", "job", job, "-o", ended])?.contains("Complete") {
            return Ok(false);
        }
        let pods = ["get", "pods", "-l", &selector, "--field-selector=status.phase=Running", "-o", "name"];
        let found = world.kubectl(&pods)?;
        if found.trim().is_empty() { Err("no pod runs".to_owned()) } else { Ok(true) }
    })
    .await
    .unwrap();
    if !running {
        return false;
    }
    let mut random = DefaultHasher::new();
    (seed, SystemTime::now()).hash(&mut random);
    // The moment itself is what is drawn: nothing is awaited.
    tokio::time::sleep(Duration::from_millis(random.finish() % 6_000)).await;
    let said = world.kubectl(&[
        "delete",
        "pod",
        "-l",
        &selector,
        "--field-selector=status.phase=Running",
        "--grace-period=0",
        "--force",
    ]);
    said.is_ok_and(|said| said.contains("deleted"))
}
