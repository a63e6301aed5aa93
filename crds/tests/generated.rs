//! The definitions that are checked in are those of the types, are small enough, and keep no unknown field.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

#[test]
fn checked_in_definitions_are_those_of_the_types() {
    for (file, definition) in crds::definitions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml").join(file);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == crds::to_yaml(&definition).unwrap(),
            "{} is stale: run `cargo run -p crds --bin crdgen`",
            path.display()
        );
    }
}

#[test]
fn definitions_fit_into_an_annotation() {
    for (file, definition) in crds::definitions() {
        let bytes = serde_json::to_string(&definition).unwrap().len();
        assert!(bytes < 256 * 1024, "{file} has {bytes} bytes; client-side apply fails from 262144");
    }
}

#[test]
fn no_field_is_kept_without_being_known() {
    for (file, definition) in crds::definitions() {
        let text = serde_json::to_string(&definition).unwrap();
        assert!(!text.contains("preserveUnknownFields\":true") && !text.contains("preserve-unknown-fields"), "{file}");
    }
}

#[test]
fn nothing_in_them_makes_the_api_server_warn() {
    for (file, definition) in crds::definitions() {
        let text = serde_json::to_string(&definition).unwrap();
        assert!(!text.contains("\"format\":\"uint"), "{file} has a format that Kubernetes does not know");
        assert!(!text.contains("\"anyOf\":[{},{}]"), "{file} has an empty choice");
    }
}
