//! The batch worker: folds history tables into generations of tiles, and publishes them.

fn main() {}
