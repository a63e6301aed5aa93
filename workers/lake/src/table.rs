//! Opening tables, at any version, and making those that are ours.
//!
//! A table of ours says whose it is: the property [`UID`] holds a Kubernetes UID. Whoever finds another's refuses, so that
//! two clusters, or a view and its namesake, never write to one table.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::schema::cast::normalize_for_delta;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::{DeltaTable, DeltaTableError};

use crate::error::LakeError;
use crate::storage::Storage;

/// The table property with the owner's UID.
pub const UID: &str = "featuremill.uid";
/// The table property with the owner's name, for people.
pub const OWNER: &str = "featuremill.owner";

/// Whose a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The Kubernetes UID of the view, or of the architecture for a topic's Bronze.
    pub uid: String,
    /// Its name, for people.
    pub owner: Owner,
}

/// What a table is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A view's Silver, Gold or quarantine.
    View {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A topic's Bronze.
    Topic(String),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::View { namespace, name } => write!(f, "view {namespace}/{name}"),
            Self::Topic(topic) => write!(f, "topic {topic}"),
        }
    }
}

/// What a table of ours must be.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its columns, partition columns included.
    pub schema: SchemaRef,
    /// The columns it is partitioned by.
    pub partition_by: Vec<String>,
    /// Whose it is.
    pub identity: Identity,
    /// Properties that it is created with, beside [`UID`] and [`OWNER`].
    pub properties: Vec<(String, String)>,
    /// Whether nullable columns that the table lacks are added to it, and those that only the table has are left NULL.
    pub evolves: bool,
}

/// Opens the table at `uri`: its newest version, or an older one (`versionAsOf`).
///
/// # Errors
/// [`LakeError::Missing`], [`LakeError::Version`], or what the store says.
pub async fn open(uri: &str, storage: &Storage, version: Option<u64>) -> Result<DeltaTable, LakeError> {
    let mut table = storage.table(uri)?;
    let exists = table.verify_deltatable_existence().await.map_err(LakeError::delta(uri, "looking for it"))?;
    if !exists {
        return Err(LakeError::Missing { uri: uri.to_owned() });
    }
    let Some(version) = version else {
        return match table.load().await {
            Ok(()) => Ok(table),
            Err(DeltaTableError::NotATable(_)) => Err(LakeError::Missing { uri: uri.to_owned() }),
            Err(error) => Err(LakeError::delta(uri, "loading its newest version")(error)),
        };
    };
    match table.load_version(version).await {
        Ok(()) if table.version() == Some(version) => Ok(table),
        Ok(()) => {
            let detail = format!("its newest is {}", table.version().unwrap_or_default());
            Err(LakeError::Version { uri: uri.to_owned(), version, detail })
        }
        Err(error) => Err(LakeError::Version { uri: uri.to_owned(), version, detail: error.to_string() }),
    }
}

/// Opens a table of ours, and makes it if it is not there.
///
/// # Errors
/// [`LakeError::Foreign`] if it is another's, [`LakeError::Schema`] naming the column that does not fit, or what the store
/// says.
pub async fn ensure(uri: &str, storage: &Storage, spec: &TableSpec) -> Result<DeltaTable, LakeError> {
    let table = match open(uri, storage, None).await {
        Err(LakeError::Missing { .. }) => match create(uri, storage, spec).await {
            Ok(table) => table,
            // Another may have made it at the same moment.
            Err(error) => match open(uri, storage, None).await {
                Ok(table) => table,
                Err(_) => return Err(error),
            },
        },
        found => found?,
    };
    owned_by(&table, uri, &spec.identity)?;
    fit(table, uri, spec).await
}

async fn create(uri: &str, storage: &Storage, spec: &TableSpec) -> Result<DeltaTable, LakeError> {
    let table = storage.table(uri)?;
    let schema = kernel_schema(uri, &spec.schema)?;
    let Identity { uid, owner } = &spec.identity;
    let ours = [(UID.to_owned(), uid.clone()), (OWNER.to_owned(), owner.to_string())];
    let properties = spec.properties.iter().cloned().chain(ours).map(|(key, value)| (key, Some(value)));
    table
        .create()
        .with_columns(schema.fields().cloned())
        .with_partition_columns(spec.partition_by.clone())
        .with_raise_if_key_not_exists(false)
        .with_configuration(properties)
        // With retries Delta would replace the table that another made meanwhile.
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await
        .map_err(LakeError::delta(uri, "creating it"))
}

/// Refuses a table that is not this owner's.
///
/// # Errors
/// [`LakeError::Foreign`].
pub fn owned_by(table: &DeltaTable, uri: &str, identity: &Identity) -> Result<(), LakeError> {
    let properties = properties(table, uri)?;
    if properties.get(UID) == Some(&identity.uid) {
        return Ok(());
    }
    let shown = |uid: Option<&String>, owner: Option<&String>| match (uid, owner) {
        (None, _) => "nobody we know (it has no property featuremill.uid)".to_owned(),
        (Some(uid), owner) => format!("{} ({uid})", owner.map_or("another", String::as_str)),
    };
    let found = shown(properties.get(UID), properties.get(OWNER));
    let expected = shown(Some(&identity.uid), Some(&identity.owner.to_string()));
    Err(LakeError::Foreign { uri: uri.to_owned(), found, expected })
}

/// The properties that stand in the table's metadata.
///
/// # Errors
/// When it is not loaded.
pub fn properties(table: &DeltaTable, uri: &str) -> Result<HashMap<String, String>, LakeError> {
    let state = table.snapshot().map_err(LakeError::delta(uri, "reading its properties"))?;
    Ok(state.metadata().configuration().clone())
}

/// The Arrow schema of a loaded table, in the types that reading it gives.
///
/// # Errors
/// When it is not loaded.
pub fn schema(table: &DeltaTable, uri: &str) -> Result<SchemaRef, LakeError> {
    Ok(table.snapshot().map_err(LakeError::delta(uri, "reading its columns"))?.snapshot().arrow_schema())
}

/// Compares by Delta's own types, in which all of Arrow's ways to write one type are one.
async fn fit(table: DeltaTable, uri: &str, spec: &TableSpec) -> Result<DeltaTable, LakeError> {
    let state = table.snapshot().map_err(LakeError::delta(uri, "reading its columns"))?;
    let refused =
        |column: &str, detail: String| LakeError::Schema { uri: uri.to_owned(), column: column.to_owned(), detail };
    let (found, wanted) = (state.schema(), kernel_schema(uri, &spec.schema)?);
    let partitions = state.metadata().partition_columns();
    if partitions[..] != spec.partition_by[..] {
        let detail = format!(
            "the table is partitioned by {partitions:?}, not by {:?}; a table cannot be partitioned anew: remove it, or name another lake",
            spec.partition_by
        );
        return Err(refused(spec.partition_by.first().map_or("-", String::as_str), detail));
    }
    let mut missing = Vec::new();
    for field in wanted.fields() {
        match found.field(field.name()) {
            Some(there) if there.data_type() != field.data_type() => {
                let (there, here) = (there.data_type(), field.data_type());
                let detail =
                    format!("the table has it as {there}, not as {here}; name it anew, or write another table");
                return Err(refused(field.name(), detail));
            }
            Some(there) if !there.is_nullable() && field.is_nullable() => {
                return Err(refused(field.name(), "the table does not take NULL in it".to_owned()));
            }
            Some(_) => {}
            None if spec.evolves && field.is_nullable() => missing.push(field.clone()),
            None => return Err(refused(field.name(), "the table does not have it; write another table".to_owned())),
        }
    }
    for there in found.fields() {
        if wanted.field(there.name()).is_none() && !(spec.evolves && there.is_nullable()) {
            let detail = "the table has it, and what is to be written has not; write another table".to_owned();
            return Err(refused(there.name(), detail));
        }
    }
    if missing.is_empty() {
        return Ok(table);
    }
    table.add_columns().with_fields(missing).await.map_err(LakeError::delta(uri, "adding columns"))
}

fn kernel_schema(uri: &str, schema: &SchemaRef) -> Result<StructType, LakeError> {
    let schema = normalize_for_delta(schema);
    // Field by field, so that the one that has no counterpart is named.
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let converted = field.as_ref().try_into_kernel().map_err(|error| LakeError::Schema {
            uri: uri.to_owned(),
            column: field.name().clone(),
            detail: format!("Delta has no such type: {error}"),
        })?;
        fields.push(converted);
    }
    StructType::try_new(fields).map_err(|error| LakeError::Schema {
        uri: uri.to_owned(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })
}
