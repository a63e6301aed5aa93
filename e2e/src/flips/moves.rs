//! Where the live pointer stood when.
//!
//! A poll tells what stood at some moment between its beginning and its end. So a move took place after the last poll that saw
//! the pointer before it had begun, and before the first that saw it after it had ended.

use std::time::Instant;

use engine::row::Live;

/// The pointer came to a revision.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub live: Live,
    /// It had not moved yet when the poll before began.
    pub after: Instant,
    /// It had moved by then.
    pub before: Instant,
}

/// Every move that was seen, the first being where it stood at the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    seen: Vec<Move>,
    /// When the last poll began: of any moment before, all moves are known.
    known_to: Option<Instant>,
    /// Moves that no poll saw, by the fence.
    pub missed: u64,
}

impl Moves {
    /// What a poll saw.
    pub fn saw(&mut self, live: Live, begun: Instant, ended: Instant) {
        let last = self.seen.last();
        if last.is_none_or(|last| last.live.fence != live.fence) {
            self.missed += last.map_or(0, |last| live.fence.saturating_sub(last.live.fence + 1));
            let after = self.known_to.unwrap_or(begun);
            self.seen.push(Move { live, after, before: ended });
        }
        self.known_to = Some(begun);
    }

    pub fn known_to(&self) -> Option<Instant> {
        self.known_to
    }

    /// How often it moved.
    pub fn count(&self) -> usize {
        self.seen.len().saturating_sub(1)
    }

    /// Why an answer is of a revision that nobody who asked in `[begun, ended]` may be given, if so.
    pub fn stale(&self, revision: &str, begun: Instant, ended: Instant) -> Option<String> {
        // The last that had surely come before the request, and all that may have come while it was under way.
        let settled = self.seen.iter().rposition(|of| of.before <= begun).unwrap_or(0);
        let mut allowed = self.seen[settled.min(self.seen.len())..].iter().take_while(|of| of.after <= ended);
        if allowed.any(|of| of.live.revision == revision) {
            return None;
        }
        let stood = self.seen.get(settled)?;
        let since = begun.saturating_duration_since(stood.before);
        Some(format!("{revision}, when {} (fence {}) had stood for {since:?}", stood.live.revision, stood.live.fence))
    }

    /// Whether any move but the first took place within `margin` of `[begun, ended]`.
    pub fn near(&self, begun: Instant, ended: Instant, margin: std::time::Duration) -> bool {
        self.seen.iter().skip(1).rev().any(|of| of.after <= ended + margin && begun <= of.before + margin)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_may_be_of_what_stood_while_it_was_asked_and_of_nothing_else() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let live = |revision: &str, fence| Live { revision: revision.to_owned(), fence };
        let mut moves = Moves::default();
        let polls = [("a", 1, 0), ("a", 1, 10), ("b", 2, 20), ("b", 2, 98), ("a", 3, 100), ("a", 3, 110)];
        for (revision, fence, begun) in polls {
            moves.saw(live(revision, fence), at(begun), at(begun + 2));
        }
        let stale = |revision: &str, begun, ended| moves.stale(revision, at(begun), at(ended)).is_some();
        assert!(!stale("a", 3, 5));
        assert!(stale("b", 3, 5), "it had not moved yet");
        assert!(!stale("b", 3, 12) && !stale("a", 3, 50), "it may have moved while the request was under way");
        assert!(!stale("a", 21, 40) && !stale("b", 21, 40), "whether it had moved is not known");
        assert!(stale("a", 22, 29) && !stale("b", 22, 29));
        assert!(!stale("a", 22, 99), "it may have moved back by then");
        assert!(stale("b", 102, 105));
        assert_eq!((moves.count(), moves.missed), (2, 0));
        let near = |begun, ended| moves.near(at(begun), at(ended), Duration::from_millis(20));
        assert!(near(40, 45) && !near(50, 55) && near(80, 85));
        moves.saw(live("a", 5), at(120), at(121));
        assert_eq!((moves.count(), moves.missed), (3, 1), "two moves between two polls are told by the fence");
    }
}
