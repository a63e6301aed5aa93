//! The console's routes: the page, the board, one view, and the pages of the documentation.
//!
//! Invariants: only GET and HEAD are answered; every answer forbids the browser to load anything from elsewhere, to be framed,
//! and to guess types.

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use crds::{Architecture, FeatureView};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::detail::Detail;
use super::seen::{Seen, architecture};
use super::{Shared, docs, watch};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files that the page is made of: path, type, text.
const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("../../console/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("../../console/console.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../../console/icon.svg")),
    ("/console.js", SCRIPT, include_str!("../../console/console.js")),
    ("/detail.js", SCRIPT, include_str!("../../console/detail.js")),
    ("/docs.js", SCRIPT, include_str!("../../console/docs.js")),
    ("/dom.js", SCRIPT, include_str!("../../console/dom.js")),
    ("/draw.js", SCRIPT, include_str!("../../console/draw.js")),
    ("/list.js", SCRIPT, include_str!("../../console/list.js")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// How many events of a view are shown.
const EVENTS: usize = 20;

#[derive(Clone)]
struct Console {
    board: Shared,
    client: Client,
    namespace: Option<String>,
    /// Tells this process from another, whose versions mean something else.
    epoch: i64,
}

/// All routes. At a loopback address only requests to one are answered: no page of a stranger can then read the console by
/// a name of its own that resolves there.
pub fn router(board: Shared, client: Client, namespace: Option<String>, loopback: bool) -> Router {
    let epoch = Timestamp::now().as_millisecond();
    let files = FILES.into_iter().fold(Router::new(), |files, (path, kind, text)| {
        files.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }))
    });
    let routes = files
        .route("/docs/{page}", get(page))
        .route("/api/board", get(show_board))
        .route("/api/views/{namespace}/{name}", get(show_view))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such page; the console is at /") })
        .with_state(Console { board, client, namespace, epoch })
        .layer(middleware::map_response(guarded));
    if loopback { routes.layer(middleware::from_fn(local)) } else { routes }
}

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn local(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return next.run(request).await;
    }
    problem(
        StatusCode::FORBIDDEN,
        "the console listens on a loopback address; open it as http://127.0.0.1 or localhost",
    )
}

async fn page(Path(page): Path<String>) -> Response {
    match docs::PAGES.iter().find(|(name, _)| *name == page) {
        Some((_, text)) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], *text).into_response(),
        None => problem(StatusCode::NOT_FOUND, "there is no such page of the documentation"),
    }
}

#[derive(Deserialize)]
struct Since {
    /// The version that the page has, as its `ETag` said.
    since: Option<String>,
}

async fn show_board(State(console): State<Console>, Query(asked): Query<Since>, headers: HeaderMap) -> Response {
    let since = asked.since.as_deref().and_then(|tag| version(tag, console.epoch));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| version(tag.to_str().ok()?, console.epoch));
    console.board.read(|board| {
        let tag = format!("\"{}-{}\"", console.epoch, board.version());
        let tag = [(header::ETAG, tag)];
        if known == Some(board.version()) {
            return (StatusCode::NOT_MODIFIED, tag).into_response();
        }
        (tag, Json(board.since(since))).into_response()
    })
}

/// The version that an `ETag` of this process stands for.
fn version(tag: &str, epoch: i64) -> Option<u64> {
    let (of, version) = tag.trim_start_matches("W/").trim_matches('"').split_once('-')?;
    (of.parse() == Ok(epoch)).then(|| version.parse().ok())?
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    detail: Detail,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Happened>>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_problem: Option<String>,
}

/// An event of a view.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Happened {
    at: String,
    reason: String,
    note: String,
    warning: bool,
    count: i32,
}

async fn show_view(State(console): State<Console>, Path((namespace, name)): Path<(String, String)>) -> Response {
    if console.namespace.as_ref().is_some_and(|own| *own != namespace) {
        return problem(StatusCode::NOT_FOUND, "the operator works in another namespace");
    }
    let views = watch::api::<FeatureView>(&console.client, Some(&namespace));
    let object = match views.get_opt(&name).await {
        Ok(Some(object)) => object,
        Ok(None) => return problem(StatusCode::NOT_FOUND, &format!("there is no view {namespace}/{name}")),
        Err(error) => return problem(StatusCode::BAD_GATEWAY, &format!("the API server: {error}")),
    };
    let seen = Seen::of(&object);
    let house = async {
        let name = &seen.spec.as_ref().ok()?.architecture_ref.name;
        let object = watch::api::<Architecture>(&console.client, Some(&namespace)).get_opt(name).await.ok()??;
        architecture(&object).ok()
    };
    let (house, events) = tokio::join!(house, events(&console.client, &namespace, &seen.uid));
    let (events, events_problem) = match events {
        Ok(events) => (Some(events), None),
        Err(kube::Error::Api(answer)) if answer.code == 403 => {
            (None, Some("the operator may not list events; the chart gives it that right".to_owned()))
        }
        Err(error) => (None, Some(error.to_string())),
    };
    Json(Shown { detail: Detail::of(&seen, house.as_ref()), events, events_problem }).into_response()
}

async fn events(client: &Client, namespace: &str, uid: &str) -> Result<Vec<Happened>, kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(500)).await?;
    Ok(newest(list.items))
}

/// The newest events first.
fn newest(events: Vec<Event>) -> Vec<Happened> {
    let mut all: Vec<Happened> = events.into_iter().filter_map(happened).collect();
    all.sort_by(|a, b| b.at.cmp(&a.at));
    all.truncate(EVENTS);
    all
}

fn happened(event: Event) -> Option<Happened> {
    let last = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let at = last.or(event.event_time.map(|time| time.0)).or(event.last_timestamp.map(|time| time.0))?;
    // To the second, so that texts sort as times do.
    let at = Timestamp::from_second(at.as_second()).ok()?;
    Some(Happened {
        at: at.to_string(),
        reason: event.reason.unwrap_or_default(),
        note: event.message.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
        count: event.series.and_then(|series| series.count).or(event.count).unwrap_or(1),
    })
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}

#[cfg(test)]
mod tests;
