//! Another edit, and an edit taken back, while a candidate catches up and while it soaks.

use super::{HELD, QUICK, READERS, Shop};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes five minutes: make soak"]
async fn edits_and_reverts_in_catch_up_and_in_the_soak_end_right() {
    let shop = Shop::open("phases-edits").await;
    let [v1, ..] = shop.roles();
    let story = async {
        // Edited and reverted in catch-up: nothing was ever read of it, and nothing stays.
        let v2 = shop.roll(1, HELD).await;
        shop.phase("CatchingUp").await;
        assert_eq!(shop.roles(), [&v1, &v2, ""].map(str::to_owned));
        shop.feed(&[]);
        shop.roll(0, QUICK).await;
        shop.stands("Live", &v1, "").await;
        shop.gone(&v2).await;

        // Edited anew, and again in catch-up: the newer takes the place of the older, of which nothing was ever read.
        assert_eq!(shop.roll(1, HELD).await, v2, "the same spec is the same revision");
        shop.phase("CatchingUp").await;
        shop.feed(&[]);
        let v3 = shop.roll(2, QUICK).await;
        shop.stands("Soaking", &v3, &v1).await;
        shop.gone(&v2).await;
        let told = ["get", "events", "-o", "jsonpath={.items[?(@.reason=='Superseded')].message}"];
        let told = shop.world.kubectl(&told).unwrap();
        assert!(told.contains(&v2), "{told}");

        // Another edit in the soak: the way back stays the one that proved itself, the one that did not goes.
        assert_eq!(shop.roll(1, HELD).await, v2);
        shop.phase("CatchingUp").await;
        assert_eq!(shop.roles(), [&v3, &v2, &v1].map(Clone::clone));
        shop.feed(&[]);
        shop.patch(r#"{"catchUp":{"stableForSeconds":3}}"#);
        shop.stands("Soaking", &v2, &v1).await;
        shop.gone(&v3).await;

        // Reverted in the soak: back at once, and forward again by the same edit.
        shop.feed(&[]);
        shop.roll(0, QUICK).await;
        shop.stands("Soaking", &v1, &v2).await;
        shop.roll(1, QUICK).await;
        shop.stands("Soaking", &v2, &v1).await;
        shop.roll(0, QUICK).await;
        shop.stands("Soaking", &v1, &v2).await;
        shop.patch(r#"{"scaleDownDelaySeconds":0}"#);
        shop.stands("Live", &v1, "").await;
        shop.gone(&v2).await;
        (v2, v3)
    };
    let ((v2, v3), seen) = shop.readers.during(READERS, story).await;
    println!("{v1}, {v2}, {v3}: {seen}");
    seen.assert_right();
    assert!([&v1, &v2, &v3].iter().all(|revision| seen.of(revision) > 20), "the load was no load");
    shop.whole().await;
}
