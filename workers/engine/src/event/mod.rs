//! Events: JSON payloads decoded straight into Arrow columns, and the columns of tables taken as such by [`Importer`].
//!
//! One pass over each payload reads the declared columns and the event time, and skips the rest; the whole payload is
//! nevertheless checked as strict RFC 8259 JSON. There is no tree and no allocation per event.
//!
//! Invariants:
//! - Whether an event is taken depends on its record alone (payload and record time), never on what came before. What is
//!   remembered of earlier events, the order of their fields, only makes the next one faster.
//! - A rejected event leaves the columns exactly as they were: a record is read whole into [`cell::Cell`]s before its
//!   first value is appended.
//! - The reasons are checked in one order, so that an event with several faults always has the same one: size, UTF-8,
//!   JSON, then the declared fields in the order they are written, then those that are missing, then the event's time.

mod cell;
mod columns;
mod decoder;
mod fields;
mod import;
mod json;
mod keys;
mod number;
mod record;
mod reject;
mod rfc3339;

pub use columns::{Columns, schema};
pub use decoder::{DEFAULT_MAX_BYTES, Decoder};
pub use import::{Admission, ImportError, Imported, Importer};
pub use keys::Keys;
pub use reject::{Reason, Reject};

#[cfg(test)]
mod tests;
