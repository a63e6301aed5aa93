//! What may happen to a replay half way: its Job is deleted by hand, and the topic gains partitions.

use std::time::Duration;

use e2e::progress::wait_for;

use super::{READERS, SLOW, Shop};

const JOB: [&str; 4] = ["get", "jobs", "-l", "app.kubernetes.io/component=replay"];

impl Shop {
    /// Waits until so many percent of the history are read, and gives how many are.
    pub(super) async fn replayed(&self, percent: u32) -> u32 {
        wait_for(&format!("{percent} % of the replay"), Duration::from_mins(2), || async {
            let (phase, seen) = (self.status("phase"), self.status("rollout.trial.replay.progress.percent"));
            assert_ne!(phase, "CatchingUp", "it was over before: {}", self.seen());
            match seen.parse() {
                Ok(seen) if phase == "Replaying" && seen >= percent => Ok(seen),
                _ => Err(format!("{phase}, {seen} %")),
            }
        })
        .await
        .unwrap()
    }

    fn replay_job(&self) -> String {
        self.world.kubectl(&[&JOB[..], &["-o", "jsonpath={.items[*].metadata.uid}"]].concat()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_survives_that_its_job_is_deleted_and_its_topic_gains_partitions() {
    let shop = Shop::open("phases-replay").await;
    let [v1, ..] = shop.roles();
    let story = async {
        let v2 = shop.roll(1, SLOW).await;
        let read = shop.replayed(20).await;
        let captured = || ["fence", "parts"].map(|field| shop.status(&format!("rollout.trial.replay.{field}")));
        let (before, job) = (captured(), shop.replay_job());
        let delete = [&["delete"][..], &JOB[1..]].concat();
        shop.world.kubectl(&delete).unwrap();
        wait_for("the Job to be made again", Duration::from_mins(1), || async {
            let now = shop.replay_job();
            if now.is_empty() || now == job { Err(format!("{now:?} after {job:?}")) } else { Ok(()) }
        })
        .await
        .unwrap();
        assert_eq!(captured(), before, "the same records are read");

        // Events in partitions that nobody knew of when the offsets were captured.
        shop.world.feed.grow(6).await.unwrap();
        shop.feed(&[4, 5]);
        let after = shop.replayed(read + 5).await;
        println!("the Job was deleted at {read} %; the new one was seen at {after} %");
        assert_eq!(captured(), before);
        shop.stands("Soaking", &v2, &v1).await;
        shop.feed(&[0, 1, 2, 3, 4, 5]);
        // Both have read them: the one that serves, and the one that is kept.
        shop.whole().await;
        shop.patch(&format!(r#"{{"servingRevision":"{v1}"}}"#));
        shop.stands("RolledBack", &v1, &v2).await;
        shop.whole().await;
        v2
    };
    let (v2, seen) = shop.readers.during(READERS, story).await;
    println!("{v1}, {v2}: {seen}");
    seen.assert_right();
}
