//! What a folder of credentials may hold, and that it stays secret.
#![allow(clippy::unwrap_used)]
use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("..data")).unwrap();
    for (name, value) in files {
        std::fs::write(dir.path().join(name), value).unwrap();
    }
    dir
}

#[test]
fn every_cloud_is_reached_with_its_keys_and_clients_are_kept() {
    crate::install_crypto();
    let dir = folder(&[
        ("AWS_ACCESS_KEY_ID", "id\n"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_REGION", "eu-central-1"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg=="),
        ("google_skip_signature", "true"),
    ]);
    let storage = Storage::from_dir(Some(dir.path())).unwrap();
    for uri in ["s3://bucket/a", "gs://bucket/a", "az://container/a", "file:///tmp/a", "/tmp/a"] {
        let url = address(uri).unwrap();
        assert!(Arc::ptr_eq(&storage.store(&url).unwrap(), &storage.store(&url).unwrap()), "{uri}");
        let table = storage.table(uri).unwrap();
        let shown = format!("{storage:?} {:?}", table.log_store().config());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert_eq!(storage.stores.lock().unwrap().len(), 4);
}

#[test]
fn what_is_not_a_setting_is_named_and_its_value_is_not() {
    let error = |files: &[(&str, &str)]| Storage::from_dir(Some(folder(files).path())).unwrap_err().to_string();
    let unknown = error(&[("AWS_SECRET_ACCES_KEY", "hunter2")]);
    assert!(unknown.contains("AWS_SECRET_ACCES_KEY") && !unknown.contains("hunter2"), "{unknown}");
    assert!(error(&[("AWS_CONDITIONAL_PUT", "disabled")]).contains("two writers"));
    assert!(Storage::from_dir(Some(Path::new("/nowhere/at/all"))).unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn an_address_is_a_url_or_an_absolute_path_without_credentials() {
    assert_eq!(address("/data/a").unwrap().as_str(), "file:///data/a/");
    assert_eq!(address("s3://b/a//").unwrap().as_str(), "s3://b/a/");
    assert!(address("relative/path").is_err());
    let error = address("s3://id:hunter2@b/a").unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    assert!(Storage::local().table("ftp://host/a").is_err());
}
