//! A child process that cannot outlive its parent.
//!
//! Invariant: the child hangs on a pipe from this process. When the pipe closes, because the value was dropped or this
//! process died in any way, a small shell beside the child kills exactly that child.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A running program, killed when dropped.
pub struct Process {
    /// Closing it ends the program.
    leash: Option<ChildStdin>,
    guardian: Child,
}

impl Process {
    /// Starts `program`, whose output goes to `log`. When it ends, `litter` is removed, if there is such a folder: nobody
    /// else can do that after this process was killed.
    ///
    /// # Errors
    /// When the log cannot be made or the shell not be started. A program that does not exist shows in its log.
    pub fn start(program: &Path, arguments: &[String], log: &Path, litter: Option<&Path>) -> io::Result<Self> {
        let out = File::create(log)?;
        let mut guardian = Command::new("sh")
            .arg("-c")
            .arg(
                r#"litter=$1; shift; "$@" </dev/null & child=$!; cat >/dev/null
                kill -9 "$child"; wait "$child" 2>/dev/null; test -z "$litter" || rm -rf -- "$litter""#,
            )
            .arg("sh")
            .arg(litter.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()?;
        Ok(Self { leash: guardian.stdin.take(), guardian })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.leash.take());
        // Nothing can be done about a shell that cannot be awaited.
        let _ = self.guardian.wait();
    }
}
