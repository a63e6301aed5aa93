//! Other people's code: a script of this crate, run by a Python that its folder's `fetch` set up, with JSON in and JSON out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clickstream::Clickstream;

/// What a script of `e2e/clickstream` printed for a request.
///
/// # Errors
/// What Python said, or why it could not be asked.
pub fn ask<T: DeserializeOwned>(clickstream: &Clickstream, script: &str, request: &Value) -> Result<T, String> {
    run(&clickstream.folder.join("venv/bin/python"), &format!("clickstream/{script}"), &[], request)
}

/// What a script, named by its path below `e2e`, printed for a request.
///
/// # Errors
/// What Python said, or why it could not be asked.
pub fn run<T: DeserializeOwned>(python: &Path, script: &str, arguments: &[&str], request: &Value) -> Result<T, String> {
    let error = |e: &dyn std::fmt::Display| format!("e2e/{}: {e}", [&[script], arguments].concat().join(" "));
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| error(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(request.to_string().as_bytes()).map_err(|e| error(&e))?;
    }
    let output = child.wait_with_output().map_err(|e| error(&e))?;
    if !output.status.success() {
        return Err(error(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| error(&e))
}
