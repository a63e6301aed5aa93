//! Reads what a bundle holds, with the rights of who asks. Whatever cannot be read is noted, and the rest is read nonetheless.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::ask::{self, Kind, Scope, Text};
use super::progress::Stage;
use crate::error::CliError;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many texts are read at once.
const AT_ONCE: usize = 8;
/// How many bytes of logs and metrics a bundle holds at most, before it is compressed.
const TEXTS: usize = 128 << 20;

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Everything that was read.
#[derive(Default)]
pub struct Found {
    /// What the API server says of itself.
    pub version: Option<Value>,
    /// Our definitions, by name; none where there is none.
    pub definitions: Vec<(String, Option<Value>)>,
    /// Objects by the file that they belong in.
    pub objects: Vec<(Kind, Value)>,
    /// The operator's Leases.
    pub leases: Vec<Value>,
    /// What happened to them.
    pub events: Vec<Value>,
    /// Logs and metrics by file.
    pub texts: Vec<(String, String)>,
    /// What could not be read.
    pub missed: Vec<Missed>,
}

/// What is looked at.
pub struct Order<'a> {
    /// Where views are.
    pub scope: &'a Scope,
    /// Where the operator is, if it was said.
    pub operator: Option<&'a str>,
    /// How many lines of each log.
    pub lines: u32,
}

/// Reads all of it.
///
/// # Errors
/// When the API server does not answer at all.
pub async fn gather(client: &Client, order: &Order<'_>) -> Result<Found, CliError> {
    let mut found = Found::default();
    // Everybody may ask that: who gets no answer gets none to anything.
    let doing = CliError::api("asking the API server for its version");
    found.version = Some(client.request(request(ask::VERSION)?).await.map_err(doing)?);
    let mut stage = Stage::begin("definitions");
    for (_, known) in crds::definitions() {
        let name = known.metadata.name.unwrap_or_default();
        let definition = one(client, &mut found.missed, &ask::definition(&name), &format!("definition {name}")).await;
        stage.more(usize::from(definition.is_some()));
        found.definitions.push((name, definition));
    }
    stage.end();
    objects(client, order, &mut found).await;
    events(client, order, &mut found).await;
    texts(client, order, &mut found).await;
    Ok(found)
}

async fn objects(client: &Client, order: &Order<'_>, found: &mut Found) {
    let mut stage = Stage::begin("objects");
    for kind in ask::OWN.iter().chain(&ask::MADE) {
        match list(client, kind, order.scope).await {
            Ok(items) => {
                stage.more(items.len());
                found.objects.extend(items.into_iter().map(|item| (*kind, item)));
            }
            Err(why) => found.missed.push(Missed { what: format!("{} of {}", kind.plural, order.scope), why }),
        }
    }
    let operators = operators(client, order, &mut found.missed).await;
    stage.more(operators.len());
    for namespace in ask::namespaces(&operators) {
        let scope = Scope::Namespace(namespace.clone());
        for kind in &ask::OF_OPERATOR {
            match list(client, kind, &scope).await {
                Ok(items) => {
                    let ours: Vec<Value> = items.into_iter().filter(ask::is_of_our_chart).collect();
                    stage.more(ours.len());
                    found.objects.extend(ours.into_iter().map(|item| (*kind, item)));
                }
                Err(why) => {
                    found.missed.push(Missed { what: format!("the operator's {} of {scope}", kind.plural), why });
                }
            }
        }
        let what = format!("the operator's lease in {scope}");
        found.leases.extend(one(client, &mut found.missed, &ask::lease(&namespace), &what).await);
    }
    found.objects.extend(operators.into_iter().map(|item| (ask::OPERATOR, item)));
    stage.end();
}

/// The operator's Deployments: where it was said to be, or everywhere, or where it may be expected.
async fn operators(client: &Client, order: &Order<'_>, missed: &mut Vec<Missed>) -> Vec<Value> {
    let scopes = match order.operator {
        Some(namespace) => vec![Scope::Namespace(namespace.to_owned())],
        None => std::iter::once(Scope::All).chain(ask::likely_operator_scopes(order.scope)).collect(),
    };
    let mut whys = Vec::new();
    for scope in scopes {
        match list(client, &ask::OPERATOR, &scope).await {
            Ok(items) => {
                let ours: Vec<Value> = items.into_iter().filter(ask::is_of_our_chart).collect();
                // Who may look everywhere has seen that there is none.
                if !ours.is_empty() || scope == Scope::All {
                    return ours;
                }
            }
            Err(why) => whys.push(why),
        }
    }
    if !whys.is_empty() {
        let what = "the operator's deployment; where it is can be said by --operator-namespace".to_owned();
        missed.push(Missed { what, why: whys.join("; ") });
    }
    Vec::new()
}

async fn events(client: &Client, order: &Order<'_>, found: &mut Found) {
    let mut stage = Stage::begin("events");
    let objects: Vec<Value> = found.objects.iter().map(|(_, object)| object.clone()).collect();
    let mut scopes = vec![order.scope.clone()];
    if let Scope::Namespace(name) = order.scope {
        let others = ask::namespaces(&objects).into_iter().filter(|other| other != name);
        scopes.extend(others.map(Scope::Namespace));
    }
    for scope in scopes {
        match list(client, &ask::EVENTS, &scope).await {
            Ok(items) => found.events.extend(items.into_iter().filter(|event| ask::happened_to_us(event, &objects))),
            Err(why) => found.missed.push(Missed { what: format!("events of {scope}"), why }),
        }
    }
    found.events.sort_by_key(|event| ask::when(event).to_owned());
    stage.more(found.events.len());
    stage.end();
}

async fn texts(client: &Client, order: &Order<'_>, found: &mut Found) {
    let pods: Vec<&Value> =
        found.objects.iter().filter(|(kind, _)| kind.plural == "pods").map(|(_, pod)| pod).collect();
    let mut wanted = ask::logs(&pods, order.lines);
    wanted.extend(ask::metrics(&pods));
    let (mut stage, mut bytes, all) = (Stage::begin("logs and metrics"), 0, wanted.len());
    let mut answers =
        stream::iter(wanted).map(|wanted| async { (read(client, &wanted).await, wanted) }).buffered(AT_ONCE);
    let mut seen = 0;
    while let Some((answer, Text { file, .. })) = answers.next().await {
        seen += 1;
        match answer {
            Ok(text) => {
                bytes += text.len();
                stage.more(1);
                found.texts.push((file, text));
            }
            Err(why) => found.missed.push(Missed { what: file, why }),
        }
        if bytes >= TEXTS && seen < all {
            let why =
                format!("a bundle holds {} MiB of logs and metrics; name one namespace, or fewer lines", TEXTS >> 20);
            found.missed.push(Missed { what: format!("{} further logs and metrics", all - seen), why });
            break;
        }
    }
    stage.end();
}

/// All objects of a kind, page by page, each with its kind, which a list says but once.
async fn list(client: &Client, kind: &Kind, scope: &Scope) -> Result<Vec<Value>, String> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let path = kind.page(scope, after.as_deref());
        let mut page: Value = get(client, &path).await?;
        let of = ask::text(&page, "/kind").trim_end_matches("List").to_owned();
        let version = ask::text(&page, "/apiVersion").to_owned();
        after = Some(ask::text(&page, "/metadata/continue").to_owned()).filter(|after| !after.is_empty());
        for mut item in page["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            item["kind"] = Value::from(of.clone());
            item["apiVersion"] = Value::from(version.clone());
            items.push(item);
        }
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// One object; that there is none is an answer as well.
async fn one(client: &Client, missed: &mut Vec<Missed>, path: &str, what: &str) -> Option<Value> {
    get(client, path).await.map_err(|why| missed.push(Missed { what: what.to_owned(), why })).ok()
}

async fn get(client: &Client, path: &str) -> Result<Value, String> {
    let request = request(path).map_err(|error| error.to_string())?;
    match tokio::time::timeout(TIMEOUT, client.request::<Value>(request)).await {
        Ok(answer) => answer.map_err(|error| why(&error)),
        Err(_) => Err(format!("no answer in {} s", TIMEOUT.as_secs())),
    }
}

/// A text whose bytes may be anything. What a pod itself answers is one however it means it: not ready, for one.
async fn read(client: &Client, wanted: &Text) -> Result<String, String> {
    let request = request(&wanted.path).map_err(|error| error.to_string())?;
    let whole = async {
        let answer = client.send(request.map(Body::from)).await.map_err(|error| why(&error))?;
        let status = answer.status();
        let bytes = answer.into_body().collect_bytes().await.map_err(|error| why(&error))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let refusal = serde_json::from_str::<Value>(&text).ok().filter(|answer| answer["kind"] == "Status");
        match refusal {
            Some(refusal) if !status.is_success() => Err(ask::text(&refusal, "/message").to_owned()),
            None if !status.is_success() && !wanted.from_pod => Err(format!("{status}: {text}")),
            _ => Ok(text),
        }
    };
    tokio::time::timeout(TIMEOUT, whole).await.unwrap_or_else(|_| Err(format!("no answer in {} s", TIMEOUT.as_secs())))
}

fn request(path: &str) -> Result<http::Request<Vec<u8>>, CliError> {
    let request = http::Request::get(path).body(Vec::new());
    request.map_err(|error| CliError::Nothing(format!("{path} cannot be asked for: {error}")))
}

/// What the API server says, in its own words.
fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(answer) if !answer.message.is_empty() => answer.message.clone(),
        other => other.to_string(),
    }
}
