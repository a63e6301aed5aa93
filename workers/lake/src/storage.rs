//! Where tables stand: object stores made from a folder of credentials.
//!
//! Invariants: credentials live in the store's client only; they are neither passed to Delta as options, nor printed, nor
//! part of any error. One client is kept per bucket. S3 commits by conditional put (`If-None-Match`), so that two writers
//! never both make one version; switching that off is refused.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, logstore_with};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreScheme};
use url::Url;

use crate::error::LakeError;
use crate::factories;

/// The file of a certificate authority in PEM, as in the other folders of credentials.
const CA: &str = "ca.crt";

/// The object stores that one set of credentials opens. Clones share their clients.
#[derive(Clone)]
pub struct Storage {
    settings: Arc<Settings>,
    stores: Arc<Mutex<HashMap<String, Arc<dyn ObjectStore>>>>,
}

#[derive(Default)]
struct Settings {
    /// Lower-case key → value.
    values: BTreeMap<String, String>,
    ca: Option<Vec<u8>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys say what was configured; values may be secrets.
        f.debug_struct("Storage").field("keys", &self.settings.values.keys()).finish_non_exhaustive()
    }
}

impl Storage {
    /// Without credentials of its own: local tables, and stores that the machine's identity opens (a web identity token,
    /// an instance profile).
    #[must_use]
    pub fn local() -> Self {
        Self::of(Settings::default())
    }

    /// With the settings of a folder: each file is named by a key of `object_store`, as `AWS_ACCESS_KEY_ID`, in any
    /// letter case, and holds its value; `ca.crt` is trusted beside the system's authorities. `None` is [`Self::local`].
    ///
    /// # Errors
    /// [`LakeError::Credentials`], or [`LakeError::Setting`] for a key that no store knows.
    pub fn from_dir(dir: Option<&Path>) -> Result<Self, LakeError> {
        dir.map_or_else(|| Ok(Self::local()), |dir| Ok(Self::of(read(dir)?)))
    }

    fn of(settings: Settings) -> Self {
        factories::register();
        Self { settings: Arc::new(settings), stores: Arc::default() }
    }

    /// The store that holds `url`, with its root at the bucket's or file system's root.
    ///
    /// # Errors
    /// [`LakeError::Address`] or [`LakeError::Store`].
    pub fn store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, LakeError> {
        let root = url[..url::Position::BeforePath].to_owned();
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&root) {
            return Ok(store.clone());
        }
        let store = self.build(url)?;
        stores.insert(root, store.clone());
        Ok(store)
    }

    /// A table at `uri` that is not loaded yet, and may not exist.
    ///
    /// # Errors
    /// [`LakeError::Address`] or [`LakeError::Store`].
    pub(crate) fn table(&self, uri: &str) -> Result<DeltaTable, LakeError> {
        let url = address(uri)?;
        let log = logstore_with(self.store(&url)?, &url, StorageConfig::default());
        Ok(DeltaTable::new(log.map_err(LakeError::delta(uri, "finding its store"))?))
    }

    fn build(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, LakeError> {
        let failed = |source| LakeError::Store { uri: url.to_string(), source };
        let scheme = match ObjectStoreScheme::parse(url) {
            Ok((scheme, _)) => scheme,
            Err(error) => return Err(LakeError::Address { uri: url.to_string(), detail: error.to_string() }),
        };
        let text = url.to_string();
        let values = || self.settings.values.iter();
        let client = self.client().map_err(failed)?;
        Ok(match scheme {
            ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new()),
            ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => {
                let start = AmazonS3Builder::from_env().with_url(text);
                // First the client, so that a setting of it changes it and is not replaced.
                let start = client.into_iter().fold(start, AmazonS3Builder::with_client_options);
                let keys = values().filter_map(|(key, value)| Some((key.parse::<AmazonS3ConfigKey>().ok()?, value)));
                let builder = keys.fold(start, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(failed)?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let start = GoogleCloudStorageBuilder::from_env().with_url(text);
                // First the client, so that a setting of it changes it and is not replaced.
                let start = client.into_iter().fold(start, GoogleCloudStorageBuilder::with_client_options);
                let keys = values().filter_map(|(key, value)| Some((key.parse::<GoogleConfigKey>().ok()?, value)));
                let builder = keys.fold(start, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(failed)?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let start = MicrosoftAzureBuilder::from_env().with_url(text);
                // First the client, so that a setting of it changes it and is not replaced.
                let start = client.into_iter().fold(start, MicrosoftAzureBuilder::with_client_options);
                let keys = values().filter_map(|(key, value)| Some((key.parse::<AzureConfigKey>().ok()?, value)));
                let builder = keys.fold(start, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(failed)?)
            }
            _ => {
                let detail = format!("{} stores hold no tables", url.scheme());
                return Err(LakeError::Address { uri: text, detail });
            }
        })
    }

    /// A client that trusts our certificate authority, if there is one.
    fn client(&self) -> Result<Option<ClientOptions>, object_store::Error> {
        let Some(pem) = &self.settings.ca else { return Ok(None) };
        let certificates = Certificate::from_pem_bundle(pem)?;
        Ok(Some(certificates.into_iter().fold(ClientOptions::new(), ClientOptions::with_root_certificate)))
    }
}

/// The URL of a table's address: a URL, or an absolute path.
///
/// # Errors
/// [`LakeError::Address`].
pub fn address(uri: &str) -> Result<Url, LakeError> {
    let failed = |detail: String| LakeError::Address { uri: uri.to_owned(), detail };
    let mut url = if uri.contains("://") {
        Url::parse(uri).map_err(|error| failed(error.to_string()))?
    } else {
        Url::from_directory_path(uri).map_err(|()| failed("the path is not absolute".to_owned()))?
    };
    if !url.username().is_empty() && !url.scheme().starts_with("abfs") && !url.scheme().starts_with("az")
        || url.password().is_some()
    {
        // Echoed nowhere: it may hold a password.
        let detail = "it carries credentials, which belong into the folder of credentials".to_owned();
        return Err(LakeError::Address { uri: format!("{}://…", url.scheme()), detail });
    }
    // With the slash, names are joined below the table and not beside it.
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn read(dir: &Path) -> Result<Settings, LakeError> {
    let failed = |path: PathBuf| move |source| LakeError::Credentials { path, source };
    let mut settings = Settings::default();
    for entry in std::fs::read_dir(dir).map_err(failed(dir.to_owned()))? {
        let path = entry.map_err(failed(dir.to_owned()))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        // Kubernetes keeps links of its own beside the mounted keys; `metadata` follows those of the keys.
        if name.starts_with('.') || !path.metadata().map_err(failed(path.clone()))?.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(failed(path.clone()))?;
        if name == CA {
            settings.ca = Some(bytes);
            continue;
        }
        let refused = |detail| LakeError::Setting { key: name.clone(), path: dir.to_owned(), detail };
        let Ok(value) = String::from_utf8(bytes) else { return Err(refused("its value is not UTF-8 text")) };
        let value = value.trim_end_matches(['\n', '\r']).to_owned();
        let key = name.to_ascii_lowercase();
        let s3 = key.parse::<AmazonS3ConfigKey>();
        if matches!(s3, Ok(AmazonS3ConfigKey::ConditionalPut)) && value.trim() != "etag" {
            return Err(refused("without conditional puts two writers could make one version; remove it"));
        }
        let known = s3.is_ok() || key.parse::<GoogleConfigKey>().is_ok() || key.parse::<AzureConfigKey>().is_ok();
        if !known {
            return Err(refused("no object store knows it; see object_store's configuration keys"));
        }
        settings.values.insert(key, value);
    }
    Ok(settings)
}

#[cfg(test)]
#[path = "storage/tests.rs"]
mod tests;
