//! Gold: the feature rows of a view's generations. What is known of it here is what an erasure must; the batch worker makes
//! it.

/// The column with the revision that a row is of; the table is partitioned by it.
pub const REVISION: &str = "revision";

/// The application whose transaction every commit of a revision's generation carries.
#[must_use]
pub fn app_id(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}")
}
