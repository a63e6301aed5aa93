//! What the batch and archive workers share: tables on object stores.
//!
//! [`Storage`] opens stores with a folder of credentials, [`open`] and [`ensure`] tables in them, [`append`] and
//! [`mod@commit`] write to them exactly once, [`source`] reads them within the [`session`]'s bounds, and [`completeness`]
//! is what a table proves of itself. [`bronze`] is the archive's table, [`silver`] what is made of it; [`maintain`] keeps tables
//! small, and [`erase`] makes them forget.
//!
//! Invariant: a table of ours names its owner by UID, and another's is never written to.

pub mod bronze;
pub mod commit;
mod completeness;
pub mod erase;
mod error;
mod factories;
pub mod files;
pub mod gold;
pub mod maintain;
pub mod session;
pub mod silver;
pub mod source;
mod storage;
pub mod table;

use std::sync::Once;

pub use commit::{Txn, append, last_txn};
pub use completeness::{COMPLETE_UNTIL, completeness};
pub use error::LakeError;
pub use storage::{Storage, address};
pub use table::{Identity, Owner, TableSpec, ensure, open};

/// Makes aws-lc-rs the process's provider of cryptography. Several crates bring one each, and rustls panics where it finds
/// two and none chosen: call it first thing in `main`.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    // Whoever installed one before us has chosen.
    ONCE.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
}
