//! The tables that an erasure deletes rows of: those that it names, and those that the view's ended revisions left behind. Each
//! way of making Silver has a table of its own, and a view that changed its mode may have a Gold that nobody writes to any more.

use arrow::datatypes::DataType;
use deltalake::DeltaTable;
use engine::value::ValueType;
use object_store::ObjectStore as _;
use object_store::path::Path;

use super::{Erasure, find};
use crate::error::LakeError;
use crate::storage::{Storage, address};
use crate::table::{self, UID, properties};

/// By layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The view's Golds.
    pub gold: Vec<String>,
    /// The view's Silvers; beside each stands its quarantine.
    pub silver: Vec<String>,
}

/// All of an erasure's tables but Bronze.
///
/// # Errors
/// What the store says.
pub async fn tables(erasure: &Erasure, storage: &Storage) -> Result<Tables, LakeError> {
    Ok(Tables {
        gold: layer(erasure, "gold", erasure.gold.as_ref(), storage).await?,
        silver: layer(erasure, "silver", erasure.silver.as_ref(), storage).await?,
    })
}

async fn layer(
    erasure: &Erasure,
    layer: &str,
    named: Option<&String>,
    storage: &Storage,
) -> Result<Vec<String>, LakeError> {
    let folder = format!("{}/{layer}", erasure.lake.trim_end_matches('/'));
    let mut tables: Vec<String> = named.into_iter().map(|uri| uri.trim_end_matches('/').to_owned()).collect();
    for name in names(erasure, &folder, storage).await? {
        let uri = format!("{folder}/{name}");
        if tables.contains(&uri) {
            continue;
        }
        match table::open(&uri, storage, None).await {
            Ok(table) if is_ours(erasure, &table, &uri)? => tables.push(uri),
            // A folder is not always a table, nor a table of that name always this view's.
            Ok(_) | Err(LakeError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(tables)
}

/// The names of folders that the view's tables of a layer may have.
async fn names(erasure: &Erasure, folder: &str, storage: &Storage) -> Result<Vec<String>, LakeError> {
    let url = address(folder)?;
    let prefix = Path::from_url_path(url.path())
        .map_err(|error| LakeError::Address { uri: folder.to_owned(), detail: error.to_string() })?;
    let listed = match storage.store(&url)?.list_with_delimiter(Some(&prefix)).await {
        Ok(listed) => listed.common_prefixes,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(source) => return Err(LakeError::Store { uri: folder.to_owned(), source }),
    };
    let view = &erasure.plan.view;
    let of_view = format!("{}.{}", view.namespace, view.name);
    let is_of_view = |name: &&str| match name.strip_prefix(&of_view) {
        Some(rest) => rest.is_empty() || rest.starts_with('.') && !rest.ends_with(".quarantine"),
        None => false,
    };
    Ok(listed.iter().filter_map(Path::filename).filter(is_of_view).map(str::to_owned).collect())
}

/// Whether a table is of the view, and of the same keys. Of other keys it cannot be asked about this entity.
fn is_ours(erasure: &Erasure, table: &DeltaTable, uri: &str) -> Result<bool, LakeError> {
    if properties(table, uri)?.get(UID) != Some(&erasure.plan.view.uid) {
        return Ok(false);
    }
    let columns = table::schema(table, uri)?;
    let has = |(name, value_type): &(String, ValueType)| {
        columns.field_with_name(name).is_ok_and(|field| holds(field.data_type(), value_type))
    };
    let has_keys = find::keys(&erasure.plan)?.iter().all(has);
    if !has_keys {
        tracing::warn!(uri, "a table of an ended revision has other keys, and is left as it is");
    }
    Ok(has_keys)
}

fn holds(found: &DataType, value_type: &ValueType) -> bool {
    match value_type {
        ValueType::String => matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        ValueType::Timestamp => matches!(found, DataType::Timestamp(..)),
        other => *found == other.arrow(),
    }
}
