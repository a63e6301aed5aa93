//! The two pointers of a view as last seen, and whether a reply was read under them.
//!
//! Invariant: an answer is made only from a reply for which [`Pointers::check`] said [`Check::Same`] or [`Check::Renewed`]; so
//! all of it is of one revision, one incarnation and one generation.

use engine::row::{Head, Live, head_key, live_key, marker_key, row_prefix};

use crate::store::{Query, Reply};

/// A view's pointers, with the keys they lead to.
#[derive(Debug, PartialEq, Eq)]
pub struct Pointers {
    /// The live revision.
    pub revision: String,
    /// The incarnation of its rows.
    pub incarnation: u32,
    /// The batch generation that is served; 0 where none is published.
    pub generation: u64,
    /// That generation's horizon in milliseconds.
    pub horizon: i64,
    uid: String,
    /// The pointers as bytes, so that an unchanged one need not be parsed; empty in a guess.
    raw: (Vec<u8>, Vec<u8>),
    live: String,
    head: String,
    markers: String,
    rows: String,
}

/// How a reply's pointers compare with those it was asked under.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    /// They lead to the same rows.
    Same,
    /// They lead elsewhere: ask again under these.
    Moved(Pointers),
    /// The same rows, but the pointers were written anew, maybe to another generation of their lanes. The reply stands
    /// under these, since they were read before its rows: remember and use them.
    Renewed(Pointers),
    /// No revision is live.
    NotLive,
    /// The live revision has no readable rows.
    NoHead,
    /// A pointer holds something else.
    Broken(String),
}

impl Pointers {
    /// Pointers that have not been seen yet, to be checked like any others.
    #[must_use]
    pub fn guess(uid: &str, revision: &str) -> Self {
        Self::new(uid, revision, &Head::default(), (Vec::new(), Vec::new()))
    }

    fn new(uid: &str, revision: &str, head: &Head, raw: (Vec<u8>, Vec<u8>)) -> Self {
        let incarnation = head.incarnation;
        Self {
            revision: revision.to_owned(),
            incarnation,
            generation: head.generation,
            horizon: head.horizon,
            uid: uid.to_owned(),
            raw,
            live: live_key(uid),
            head: head_key(uid, revision),
            markers: marker_key(uid, revision, incarnation, 0),
            rows: row_prefix(uid, revision, incarnation),
        }
    }

    /// The round trip for these entities under these pointers.
    #[must_use]
    pub fn query<'a>(&'a self, entities: &'a [String]) -> Query<'a> {
        Query { live: &self.live, head: &self.head, markers: &self.markers, row_prefix: &self.rows, entities }
    }

    /// Whether a reply to [`Self::query`] stands under these pointers.
    #[must_use]
    pub fn check(&self, reply: &Reply) -> Check {
        let Some(live_bytes) = &reply.live else { return Check::NotLive };
        if *live_bytes == self.raw.0 && reply.head.as_ref() == Some(&self.raw.1) {
            return Check::Same;
        }
        let live: Live = match serde_json::from_slice(live_bytes) {
            Ok(live) => live,
            Err(e) => return Check::Broken(format!("`{}` holds no pointer: {e}", self.live)),
        };
        if live.revision != self.revision {
            // The head in the reply is the former revision's, so the new one's is guessed.
            return Check::Moved(Self::guess(&self.uid, &live.revision));
        }
        self.renewed(reply)
    }

    /// As [`Self::check`], whether the revision is live or not: for who reads one revision by its name.
    #[must_use]
    pub fn check_head(&self, reply: &Reply) -> Check {
        if reply.head.is_some() && reply.head.as_ref() == Some(&self.raw.1) { Check::Same } else { self.renewed(reply) }
    }

    /// What the head says of the reply.
    fn renewed(&self, reply: &Reply) -> Check {
        let Some(head_bytes) = &reply.head else { return Check::NoHead };
        let head: Head = match serde_json::from_slice(head_bytes) {
            Ok(head) => head,
            Err(e) => return Check::Broken(format!("`{}` holds no pointer: {e}", self.head)),
        };
        let raw = (reply.live.clone().unwrap_or_default(), head_bytes.clone());
        let seen = Self::new(&self.uid, &self.revision, &head, raw);
        if head.incarnation == self.incarnation { Check::Renewed(seen) } else { Check::Moved(seen) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn reply(live: Option<&str>, head: Option<&str>) -> Reply {
        Reply { live: live.map(Into::into), head: head.map(Into::into), ..Reply::default() }
    }

    const LIVE_A: &str = r#"{"revision":"a","fence":1}"#;
    const LIVE_B: &str = r#"{"revision":"b","fence":2}"#;
    const HEAD_0: &str = r#"{"incarnation":0,"generation":0,"horizon":0,"fence":1}"#;
    const HEAD_3: &str = r#"{"incarnation":3,"generation":0,"horizon":0,"fence":2}"#;

    fn seen() -> Pointers {
        match Pointers::guess("u", "a").check(&reply(Some(LIVE_A), Some(HEAD_0))) {
            Check::Renewed(seen) => seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_bytes_are_the_same_rows() {
        assert_eq!(seen().check(&reply(Some(LIVE_A), Some(HEAD_0))), Check::Same);
        assert_eq!(seen().query(&[]).row_prefix, "u/a/0/e/");
    }

    #[test]
    fn a_pointer_elsewhere_is_followed() {
        let Check::Moved(moved) = seen().check(&reply(Some(LIVE_B), Some(HEAD_0))) else { panic!() };
        assert_eq!((moved.revision.as_str(), moved.incarnation), ("b", 0));
        let Check::Moved(moved) = seen().check(&reply(Some(LIVE_A), Some(HEAD_3))) else { panic!() };
        assert_eq!((moved.revision.as_str(), moved.incarnation), ("a", 3));
        assert_eq!(moved.query(&[]).markers, "u/a/3/m/0");
        assert_eq!(moved.check(&reply(Some(LIVE_A), Some(HEAD_3))), Check::Same);
    }

    #[test]
    fn a_revision_that_is_not_live_is_read_by_its_name() {
        let guess = Pointers::guess("u", "b");
        let Check::Renewed(named) = guess.check_head(&reply(Some(LIVE_A), Some(HEAD_0))) else { panic!() };
        assert_eq!(named.check_head(&reply(None, Some(HEAD_0))), Check::Same);
        assert!(matches!(named.check_head(&reply(Some(LIVE_A), Some(HEAD_3))), Check::Moved(_)));
        assert_eq!(named.check_head(&reply(Some(LIVE_A), None)), Check::NoHead);
    }

    #[test]
    fn a_fence_alone_moves_nothing() {
        let risen = LIVE_A.replace('1', "9");
        let Check::Renewed(renewed) = seen().check(&reply(Some(&risen), Some(HEAD_0))) else { panic!() };
        assert_eq!(renewed.check(&reply(Some(&risen), Some(HEAD_0))), Check::Same);
    }

    #[test]
    fn another_generation_of_the_same_rows_needs_no_second_read() {
        let next = HEAD_0.replace("\"generation\":0,\"horizon\":0", "\"generation\":7,\"horizon\":50");
        let Check::Renewed(renewed) = seen().check(&reply(Some(LIVE_A), Some(&next))) else { panic!() };
        assert_eq!((renewed.incarnation, renewed.generation, renewed.horizon), (0, 7, 50));
        assert_eq!(renewed.check(&reply(Some(LIVE_A), Some(&next))), Check::Same);
    }

    #[test]
    fn what_is_missing_or_broken_is_never_the_same() {
        assert_eq!(seen().check(&reply(None, Some(HEAD_0))), Check::NotLive);
        assert_eq!(seen().check(&reply(Some(LIVE_A), None)), Check::NoHead);
        assert!(matches!(seen().check(&reply(Some("x"), Some(HEAD_0))), Check::Broken(_)));
        assert!(matches!(seen().check(&reply(Some(LIVE_A), Some("{}"))), Check::Broken(_)));
    }
}
