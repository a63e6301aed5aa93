//! Reads one view for one request: all of one revision, one incarnation and one generation, or not at all.
//!
//! Each attempt assumes the pointers last seen, reads under them, and counts only if they still held. Whatever the
//! assumed plan says of the request — an unknown feature, a key of another type — is said only once its revision is
//! confirmed to be the live one.

use std::sync::Arc;

use engine::plan::Mode;

use crate::catalog::{Revision, View};
use crate::completeness::{MarkerError, complete_from, complete_to};
use crate::failure::Failure;
use crate::generation::overtaken;
use crate::metrics::Metrics;
use crate::pointers::{Check, Pointers};
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
    /// The generation of batch lanes that is read; 0 if none is published, and in a Kappa.
    pub generation: u64,
    /// That generation's horizon in milliseconds.
    pub horizon: i64,
    /// What was asked.
    pub selection: Selection,
    /// The row of each entity of the selection; empty where there is none.
    pub rows: Vec<Fields>,
    /// The event time up to which what is read holds every event; `None` if it is not known.
    pub complete_to: Option<i64>,
    /// The event time from which on stream lanes hold every event, in milliseconds.
    pub complete_from: i64,
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
        let mut obstacle = "its pointers moved with every read; try again";
        for _ in 0..ATTEMPTS {
            let assumed = view.assumed().map_err(|problem| unavailable(&view, &problem))?;
            let prepared = prepare(&view, &assumed.revision, wanted, request, self.limits);
            let entities = prepared.as_ref().map_or(&[][..], |(_, selection)| selection.entities.as_slice());
            let reply = self.store.read(assumed.query(entities)).await.map_err(|e| {
                self.metrics.store_error();
                Failure::unavailable(format!("view `{}`: {e}", view.name))
            })?;
            let pointers = match assumed.check(&reply) {
                Check::Same => assumed,
                Check::Renewed(seen) => {
                    let seen = Arc::new(seen);
                    view.remember(Arc::clone(&seen));
                    seen
                }
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
                // Of a view that batch runs fill, nothing has been published yet.
                Check::NoHead if prepared.as_ref().is_ok_and(|(r, _)| mode(r).has_generations()) => {
                    Arc::new(Pointers::guess(&view.uid, &assumed.revision))
                }
                Check::NoHead => {
                    let problem = format!("its live revision {} has no readable rows yet", assumed.revision);
                    return Err(unavailable(&view, &problem));
                }
                Check::Broken(what) => return Err(Failure::internal(format!("view `{}`: {what}", view.name))),
            };
            match prepared {
                Ok((revision, _))
                    if mode(&revision).has_generations()
                        && pointers.generation > 0
                        && overtaken(&reply.rows, pointers.generation) =>
                {
                    self.metrics.pointer_retry();
                    obstacle = "a newer generation stands where the one that its head names should; try again";
                }
                Ok((revision, selection)) => {
                    let complete_to = completeness(mode(&revision), &pointers, &reply.markers).map_err(|e| {
                        Failure::internal(format!("view `{}`, revision {}: {e}", view.name, pointers.revision))
                    })?;
                    let complete_from = complete_from(&reply.markers).map_err(|e| {
                        Failure::internal(format!("view `{}`, revision {}: {e}", view.name, pointers.revision))
                    })?;
                    let Pointers { incarnation, generation, horizon, .. } = *pointers;
                    let rows = reply.rows;
                    return Ok(ViewRows {
                        view,
                        revision,
                        incarnation,
                        generation,
                        horizon,
                        selection,
                        rows,
                        complete_to,
                        complete_from,
                    });
                }
                Err(Obstacle::Final(failure)) => return Err(failure),
                Err(Obstacle::UnknownRevision) if refreshed => {
                    let problem = format!("its live revision {} is not in the catalog", pointers.revision);
                    return Err(unavailable(&view, &problem));
                }
                Err(Obstacle::UnknownRevision) => {
                    refreshed = true;
                    view = self.refreshed_view(wanted).await?;
                }
            }
        }
        Err(unavailable(&view, obstacle))
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

fn mode(revision: &Revision) -> Mode {
    revision.program.plan().mode
}

/// The event time up to which what is read holds every event; `None` if it is not known.
///
/// A generation holds everything before its horizon, as far as its source did; stream lanes what their markers say.
pub(crate) fn completeness(mode: Mode, pointers: &Pointers, markers: &Fields) -> Result<Option<i64>, MarkerError> {
    let batch = (pointers.generation > 0).then_some(pointers.horizon);
    Ok(match mode {
        Mode::Kappa => complete_to(markers)?,
        Mode::Batch | Mode::Lakehouse => batch,
        // Without a generation nothing is served, however far the stream has come.
        Mode::Lambda if batch.is_none() => None,
        Mode::Lambda => batch.max(complete_to(markers)?),
    })
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
