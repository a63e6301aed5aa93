//! Reads one view for one request: all of one revision and one incarnation, or not at all.
//!
//! Each attempt assumes the pointers last seen, reads under them, and counts only if they still held. Whatever the
//! assumed plan says of the request — an unknown feature, a key of another type — is said only once its revision is
//! confirmed to be the live one.

use std::sync::Arc;

use crate::catalog::{Revision, View};
use crate::completeness::complete_to;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::pointers::Check;
use crate::request::Request;
use crate::select::{Limits, Selection, Wanted, select};
use crate::store::{Fields, Store};
use crate::watch::CatalogWatch;

/// How often a view is asked before a request gives up on pointers that keep moving.
const ATTEMPTS: usize = 6;

/// One view's part of an answer, still encoded.
#[derive(Debug)]
pub struct ViewRows {
    /// The view.
    pub view: Arc<View>,
    /// The live revision.
    pub revision: Arc<Revision>,
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// What was asked.
    pub selection: Selection,
    /// The row of each entity of the selection; empty where there is none.
    pub rows: Vec<Fields>,
    /// See [`complete_to`].
    pub complete_to: Option<i64>,
}

/// What reading needs.
pub struct Reader {
    /// The online store.
    pub store: Arc<dyn Store>,
    /// The views.
    pub catalog: Arc<CatalogWatch>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How much one request may ask.
    pub limits: Limits,
}

/// Why the assumed plan cannot answer.
enum Obstacle {
    /// The catalog does not hold the revision.
    UnknownRevision,
    /// The request is at fault, or the plan.
    Final(Failure),
}

impl Reader {
    /// Reads what `wanted` asks.
    ///
    /// # Errors
    /// [`Failure`]; see its variants.
    pub async fn read(&self, wanted: &Wanted<'_>, request: &Request<'_>) -> Result<ViewRows, Failure> {
        let mut refreshed = false;
        let known = self.catalog.catalog().view(wanted.view).map(Arc::clone);
        let mut view = if let Some(view) = known {
            view
        } else {
            refreshed = true;
            self.refreshed_view(wanted).await?
        };
        for _ in 0..ATTEMPTS {
            let assumed = view.assumed().map_err(|problem| unavailable(&view, &problem))?;
            let prepared = prepare(&view, &assumed.revision, wanted, request, self.limits);
            let entities = prepared.as_ref().map_or(&[][..], |(_, selection)| selection.entities.as_slice());
            let reply = self.store.read(assumed.query(entities)).await.map_err(|e| {
                self.metrics.store_error();
                Failure::unavailable(format!("view `{}`: {e}", view.name))
            })?;
            match assumed.check(&reply) {
                Check::Same => {}
                Check::Renewed(seen) => view.remember(Arc::new(seen)),
                Check::Moved(seen) => {
                    view.remember(Arc::new(seen));
                    self.metrics.pointer_retry();
                    continue;
                }
                // The view may have been deleted and made anew under another UID.
                Check::NotLive if !refreshed => {
                    refreshed = true;
                    view = self.refreshed_view(wanted).await?;
                    continue;
                }
                Check::NotLive => return Err(unavailable(&view, "no revision of it is live yet")),
                Check::NoHead => {
                    let problem = format!("its live revision {} has no readable rows yet", assumed.revision);
                    return Err(unavailable(&view, &problem));
                }
                Check::Broken(what) => return Err(Failure::internal(format!("view `{}`: {what}", view.name))),
            }
            match prepared {
                Ok((revision, selection)) => {
                    let complete_to = complete_to(&reply.markers).map_err(|e| {
                        Failure::internal(format!("view `{}`, revision {}: {e}", view.name, assumed.revision))
                    })?;
                    let incarnation = assumed.incarnation;
                    return Ok(ViewRows { view, revision, incarnation, selection, rows: reply.rows, complete_to });
                }
                Err(Obstacle::Final(failure)) => return Err(failure),
                Err(Obstacle::UnknownRevision) if refreshed => {
                    let problem = format!("its live revision {} is not in the catalog", assumed.revision);
                    return Err(unavailable(&view, &problem));
                }
                Err(Obstacle::UnknownRevision) => {
                    refreshed = true;
                    view = self.refreshed_view(wanted).await?;
                }
            }
        }
        Err(unavailable(&view, "its pointers moved with every read; try again"))
    }

    /// The view after a poll of the catalog that began now.
    async fn refreshed_view(&self, wanted: &Wanted<'_>) -> Result<Arc<View>, Failure> {
        let catalog = self.catalog.refresh().await.map_err(|e| {
            self.metrics.store_error();
            Failure::unavailable(format!(
                "view `{}` is not known here, and the catalog cannot be read: {e}",
                wanted.view
            ))
        })?;
        let unknown = || Failure::unknown(&wanted.field, format!("no view `{}` is served here", wanted.view));
        catalog.view(wanted.view).map(Arc::clone).ok_or_else(unknown)
    }
}

/// The assumed revision, and what the request selects by its plan.
fn prepare(
    view: &View,
    revision: &str,
    wanted: &Wanted<'_>,
    request: &Request<'_>,
    limits: Limits,
) -> Result<(Arc<Revision>, Selection), Obstacle> {
    match view.revision(revision) {
        None => Err(Obstacle::UnknownRevision),
        Some(Err(problem)) => Err(Obstacle::Final(unavailable(view, problem))),
        Some(Ok(revision)) => {
            let selection = select(revision.program.plan(), wanted, request, limits).map_err(Obstacle::Final)?;
            Ok((Arc::clone(revision), selection))
        }
    }
}

fn unavailable(view: &View, problem: &str) -> Failure {
    Failure::unavailable(format!("view `{}` cannot be served: {problem}", view.name))
}
