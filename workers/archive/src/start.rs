//! Where a partition is read from: a pure decision on what was observed.

/// What was observed of a partition when it was assigned, or has to be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The next offset, as the table's transaction says; `None` if it has none.
    pub position: Option<i64>,
    /// The first offset that the topic still holds.
    pub low: i64,
    /// The offset that the next record will have.
    pub end: i64,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Read from here.
    Read(i64),
    /// The topic ends before what the table holds: it was made anew, or lost records. Reading on would mix two histories.
    SourceReset {
        /// The next offset of the table.
        position: i64,
        /// Where the topic ends.
        end: i64,
    },
    /// The topic no longer holds `[from, to)`, which the table does not have.
    SourceGap {
        /// The next offset of the table.
        from: i64,
        /// The first offset that is left.
        to: i64,
    },
}

/// Decides where to start. Offsets never reset by themselves.
#[must_use]
pub fn decide(observed: Observed) -> Start {
    let Observed { position, low, end } = observed;
    match position {
        None => Start::Read(low),
        Some(position) if position > end => Start::SourceReset { position, end },
        Some(position) if position < low => Start::SourceGap { from: position, to: low },
        Some(position) => Start::Read(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_goes_on_where_the_table_ends_and_never_resets_by_itself() {
        let decide = |position, low, end| super::decide(Observed { position, low, end });
        assert_eq!(decide(None, 0, 9), Start::Read(0));
        assert_eq!(decide(None, 4, 9), Start::Read(4));
        assert_eq!(decide(Some(5), 0, 9), Start::Read(5));
        assert_eq!(decide(Some(9), 9, 9), Start::Read(9));
        assert_eq!(decide(Some(10), 0, 9), Start::SourceReset { position: 10, end: 9 });
        assert_eq!(decide(Some(2), 4, 9), Start::SourceGap { from: 2, to: 4 });
    }
}
