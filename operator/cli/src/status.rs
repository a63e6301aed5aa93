//! Where views stand.

use std::time::Duration;

use crds::FeatureView;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use operator::names::{IMAGE_ANNOTATION, PROMOTED_ANNOTATION, REVISION_LABEL, VIEW_LABEL};

use crate::error::CliError;
use crate::screen::Screen;
use crate::tell;

/// How often a view that is watched is looked at: its bars move with the clock.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells of one view, or of all.
pub async fn run(client: &Client, namespace: &str, view: Option<&str>, watch: bool) -> Result<(), CliError> {
    let api: Api<FeatureView> = Api::namespaced(client.clone(), namespace);
    let Some(name) = view else {
        let doing = CliError::api(format!("listing featureviews of namespace {namespace}"));
        let views = api.list(&ListParams::default()).await.map_err(doing)?;
        if views.items.is_empty() {
            println!("no featureviews in namespace {namespace}");
        }
        print!("{}", tell::table(&views.items));
        return Ok(());
    };
    let mut screen = Screen::default();
    loop {
        let doing = CliError::api(format!("reading featureview {namespace}/{name}"));
        let view = api.get(name).await.map_err(doing)?;
        screen.show(tell::whole(&view, Timestamp::now()));
        if !watch || tell::settled(&view) {
            return Ok(());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Tells of the revisions that are remembered, the newest first.
pub async fn history(client: &Client, namespace: &str, view: &str) -> Result<(), CliError> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    let of_view = ListParams::default().labels(&format!("{VIEW_LABEL}={view}"));
    let doing = CliError::api(format!("listing the revisions of featureview {namespace}/{view}"));
    let mut revisions = api.list(&of_view).await.map_err(doing)?.items;
    if revisions.is_empty() {
        return Err(CliError::Nothing(format!("no revision of featureview {namespace}/{view} is remembered")));
    }
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.revision));
    println!("{:<8}  {:<12}  {:<22}  IMAGE", "NUMBER", "REVISION", "PROMOTED");
    for entry in revisions {
        let text = |key: &str| entry.annotations().get(key).cloned().unwrap_or_else(|| "-".to_owned());
        let revision = entry.labels().get(REVISION_LABEL).cloned().unwrap_or_else(|| "-".to_owned());
        println!(
            "{:<8}  {revision:<12}  {:<22}  {}",
            entry.revision,
            text(PROMOTED_ANNOTATION),
            text(IMAGE_ANNOTATION)
        );
    }
    Ok(())
}
