//! Redis: what it keeps, and what it loses.

use e2e::services::{Redis, ServiceError};

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.command::<()>(&["SET", key, value]).await.unwrap();
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.command(&["GET", key]).await.unwrap()
}

#[tokio::test]
async fn two_run_side_by_side() {
    let (one, other) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    assert_ne!(one.url(), other.url());
    set(&one, "key", "value").await;
    assert_eq!(get(&one, "key").await.as_deref(), Some("value"));
    assert_eq!(get(&other, "key").await, None);
}

#[tokio::test]
async fn without_a_file_a_restart_loses_all() {
    let mut redis = Redis::start().await.unwrap();
    let url = redis.url();
    set(&redis, "key", "value").await;
    redis.restart().await.unwrap();
    assert_eq!(redis.url(), url);
    assert_eq!(get(&redis, "key").await, None);
}

#[tokio::test]
async fn a_killed_one_keeps_what_it_appended_and_a_cut_loses_exactly_the_tail() {
    let mut redis = Redis::start_append_only().await.unwrap();
    for number in 0..100 {
        set(&redis, &format!("kept{number}"), "x").await;
    }
    let kept = redis.append_only_length().unwrap();
    for number in 0..50 {
        set(&redis, &format!("lost{number}"), "y").await;
    }
    redis.restart().await.unwrap();
    assert_eq!(redis.command::<i64>(&["DBSIZE"]).await.unwrap(), 150);

    assert!(matches!(redis.cut_append_only(1), Err(ServiceError::Misuse(_))), "a running one is not cut");
    redis.stop().await.unwrap();
    let tail = redis.append_only_length().unwrap() - kept;
    assert!(matches!(redis.cut_append_only(kept + tail + 1), Err(ServiceError::Misuse(_))), "there is no more");
    redis.cut_append_only(tail).unwrap();
    redis.resume().await.unwrap();
    assert_eq!(redis.command::<i64>(&["DBSIZE"]).await.unwrap(), 100);
    assert_eq!(get(&redis, "kept99").await.as_deref(), Some("x"));
    assert_eq!(get(&redis, "lost0").await, None);
}

#[tokio::test]
async fn a_write_cut_in_two_is_lost_whole() {
    let mut redis = Redis::start_append_only().await.unwrap();
    set(&redis, "first", "1").await;
    set(&redis, "second", "2").await;
    redis.stop().await.unwrap();
    redis.cut_append_only(3).unwrap();
    redis.resume().await.unwrap();
    assert_eq!((get(&redis, "first").await.as_deref(), get(&redis, "second").await), (Some("1"), None));
}

#[tokio::test]
async fn refused_commands_and_bad_settings_are_told() {
    let redis = Redis::start_with(&[("requirepass", "secret")]).await.unwrap();
    let error = redis.command::<()>(&["SET", "a", "b"]).await.unwrap_err().to_string();
    assert!(error.starts_with("Redis, SET a b: ") && error.contains("NOAUTH"), "{error}");
    let error = Redis::start_with(&[("no-such-setting", "1")]).await.unwrap_err();
    assert!(matches!(error, ServiceError::Ended { .. }) && error.to_string().contains("no-such-setting"), "{error}");
}
