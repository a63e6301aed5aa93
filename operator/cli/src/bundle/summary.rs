//! The page of a bundle that is read first: what runs, which views are in trouble and why they say so. Pure.
//!
//! It reads objects as they are written, not by this command's types: it must be able to tell of those of another version.

mod versions;

use std::fmt::Write as _;

use serde_json::Value;

use super::ask::{each, is_of_our_chart, is_troubled, text, when};
use super::gather::{Found, Missed};
use crate::table::table;
pub use versions::versions;

/// How many of the newest warnings are told.
const WARNINGS: usize = 20;

/// The page.
pub fn summary(found: &Found, scope: &str, now: &str) -> String {
    let mut page = format!("Featuremill support bundle, {scope}, {now}\n");
    section(&mut page, "Versions", &versions::told(found));
    section(&mut page, "Views", &views(found));
    section(&mut page, "What is in trouble, in its own words", &troubles(found));
    section(&mut page, "Pods that are not ready or were started again", &pods(found));
    section(&mut page, &format!("The newest warnings, at most {WARNINGS}"), &warnings(found));
    section(&mut page, "What could not be read", &missed(&found.missed));
    page
}

/// What could not be read, a line each.
pub fn missed(missed: &[Missed]) -> String {
    missed.iter().fold(String::new(), |text, Missed { what, why }| text + &format!("{what}: {why}\n"))
}

fn section(page: &mut String, head: &str, body: &str) {
    let body = if body.is_empty() { "none\n" } else { body };
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n{head}");
    for line in body.lines() {
        let _ = writeln!(page, "{}", format!("  {line}").trim_end());
    }
}

/// The objects of a kind.
fn of<'a>(found: &'a Found, plural: &str) -> impl Iterator<Item = &'a Value> {
    found.objects.iter().filter(move |(kind, _)| kind.plural == plural).map(|(_, object)| object)
}

fn full_name(object: &Value) -> String {
    format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    each(object, "/status/conditions").find(|condition| text(condition, "/type") == kind)
}

/// `True`, `False`, or `-` where nobody said anything.
fn holds<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).map_or("-", |condition| text(condition, "/status"))
}

/// Reasons of what is not known that it only begins, or was not asked for.
const BEGINS: [&str; 3] = ["Pending", "NoGeneration", "NotMonitored"];

/// Whether a person would be worried by a condition. Of what should be known it is as bad that it is not: a store that is away
/// leaves nothing False.
fn worries(condition: &Value) -> bool {
    let status = text(condition, "/status");
    match text(condition, "/type") {
        "Stalled" | "Failed" | "ScalingLimited" => status == "True",
        "Ready" | "SpecAccepted" | "Fresh" | "Sound" => {
            status == "False" || status == "Unknown" && !BEGINS.contains(&text(condition, "/reason"))
        }
        "ComparisonPassed" => status == "False",
        _ => false,
    }
}

/// How many there are of each sort, then a line each, those in trouble first.
fn views(found: &Found) -> String {
    let mut all: Vec<&Value> = of(found, "featureviews").collect();
    if all.is_empty() {
        return String::new();
    }
    let are = |kind: &str, status: &str| all.iter().filter(|view| holds(view, kind) == status).count();
    let mut text = format!(
        "{}: {} ready, {} stalled, {} not fresh, {} not sound\n\n",
        all.len(),
        are("Ready", "True"),
        are("Stalled", "True"),
        are("Fresh", "False"),
        are("Sound", "False")
    );
    all.sort_by_key(|view| (!each(view, "/status/conditions").any(worries), full_name(view)));
    let mut rows =
        vec![["VIEW", "PHASE", "READY", "FRESH", "SOUND", "STALLED", "SERVES", "CANDIDATE"].map(str::to_owned)];
    rows.extend(all.iter().map(|view| {
        let or = |at: &str| Some(self::text(view, at)).filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        let mut phase = or("/status/phase");
        if view.pointer("/status/observedGeneration") != view.pointer("/metadata/generation") {
            // What its status says is not of what its spec says.
            phase.push_str(" (outdated)");
        }
        let [ready, fresh, sound, stalled] =
            ["Ready", "Fresh", "Sound", "Stalled"].map(|kind| holds(view, kind).to_owned());
        [
            full_name(view),
            phase,
            ready,
            fresh,
            sound,
            stalled,
            or("/status/activeRevision"),
            or("/status/candidateRevision"),
        ]
    }));
    text.push_str(&table(&rows));
    text
}

/// What the conditions of our kinds say that worry, by object.
fn troubles(found: &Found) -> String {
    let mut told = String::new();
    for (kind, object) in &found.objects {
        let words: Vec<String> = each(object, "/status/conditions")
            .filter(|condition| worries(condition))
            .map(|condition| {
                let [kind, status, reason, message] =
                    ["/type", "/status", "/reason", "/message"].map(|at| text(condition, at));
                format!("  {kind}={status} {reason}: {message}\n")
            })
            .collect();
        if kind.is_own() && !words.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(told, "{} {}\n{}", text(object, "/kind"), full_name(object), words.concat());
        }
    }
    told
}

fn pods(found: &Found) -> String {
    let mut told = String::new();
    for pod in of(found, "pods").filter(|pod| is_troubled(pod)) {
        let _ = writeln!(
            told,
            "{} {}{}",
            full_name(pod),
            text(pod, "/status/phase"),
            if is_of_our_chart(pod) { ", the operator" } else { "" }
        );
        for condition in
            each(pod, "/status/conditions").filter(|c| text(c, "/status") == "False" && !text(c, "/message").is_empty())
        {
            let _ = writeln!(told, "  {}: {}", text(condition, "/reason"), text(condition, "/message"));
        }
        let containers = each(pod, "/status/initContainerStatuses").chain(each(pod, "/status/containerStatuses"));
        for container in containers {
            let restarts = container["restartCount"].as_u64().unwrap_or_default();
            let waiting = text(container, "/state/waiting/reason");
            let last = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
            let ends = last.into_iter().filter(|end| !end.is_null()).fold(String::new(), |told, end| {
                let [at, why] = ["/finishedAt", "/reason"].map(|key| text(end, key));
                told + &format!("; ended {at} with {}, {why}", end["exitCode"])
            });
            let _ = writeln!(
                told,
                "  {}: {restarts} restarts{}{waiting}{ends}",
                text(container, "/name"),
                if waiting.is_empty() { "" } else { ", waits: " },
            );
        }
    }
    told
}

fn warnings(found: &Found) -> String {
    let warnings = found.events.iter().rev().filter(|event| text(event, "/type") == "Warning").take(WARNINGS);
    warnings.fold(String::new(), |told, event| {
        let about = &event["involvedObject"];
        let count = event["series"]["count"].as_u64().or(event["count"].as_u64()).filter(|count| *count > 1);
        told + &format!(
            "{} {} {}/{} {}{}: {}\n",
            when(event),
            text(about, "/kind"),
            text(about, "/namespace"),
            text(about, "/name"),
            text(event, "/reason"),
            count.map_or_else(String::new, |count| format!(" ×{count}")),
            text(event, "/message")
        )
    })
}

#[cfg(test)]
mod tests;
