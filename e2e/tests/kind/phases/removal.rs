//! The view deleted in the middle of its cutover: nothing stays of either revision.

use std::time::Duration;

use e2e::progress::wait_for;
use redis::Commands as _;

use super::{QUICK, Shop, version};
use crate::world::SHOPPER;

/// Rolls a second version out up to the cutover, deletes the view that long after the word for it, and looks what is left.
async fn delete_in_cutover(shop: &Shop, after: Duration) {
    let v2 = shop.roll(1, &format!("{QUICK}, autoPromotionEnabled: false")).await;
    shop.phase("AwaitingPromotion").await;
    let uid = shop.world.uid(SHOPPER);
    assert!(shop.world.keys_of(&format!("{uid}/{v2}")) > 100, "rows were written");
    shop.annotate("promote", &v2);
    tokio::time::sleep(after).await;
    println!("deleted {after:?} after the word: {}", shop.seen().trim());
    shop.world.kubectl(&["delete", "featureview", SHOPPER, "--timeout=120s"]).unwrap();

    assert_eq!(shop.world.keys_of(&uid), 0, "rows, markers and pointers are gone");
    let groups = shop.world.feed.groups().unwrap();
    assert!(!groups.iter().any(|g| g.starts_with(&uid)), "{groups:?}");
    let of = shop.world.kubectl(&["get", "architecture", "realtime", "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let mut redis = redis::Client::open(shop.world.cluster.redis()).and_then(|c| c.get_connection()).unwrap();
    let catalog: Vec<String> = redis.hkeys(engine::row::catalog_key(&of)).unwrap();
    assert!(!catalog.iter().any(|view| view == SHOPPER), "the server forgets it: {catalog:?}");
    wait_for("the view's objects to be gone", Duration::from_mins(1), || async {
        let kinds = "deployments,cronjobs,jobs,configmaps,pods,controllerrevisions";
        let found = shop.world.kubectl(&["get", kinds, "-l", "featuremill.dev/view=shopper", "-o", "name"])?;
        if found.trim().is_empty() { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_deleted_in_its_cutover_leaves_nothing_behind() {
    let shop = Shop::open("phases-removal").await;
    delete_in_cutover(&shop, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes: make soak"]
async fn a_view_deleted_at_any_moment_of_its_cutover_leaves_nothing_behind() {
    let shop = Shop::open("phases-removal").await;
    for after in [50, 150, 300, 600, 1_200] {
        delete_in_cutover(&shop, Duration::from_millis(after)).await;
        shop.world.apply(&version(&shop.world, 0, QUICK));
        shop.world.ready("featureview/shopper");
    }
}
