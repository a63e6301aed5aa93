//! Alerts that the operator posts to Alertmanagers itself, for clusters without Prometheus or beside one.
//!
//! They are those of the chart's `PrometheusRule`, with the same labels and annotations, so that an Alertmanager that gets both takes
//! them for one. [`alert`] makes them of what is known of all views, [`told`] says what an Alertmanager is to hear and when; both
//! are pure. [`post`] does it, beside reconciliation and never in its way.
//!
//! Invariants: one request holds all alerts, whatever their number; an alert that goes on is posted again before Alertmanager would
//! forget it, one that ended until the Alertmanager took that; of an operator that is gone, all alerts end by themselves.

pub mod alert;
pub mod post;
pub mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

/// Where alerts go, and what is said in them.
#[derive(Clone, Debug)]
pub struct Alertmanagers {
    /// Each of them: the members of a cluster of Alertmanagers are all told, as Prometheus does it.
    pub urls: Vec<Uri>,
    /// A file with the token that they ask for; it is read again as it changes.
    pub token_file: Option<PathBuf>,
    /// A file with the authority of their certificates, if that is none that the system knows; it is read again, too.
    pub ca_file: Option<PathBuf>,
    /// What is said.
    pub wording: Wording,
    /// After how long an alert that goes on is posted again.
    pub resend: Duration,
}

/// What depends on whose cluster it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// Labels of every alert, such as those by which Prometheus tells clusters apart.
    pub labels: BTreeMap<String, String>,
    /// Where the runbooks are served.
    pub runbooks: String,
    /// Where the console is served, to which alerts lead.
    pub console: Option<String>,
}

/// The address of an Alertmanager.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn url(text: &str) -> Result<Uri, String> {
    let uri = text.trim().parse::<Uri>().map_err(|error| format!("{text}: {error}"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(
            "name and password in an Alertmanager's address would show in logs; give a token in a file".to_owned()
        );
    }
    let sound = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if !sound {
        return Err(format!("{text}: give an address such as http://alertmanager.monitoring:9093"));
    }
    if uri.query().is_some() || uri.path().contains("/api/") {
        return Err(format!("{text}: give the address without /api/v2/alerts, which is added"));
    }
    Ok(uri)
}

/// A label as `name=value`.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text}: give a label as name=value"))?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!("{name}: a label's name has letters, digits and _ and begins with no digit"));
    }
    if alert::OWN.contains(&name) {
        return Err(format!("{name}: alerts have a label of that name already"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
