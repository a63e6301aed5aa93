//! Writes a bundle: one compressed archive, with one folder in it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::mask::Masked;

/// Writes `files` under `folder` into a new file at `path`, which only its owner may read. A file that is there stays as it is.
///
/// # Errors
/// When it exists already, or cannot be written; nothing is left behind then.
pub fn write(path: &Path, folder: &str, files: &[(String, Masked)], time: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = fill(&file, folder, files, time).and_then(|()| Ok(file.metadata()?.len()));
    if written.is_err() {
        // Half an archive helps nobody; that it could not be written is what is told.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn fill(file: &std::fs::File, folder: &str, files: &[(String, Masked)], time: u64) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(io::BufWriter::new(file), Compression::default()));
    for (name, masked) in files {
        let bytes = masked.text().as_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time);
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes)?;
    }
    archive.into_inner()?.finish()?.flush()
}
