//! `support-bundle`: what a maintainer needs to answer a question, in one file, without secrets.
//!
//! Invariants: no Secret is read; all that is packed went through [`mask`]; what may not be read is said, and keeps nothing else.

mod ask;
mod gather;
mod mask;
mod pack;
mod progress;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use crate::args::SupportBundle;
use crate::error::CliError;
use ask::Scope;
use gather::{Found, Order};
use mask::Raw;

/// What a person is told who is about to send it.
const ADVICE: &str = "\
Look through it before you send it. Secrets were not read, and what looks like one is masked; but nobody can know what your
pipelines name: summary.txt first, then logs/ (names of hosts and topics, entities in messages), objects/ (SQL of features, values
of examples in comparisons).";

/// Reads everything and packs it.
pub async fn run(client: &Client, namespace: &str, asked: &SupportBundle) -> Result<(), CliError> {
    let now = Timestamp::now();
    let scope = if asked.all_namespaces { Scope::All } else { Scope::Namespace(namespace.to_owned()) };
    let folder = format!("featuremill-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = asked.output.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    if path.exists() {
        return Err(CliError::Nothing(format!("{} exists already; name another file with -o", path.display())));
    }
    eprintln!("reading {scope}");
    let order = Order { scope: &scope, operator: asked.operator_namespace.as_deref(), lines: asked.tail };
    let found = gather::gather(client, &order).await?;
    let (missed, names) = (found.missed.len(), names(&found));
    let files = mask::all(files(found, &scope, now), names)
        .map_err(|error| CliError::Nothing(format!("nothing is packed, for secrets cannot be looked for: {error}")))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let bytes = pack::write(&path, &folder, &files, seconds)
        .map_err(|error| CliError::Nothing(format!("{} cannot be written: {error}", path.display())))?;
    println!("{}: {} files, {} KiB", path.display(), files.len(), bytes.div_ceil(1024));
    if missed > 0 {
        println!("{missed} things could not be read with your rights; not-read.txt in it says which");
    }
    println!("{ADVICE}");
    Ok(())
}

/// The bundle's files: the page first, then objects by namespace and kind, then texts.
fn files(found: Found, scope: &Scope, now: Timestamp) -> Vec<(String, Raw)> {
    let page = summary::summary(&found, &scope.to_string(), &now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut files = vec![
        ("summary.txt".to_owned(), Raw::Text(page)),
        ("versions.yaml".to_owned(), Raw::Objects(vec![summary::versions(&found)])),
    ];
    let mut objects: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let kinds = found.objects.into_iter().map(|(kind, object)| (kind.plural, object));
    let leases = found.leases.into_iter().map(|lease| ("leases", lease));
    let events = found.events.into_iter().map(|event| ("events", event));
    for (plural, object) in kinds.chain(leases).chain(events) {
        let namespace = ask::text(&object, "/metadata/namespace").to_owned();
        objects.entry(format!("objects/{namespace}/{plural}.yaml")).or_default().push(object);
    }
    files.extend(objects.into_iter().map(|(file, objects)| (file, Raw::Objects(objects))));
    files.extend(found.texts.into_iter().map(|(file, text)| (file, Raw::Text(text))));
    if !found.missed.is_empty() {
        files.push(("not-read.txt".to_owned(), Raw::Text(summary::missed(&found.missed))));
    }
    files
}

/// What objects are called, and what they are labelled with: words that stand everywhere and are no secrets.
fn names(found: &Found) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for object in found.objects.iter().map(|(_, object)| object).chain(&found.leases) {
        names.extend(["/metadata/name", "/metadata/namespace", "/kind"].map(|at| ask::text(object, at).to_owned()));
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        names.extend(labels.filter_map(|(_, label)| label.as_str().map(str::to_owned)));
    }
    names
}
