//! A view that is deleted leaves nothing behind: no object, no row, no consumer group.

use std::time::Duration;

use e2e::clickstream::Clickstream;
use e2e::cluster::Cluster;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::world::{SHOPPER, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_view_leaves_nothing_behind() {
    let world = World::new("removal", 4).await;
    world.serve_shopper();
    let uid = world.uid(SHOPPER);
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    for event in &clickstream.events[..2_000] {
        world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).unwrap();
    }
    world.feed.flush().unwrap();
    world.settled(&uid).await.unwrap();
    assert!(world.keys_of(&uid) > 100, "rows were written");
    wait_for("a consumer group of the view", Duration::from_secs(30), || async {
        let groups = world.feed.groups().map_err(|e| e.to_string())?;
        if groups.iter().any(|g| g.starts_with(&uid)) { Ok(()) } else { Err(format!("{groups:?}")) }
    })
    .await
    .unwrap();

    world.kubectl(&["delete", "featureview", SHOPPER, "--timeout=120s"]).unwrap();

    assert_eq!(world.keys_of(&uid), 0, "rows, markers and pointers are gone");
    let groups = world.feed.groups().unwrap();
    assert!(!groups.iter().any(|g| g.starts_with(&uid)), "{groups:?}");
    wait_for("the view's objects to be gone", Duration::from_mins(1), || async {
        let found = world.kubectl(&[
            "get",
            "deployments,configmaps,pods,controllerrevisions",
            "-l",
            "featuremill.dev/view=shopper",
            "-o",
            "name",
        ])?;
        if found.trim().is_empty() { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// The chart's Role is all that the operator needs: the API server has refused it nothing, in all the tests so far.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_never_refused_by_its_own_role() {
    let logs = ["-n", "featuremill-system", "logs", "-l", "app.kubernetes.io/component=operator", "--tail=-1"];
    let logs = Cluster::from_env().kubectl(&logs).unwrap();
    assert!(logs.contains("featuremill-operator starts"), "{logs}");
    // A namespace that is being deleted refuses with the same code, and rightly; a missing right names the user.
    let refused: Vec<_> = logs.lines().filter(|l| l.contains("is forbidden: User")).take(3).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
