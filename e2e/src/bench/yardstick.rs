//! DuckDB and Polars, through Python: `e2e/yardsticks`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::error::{BenchError, io};
use crate::python;

/// A Python that has the engines.
#[derive(Clone, Debug)]
pub struct Yardstick {
    python: PathBuf,
}

/// What a yardstick answers.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Answer {
    /// From before the engine is opened to the last byte written.
    pub seconds: f64,
    /// The largest resident memory.
    pub peak_mib: u64,
    /// Rows of the answer.
    #[serde(default)]
    pub rows: u64,
    /// Compared values.
    #[serde(default)]
    pub values: u64,
    /// Rows in which one differs.
    #[serde(default)]
    pub differ: u64,
    /// Rows that one side lacks.
    #[serde(default)]
    pub lacking: u64,
}

impl Yardstick {
    /// Fetches the engines into the cache, if they are not there.
    pub fn fetch() -> Result<Self, BenchError> {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("yardsticks/fetch");
        let fetch = Command::new(fetch).stderr(Stdio::inherit()).output();
        let fetch = fetch.map_err(io("run e2e/yardsticks/fetch"))?;
        if !fetch.status.success() {
            return Err(BenchError::Wrong("e2e/yardsticks/fetch failed".to_owned()));
        }
        Ok(Self { python: String::from_utf8_lossy(&fetch.stdout).trim().into() })
    }

    /// Runs one command of `yardstick.py`, which says what a request has.
    pub fn run(&self, command: &str, request: &Value) -> Result<Answer, BenchError> {
        python::run(&self.python, "yardsticks/yardstick.py", &[command], request).map_err(BenchError::Wrong)
    }
}
