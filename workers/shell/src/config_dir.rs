//! Settings from a mounted Secret: a folder in which each file is named by a setting and holds its value.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a folder of settings could not be read.
#[derive(Debug, Error)]
pub enum ConfigDirError {
    /// The folder or one of its files cannot be read.
    #[error("cannot read {path}: {source}; check that the Secret is mounted there and readable by this user")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The folder's settings by name: the content of each file without a trailing line break.
///
/// Hidden files and folders are left out, because Kubernetes keeps its own links (`..data`) beside the mounted keys.
///
/// # Errors
/// [`ConfigDirError::Read`] naming the path.
pub fn read(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, ConfigDirError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigDirError::Read { path, source }
    };
    let mut settings = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // `metadata` follows links, which mounted keys are.
        if name.starts_with('.') || !path.metadata().map_err(failed(&path))?.is_file() {
            continue;
        }
        let mut value = std::fs::read(&path).map_err(failed(&path))?;
        while matches!(value.last(), Some(b'\n' | b'\r')) {
            value.pop();
        }
        settings.insert(name.to_owned(), value);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_settings_and_what_kubernetes_adds_is_not() {
        let dir = std::env::temp_dir().join(format!("featuremill-config-dir-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("..data")).unwrap();
        std::fs::write(dir.join("sasl.username"), "ada\n").unwrap();
        std::fs::write(dir.join(".hidden"), "no").unwrap();
        let settings = read(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(settings, BTreeMap::from([("sasl.username".to_owned(), b"ada".to_vec())]));
        assert!(read(&dir).unwrap_err().to_string().contains("featuremill-config-dir"));
    }
}
