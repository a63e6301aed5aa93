//! What a guarded write does, given what is stored: pure, and the specification of the Lua in [`super::scripts`].

/// What became of one guarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Written,
    /// The store holds as much or more: this was a replay, or another owner was faster. It is a success.
    Superseded,
    /// The store holds less than the writer once saw in it: it lost writes. The writer must go back to the marker.
    Lost,
    /// The store is ahead of the writer's base but behind its write; only a whole lane may take its place.
    NeedsWhole,
    /// Somebody was erased of whom the writer does not know: whatever it holds may be of that entity. It must read the
    /// tombstones and go back to the marker.
    Fenced,
}

/// Nothing is decided for who does not know of every erasure.
#[must_use]
pub fn fenced(stands: u64, known: u64) -> Option<Outcome> {
    (stands != known).then_some(Outcome::Fenced)
}

/// Writes iff `base ≤ stored < new`; a part of a lane only on exactly its base.
#[must_use]
pub fn decide(stored: Option<i64>, base: Option<i64>, new: i64, whole: bool, may_have_expired: bool) -> Outcome {
    match (stored, base) {
        (None, None) => Outcome::Written,
        (None, Some(_)) if may_have_expired => Outcome::Written,
        (None, Some(_)) => Outcome::Lost,
        (Some(stored), _) if stored >= new => Outcome::Superseded,
        (Some(stored), Some(base)) if stored < base => Outcome::Lost,
        (Some(stored), base) if whole || base == Some(stored) => Outcome::Written,
        (Some(_), _) => Outcome::NeedsWhole,
    }
}

/// Writes iff `base ≤ stored ≤ new`: a marker never goes backwards, and one at the same offset is refreshed.
#[must_use]
pub fn decide_marker(stored: Option<i64>, base: Option<i64>, new: i64) -> Outcome {
    match (stored, base) {
        (Some(stored), _) if stored > new => Outcome::Superseded,
        (None, Some(_)) => Outcome::Lost,
        (Some(stored), Some(base)) if stored < base => Outcome::Lost,
        _ => Outcome::Written,
    }
}
