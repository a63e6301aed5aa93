//! Directories that tests work in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ServiceError, io};

/// A new, empty directory, removed when dropped; kept, and named on standard error, when a test fails.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one whose name contains `purpose`.
    ///
    /// # Errors
    /// [`ServiceError::Io`] if the temporary folder cannot be written.
    pub fn new(purpose: &str) -> Result<Self, ServiceError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("featuremill-{purpose}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // An earlier process with this process id left it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(format!("make {}", path.display()))(error)),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            // One left in the temporary folder harms nobody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
