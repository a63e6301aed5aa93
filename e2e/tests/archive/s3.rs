//! A table on S3: several writers at once, through a real S3 gateway, each commit a conditional put.

use std::time::Duration;

use e2e::services::{Directory, Process, Program, free_ports};
use futures::future::join_all;
use lake::{Identity, LakeError, Owner, Storage, TableSpec, append, ensure, last_txn, open};
use serde_json::Map;

/// The gateway that the local cluster has, over a folder.
fn gateway(directory: &Directory) -> (Process, String) {
    let [port] = free_ports().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(path("objects/lake")).unwrap();
    std::fs::create_dir_all(path("meta")).unwrap();
    let binary = e2e::control_plane::cache_directory().join("bin/versitygw");
    assert!(binary.exists(), "{} does not exist; run kind/up", binary.display());
    let process = Program::new(binary)
        .args(["--port", &format!("127.0.0.1:{port}"), "posix", "--sidecar"])
        .args([path("meta"), path("objects")])
        .env("ROOT_ACCESS_KEY", "featuremill")
        .env("ROOT_SECRET_KEY", "hunter2")
        .start(path("gateway.log"))
        .unwrap();
    (process, format!("http://127.0.0.1:{port}"))
}

fn storage(directory: &Directory, endpoint: &str, secret: &str) -> Storage {
    let folder = directory.path().join(format!("credentials-{secret}"));
    std::fs::create_dir_all(&folder).unwrap();
    for (key, value) in [
        ("AWS_ACCESS_KEY_ID", "featuremill"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ] {
        std::fs::write(folder.join(key), value).unwrap();
    }
    Storage::from_dir(Some(&folder)).unwrap()
}

fn spec() -> TableSpec {
    TableSpec {
        schema: batch(0).schema(),
        partition_by: Vec::new(),
        identity: Identity { uid: "u".into(), owner: Owner::Topic("events".into()) },
        properties: Vec::new(),
        evolves: false,
    }
}

fn batch(number: i64) -> arrow::array::RecordBatch {
    let numbers = std::sync::Arc::new(arrow::array::Int64Array::from(vec![number]));
    arrow::array::RecordBatch::try_from_iter([("number", numbers as arrow::array::ArrayRef)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_table_on_s3_never_make_one_version_twice() {
    lake::install_crypto();
    let directory = Directory::new("s3").unwrap();
    let (mut gateway, endpoint) = gateway(&directory);
    let uri = "s3://lake/t";
    let right = storage(&directory, &endpoint, "hunter2");
    gateway
        .until("an answer", Duration::from_secs(30), async || match open(uri, &right, None).await {
            Err(LakeError::Missing { .. }) => Ok(()),
            other => Err(format!("{:?}", other.map(|table| table.version()))),
        })
        .await
        .unwrap();
    // Each with a client of its own, as on machines of their own.
    let writer = |app: i64| {
        let storage = storage(&directory, &endpoint, "hunter2");
        async move {
            let mut table = ensure(uri, &storage, &spec()).await.unwrap();
            let id = format!("app-{app}");
            for version in 0..5 {
                append(&mut table, uri, &[batch(version)], Some((&id, version)), Map::new()).await.unwrap();
            }
        }
    };
    join_all((0..4).map(writer)).await;
    let table = open(uri, &right, None).await.unwrap();
    assert_eq!(table.version(), Some(20));
    for app in 0..4 {
        assert_eq!(last_txn(&table, uri, &format!("app-{app}")).await.unwrap(), Some(4));
    }
    let session = lake::session::session(&lake::session::SessionOptions::default()).unwrap();
    let rows = lake::source::frame(&table, uri, &session).await.unwrap().count().await.unwrap();
    assert_eq!(rows, 20);
    // A wrong secret is an error that says where, and shows none.
    let error = open(uri, &storage(&directory, &endpoint, "hunter3"), None).await.unwrap_err().to_string();
    assert!(error.contains(uri) && !error.contains("hunter"), "{error}");
}
