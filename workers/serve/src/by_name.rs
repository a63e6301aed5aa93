//! Reads one revision by its name, live or not, under a head that held throughout.

use thiserror::Error;

use crate::generation::overtaken;
use crate::pointers::{Check, Pointers};
use crate::store::{Reply, Store, StoreError};

/// How often rows are asked for before giving up on a head that keeps moving.
const ATTEMPTS: usize = 6;

/// Why a revision could not be read.
#[derive(Debug, Error)]
pub(crate) enum Problem {
    /// The store gave no answer.
    #[error(transparent)]
    Store(StoreError),
    /// A pointer holds something else.
    #[error("{0}")]
    Broken(String),
    /// Its head moved with every read.
    #[error("its head moved with every read")]
    Moving,
}

/// One consistent reply, and the pointers it stands under; `None` if the revision has no head.
pub(crate) async fn read(
    store: &dyn Store,
    guess: &Pointers,
    entities: &[String],
) -> Result<Option<(Pointers, Reply)>, Problem> {
    let mut assumed: Option<Pointers> = None;
    for _ in 0..ATTEMPTS {
        let pointers = assumed.as_ref().unwrap_or(guess);
        let reply = store.read(pointers.query(entities)).await.map_err(Problem::Store)?;
        let seen = match pointers.check_head(&reply) {
            Check::Same => assumed.take(),
            Check::Renewed(seen) => Some(seen),
            Check::Moved(seen) => {
                assumed = Some(seen);
                continue;
            }
            Check::NoHead | Check::NotLive => return Ok(None),
            Check::Broken(problem) => return Err(Problem::Broken(problem)),
        };
        match seen {
            Some(seen) if !(seen.generation > 0 && overtaken(&reply.rows, seen.generation)) => {
                return Ok(Some((seen, reply)));
            }
            _ => assumed = None,
        }
    }
    Err(Problem::Moving)
}
