//! Good rows on local disk, between decoding and Silver: deduplication looks at all of them, and they need not fit into
//! memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::parquet::arrow::ArrowWriter;

use crate::error::LakeError;

/// A folder with one Parquet file, removed when dropped.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    writer: ArrowWriter<File>,
    rows: u64,
}

/// A stage that is full.
pub(super) struct Staged {
    folder: tempfile::TempDir,
    pub(super) rows: u64,
}

impl Stage {
    /// A stage below `folder`, or in the system's temporary folder.
    pub(super) fn new(folder: Option<&Path>, schema: SchemaRef) -> Result<Self, LakeError> {
        let parent = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let failed = failed(&parent);
        std::fs::create_dir_all(&parent).map_err(|error| failed(error.to_string()))?;
        let folder = tempfile::Builder::new().prefix("featuremill-silver-").tempdir_in(&parent);
        let folder = folder.map_err(|error| failed(error.to_string()))?;
        let file = File::create(folder.path().join("staged.parquet")).map_err(|error| failed(error.to_string()))?;
        let writer = ArrowWriter::try_new(file, schema, None).map_err(|error| failed(error.to_string()))?;
        Ok(Self { folder, writer, rows: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(0);
        self.writer.write(batch).map_err(|error| failed(self.folder.path())(error.to_string()))
    }

    pub(super) fn finish(self) -> Result<Staged, LakeError> {
        let Self { folder, writer, rows } = self;
        writer.close().map_err(|error| failed(folder.path())(error.to_string()))?;
        Ok(Staged { folder, rows })
    }
}

impl Staged {
    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("staged.parquet")
    }
}

fn failed(path: &Path) -> impl Fn(String) -> LakeError {
    let path = path.to_owned();
    move |detail| LakeError::Spill { path: path.clone(), detail }
}
