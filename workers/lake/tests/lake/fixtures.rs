//! Tables of numbers.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use lake::session::{SessionOptions, session};
use lake::{Identity, Owner, Storage, TableSpec, source};
use tempfile::TempDir;

/// A lake in a folder of its own.
pub struct World {
    pub storage: Storage,
    pub session: SessionContext,
    pub folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        lake::install_crypto();
        let options = SessionOptions { memory_bytes: 256 << 20, threads: 2, ..SessionOptions::default() };
        Self { storage: Storage::local(), session: session(&options).unwrap(), folder: TempDir::new().unwrap() }
    }

    /// The address of a table.
    pub fn uri(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The numbers of a table, ascending.
    pub async fn numbers(&self, table: &DeltaTable) -> Vec<i64> {
        let frame = source::frame(table, "test", &self.session).await.unwrap();
        let batches = frame.select_columns(&["number"]).unwrap().collect().await.unwrap();
        let mut numbers: Vec<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        numbers.sort_unstable();
        numbers
    }
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]))
}

pub fn identity(uid: &str) -> Identity {
    Identity { uid: uid.to_owned(), owner: Owner::View { namespace: "shop".into(), name: "clicks".into() } }
}

pub fn spec(uid: &str) -> TableSpec {
    TableSpec {
        schema: schema(),
        partition_by: Vec::new(),
        identity: identity(uid),
        properties: Vec::new(),
        evolves: false,
    }
}

pub fn batch(numbers: &[i64]) -> RecordBatch {
    let texts: StringArray = numbers.iter().map(|number| Some(number.to_string())).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(numbers.to_vec())), Arc::new(texts)]).unwrap()
}
