//! A source's events within a slice of time, as a plan: opened, scanned and decoded by what its rows are.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use engine::event::{Admission, ImportError, Importer};
use engine::program::Program;
use lake::{bronze, silver};
use thiserror::Error;

use crate::config::{Rows, SourceTable, reading};
use crate::decode::{Decode, Taken};
use crate::history::{History, HistoryError};
use crate::{map, scan};

/// Why events cannot be read.
#[derive(Debug, Error)]
pub enum EventsError {
    /// The source cannot be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Its columns do not fit the plan.
    #[error("{uri}: {source}")]
    Import {
        /// The table.
        uri: String,
        /// Why.
        source: ImportError,
    },
    /// Its scan cannot be planned.
    #[error("{uri} while planning its scan: {source}")]
    Scan {
        /// The table.
        uri: String,
        /// Why.
        source: DataFusionError,
    },
}

impl EventsError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::History(error) => error.is_transient(),
            Self::Import { .. } => false,
            Self::Scan { .. } => true,
        }
    }
}

/// The events of `history` that are `taken`, decoded; see [`crate::decode`]. `source` says what its rows are, if it
/// is not the plan's own table.
///
/// # Errors
/// [`EventsError`].
pub async fn plan(
    program: &Arc<Program>,
    history: &History,
    source: Option<&SourceTable>,
    taken: Taken,
    session: &SessionContext,
) -> Result<Arc<dyn ExecutionPlan>, EventsError> {
    let uri = || history.uri.clone();
    let failed = |source| EventsError::Scan { uri: uri(), source };
    let refused = |source| EventsError::Import { uri: uri(), source };
    let Admission { from, until, .. } = taken.admission;
    // Where nobody was erased, what tells records apart is not even read.
    let anybody = !taken.tombstones.is_empty();
    let frame = history.frame(session).await?;
    let (scan, decode) = if source.is_some_and(|source| source.rows == Rows::Archive) {
        let also = if anybody { &[bronze::PARTITION, bronze::OFFSET][..] } else { &[] };
        let scan = scan::records(frame, also, from, until).await.map_err(failed)?;
        let decode = Decode::records(program.clone(), &scan.schema(), taken).map_err(refused)?;
        (scan, decode)
    } else {
        let plan = reading(program.plan(), source);
        let needed = program.columns_read();
        // Against the whole table first, so that a missing column is named beside those that there are.
        Importer::new(&plan, frame.schema().as_arrow(), &needed).map_err(refused)?;
        let coordinates = (anybody && source.is_some()).then_some([silver::PARTITION, silver::OFFSET]);
        let also = coordinates.as_ref().map_or(&[][..], |both| &both[..]);
        let scan = scan::plan(frame, &plan, &needed, also, (from, until)).await.map_err(failed)?;
        let decode = Decode::events(program.clone(), &plan, &scan.schema(), coordinates, taken).map_err(refused)?;
        (scan, decode)
    };
    map::plan(&scan, &Arc::new(decode)).map_err(failed)
}
