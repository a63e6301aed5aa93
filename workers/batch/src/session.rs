//! The DataFusion session of a run: its bound on memory, its folder for spills, its threads.

use datafusion::prelude::SessionContext;
use lake::LakeError;
use lake::session::SessionOptions;

use crate::args::TableArgs;

/// A session within the bounds of the flags.
///
/// # Errors
/// [`LakeError::Spill`] if the folder for spills cannot be used.
pub fn session(args: &TableArgs) -> Result<SessionContext, LakeError> {
    let options = SessionOptions {
        memory_bytes: args.memory_mib.get().saturating_mul(1 << 20),
        spill_dir: args.temp_dir.clone(),
        threads: args.threads.map_or(0, std::num::NonZero::get),
        ..SessionOptions::default()
    };
    let session = lake::session::session(&options)?;
    // Joins of whole generations must spill too, which those over a hash table do not.
    session.state_ref().write().config_mut().options_mut().optimizer.prefer_hash_join = false;
    Ok(session)
}
