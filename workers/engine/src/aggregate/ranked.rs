//! The `k` largest of a multiset, as a descending list: `TopK` of values, `LastK` of (time, value).
//!
//! Invariant: the list is the `k` largest items, with repetition, under a total order; so insertion and merge commute.

/// Adds `item` to a descending list of at most `k`.
pub fn insert<T: Ord>(list: &mut Vec<T>, item: T, k: usize) {
    let at = list.partition_point(|kept| *kept >= item);
    if at >= k {
        return;
    }
    if list.len() == k {
        list.pop();
    }
    list.insert(at, item);
}

/// Merges another such list into a descending list of at most `k`.
pub fn merge<T: Ord + Clone>(list: &mut Vec<T>, other: &[T], k: usize) {
    let mine = std::mem::replace(list, Vec::with_capacity(k.min(list.len() + other.len())));
    let (mut mine, mut theirs) = (mine.into_iter().peekable(), other.iter().peekable());
    while list.len() < k {
        let next = match (mine.peek(), theirs.peek()) {
            (Some(one), Some(other)) if one < *other => theirs.next().cloned(),
            (None, Some(_)) => theirs.next().cloned(),
            (Some(_), _) => mine.next(),
            (None, None) => return,
        };
        list.extend(next);
    }
}
