//! The archive worker: appends a topic to its Bronze table, exactly once.
