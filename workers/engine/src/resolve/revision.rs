//! The name of a revision: a hash of all that changes a feature's value, and of nothing else.

use sha2::{Digest, Sha256};

use crate::plan::{Plan, hex};

/// Ten hex digits. The view's identity does not enter: the same definition elsewhere is the same revision.
pub(super) fn of(plan: &Plan) -> String {
    let semantic = (
        (plan.semantics, plan.mode, &plan.source, &plan.entity, &plan.time),
        (&plan.conditions, &plan.inputs, &plan.aggregates, &plan.features),
    );
    // Serialising owned data with string keys cannot fail.
    hex(&Sha256::digest(serde_json::to_vec(&semantic).unwrap_or_default()), 10)
}
