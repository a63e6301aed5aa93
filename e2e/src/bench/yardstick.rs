//! DuckDB and Polars, through Python: `e2e/yardsticks`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::error::{BenchError, io};

/// A Python that has the engines.
#[derive(Clone, Debug)]
pub struct Yardstick {
    python: PathBuf,
    script: PathBuf,
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yardsticks");
        let fetch = Command::new(folder.join("fetch")).stderr(Stdio::inherit()).output();
        let fetch = fetch.map_err(io("run e2e/yardsticks/fetch"))?;
        if !fetch.status.success() {
            return Err(BenchError::Wrong("e2e/yardsticks/fetch failed".to_owned()));
        }
        let python = String::from_utf8_lossy(&fetch.stdout).trim().into();
        Ok(Self { python, script: folder.join("yardstick.py") })
    }

    /// Runs one command of `yardstick.py`, which says what a request has.
    pub fn run(&self, command: &str, request: &Value) -> Result<Answer, BenchError> {
        let run = || {
            let mut child = Command::new(&self.python)
                .arg(&self.script)
                .arg(command)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(request.to_string().as_bytes())?;
            }
            child.wait_with_output()
        };
        let output = run().map_err(io(format!("run yardstick.py {command}")))?;
        let wrong = |what: &str| BenchError::Wrong(format!("yardstick.py {command}: {what}"));
        if !output.status.success() {
            return Err(wrong(&String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| wrong(&error.to_string()))
    }
}
