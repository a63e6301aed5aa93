//! Reads under flips: a load that checks every answer, run as a pod beside the server that it asks.
//!
//! It knows what every feature of every entity is in each revision ([`Expected`]), and watches the view's live pointer itself
//! ([`moves`]), so that an answer is judged by when the pointer moved and not by when somebody was told. An answer is
//! * failed, if it did not come, or not with status 200,
//! * mixed, if any value is not that of the revision it says it is of,
//! * stale, if its request began after the pointer was seen at another revision, and no later move led back.

mod expected;
mod latency;
mod moves;
mod reader;
mod report;
mod run;

pub use expected::Expected;
pub use report::{Latency, Report};
pub use run::{Settings, run};
