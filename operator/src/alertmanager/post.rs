//! Tells Alertmanagers, each by itself: one that is away keeps no other waiting.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use kube::{Client, Config};

use super::Alertmanagers;
use super::alert::{Since, firing};
use super::told::{Posted, Told};
use crate::context::Context;

/// How long an Alertmanager may take to connect, and to answer, each.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon it is tried again after it did not take something, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Tells all of them, until it is dropped.
pub async fn watch(context: Arc<Context>) {
    let Some(them) = &context.settings.alertmanagers else { return };
    futures::future::join_all(them.urls.iter().map(|url| keep(&context, them, url))).await;
}

/// Keeps one of them told.
async fn keep(context: &Context, them: &Alertmanagers, url: &Uri) {
    let resend = i64::try_from(them.resend.as_millis()).unwrap_or(i64::MAX);
    let mut sweeps = context.swept.subscribe();
    let (mut told, mut since, mut failures) = (Told::default(), Since::default(), 0_u32);
    // Made anew after a failure: the authority's file may not have been there.
    let mut client = None;
    loop {
        let now = (context.now)().as_millisecond();
        let swept = *sweeps.borrow_and_update();
        let (alerts, then) = firing(&context.lags.summary(), swept, &them.wording, now, since);
        since = then;
        context.metrics.alerts(alerts.len());
        let mut retry = None;
        if let Some(next) = told.next(&alerts, now, resend) {
            let answer = post(&mut client, them, url, &next.alerts).await;
            context.metrics.posted(answer.is_ok());
            match answer {
                Ok(()) => (told, failures) = (next.then, 0),
                Err(problem) => {
                    tracing::warn!(alertmanager = %url, alerts = next.alerts.len(), failures, problem, "alerts are not taken");
                    retry = Some(RETRY.1.min(RETRY.0 * 2_u32.saturating_pow(failures)).min(them.resend));
                    (client, failures) = (None, failures.saturating_add(1));
                }
            }
        }
        if let Some(pause) = retry {
            tokio::time::sleep(pause).await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(them.resend) => {}
            changed = sweeps.changed() => if changed.is_err() { return },
        }
    }
}

async fn post(known: &mut Option<Client>, them: &Alertmanagers, url: &Uri, alerts: &[Posted]) -> Result<(), String> {
    let client = match known {
        Some(client) => client,
        None => known.insert(client(them, url).map_err(|error| error.to_string())?),
    };
    let body = serde_json::to_vec(alerts).map_err(|error| error.to_string())?;
    let mut request = Request::post("/api/v2/alerts").header(CONTENT_TYPE, "application/json");
    if let Some(file) = &them.token_file {
        request = request.header(AUTHORIZATION, bearer(file)?);
    }
    let request = request.body(body);
    let request = client.request_text(request.map_err(|error| error.to_string())?);
    match tokio::time::timeout(2 * TIMEOUT, request).await {
        Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", 2 * TIMEOUT.as_secs())),
    }
}

/// Read each time: it may have been changed. A line's end after it is not part of it, as Kubernetes' own client would have it.
fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| format!("{} holds no token: it has characters that no header can have", file.display()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// The client of Kubernetes: it is here, has the TLS that everything else has, and reads the authority again.
fn client(them: &Alertmanagers, url: &Uri) -> Result<Client, kube::Error> {
    let mut config = Config::new(url.clone());
    config.default_retry = false;
    (config.connect_timeout, config.read_timeout, config.write_timeout) = (Some(TIMEOUT), None, Some(TIMEOUT));
    config.root_cert_file.clone_from(&them.ca_file);
    Client::try_from(config)
}
