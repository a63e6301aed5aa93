#![allow(clippy::unwrap_used)]

use axum::body::{Body, to_bytes};
use kube::Config;
use serde_json::Value;
use tower::Service as _;

use super::*;
use crate::console::fixtures::view;
use crate::console::row::Row;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn ask(router: &mut Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// Of an API server that is not there: nothing but what is remembered can be shown.
fn console(board: &Shared, loopback: bool) -> Router {
    install();
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    router(board.clone(), client, None, loopback)
}

fn install() {
    shell::redis::install_crypto();
}

#[tokio::test]
async fn the_board_is_sent_once_and_then_what_changed() {
    let board = Shared::default();
    let mut routes = console(&board, false);
    board.write(|b| b.set(Row::of(&Seen::of(&view(Value::Null))), 0));
    let first = ask(&mut routes, "/api/board", &[]).await;
    let tag = first.headers[header::ETAG].to_str().unwrap().to_owned();
    let json: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((json["whole"].as_bool(), json["views"][0]["name"].as_str()), (Some(true), Some("clicks")));
    assert!(!first.body.contains("secret"), "{}", first.body);

    let again = ask(&mut routes, "/api/board", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));

    board.write(|b| b.remove(&("shop".to_owned(), "clicks".to_owned())));
    let since = tag.trim_matches('"');
    let changed = ask(&mut routes, &format!("/api/board?since={since}"), &[("if-none-match", &tag)]).await;
    let json: Value = serde_json::from_str(&changed.body).unwrap();
    assert_eq!((json["whole"].as_bool(), json["gone"][0][1].as_str()), (Some(false), Some("clicks")));
    // A version of another process means nothing here.
    let foreign = ask(&mut routes, "/api/board?since=1-1", &[("if-none-match", "\"1-1\"")]).await;
    assert!(foreign.body.contains("\"whole\":true"), "{}", foreign.body);
}

#[tokio::test]
async fn every_answer_forbids_what_is_from_elsewhere() {
    let mut routes = console(&Shared::default(), false);
    let others = ["/api/board", "/docs/reasons", "/nothing", "/docs/nothing"];
    for path in FILES.into_iter().map(|(path, ..)| path).chain(others) {
        let answer = ask(&mut routes, path, &[]).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        let found = !path.ends_with("nothing");
        assert_eq!(answer.status.is_success(), found, "{path}");
    }
    // What it serves asks for nothing but what it serves, and makes no markup out of text.
    for (path, _, text) in FILES {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!["http:", "https:", "url(h", "innerHTML", "eval("].iter().any(|word| text.contains(word)), "{path}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_said_to_be() {
    let answer = ask(&mut console(&Shared::default(), false), "/api/views/shop/clicks", &[]).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.body.contains("the API server: "), "{}", answer.body);
}

#[tokio::test]
async fn at_a_loopback_address_no_other_name_is_answered() {
    let mut routes = console(&Shared::default(), true);
    for (host, status) in [
        ("127.0.0.1:8090", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("[::1]:8090", StatusCode::OK),
        ("console.stranger.example:8090", StatusCode::FORBIDDEN),
        ("127.0.0.1.stranger.example", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(ask(&mut routes, "/api/board", &[("host", host)]).await.status, status, "{host}");
    }
}

#[test]
fn events_are_told_newest_first_and_not_all() {
    let event = |second: i64, series: Option<i64>| {
        let time = |second| Timestamp::from_second(second).unwrap().to_string();
        let mut event = json!({"metadata": {"name": "e"}, "eventTime": time(second), "reason": format!("At{second}"),
            "message": "it", "type": "Warning", "involvedObject": {}});
        if let Some(last) = series {
            event["series"] = json!({"count": 3, "lastObservedTime": time(last)});
        }
        serde_json::from_value::<Event>(event).unwrap()
    };
    let told = newest((0..30).map(|i| event(i, (i == 0).then_some(99))).collect());
    assert_eq!(told.len(), EVENTS);
    assert_eq!((told[0].reason.as_str(), told[0].count, told[1].reason.as_str()), ("At0", 3, "At29"));
}
