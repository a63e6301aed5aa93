//! The feature table: a Delta table with a partition for each generation of each revision.
//!
//! Invariants:
//! - A generation is one commit: all of its rows or none. A generation committed before and never published is replaced in
//!   that same commit.
//! - The commit carries the number of the run's lease as an application's transaction. Delta makes two commits of one
//!   application conflict, so a run whose lease passed to another cannot commit over what that one committed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::{Column, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, LogicalFileView, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use engine::plan::Plan;
use lake::files::Writer;
use lake::{Identity, LakeError, Owner, Storage, TableSpec};
use serde_json::Value;
use thiserror::Error;

use crate::config::{AS_OF, GENERATION, REVISION};
use crate::features;

/// Why the feature table did not do what was asked.
#[derive(Debug, Error)]
pub enum FeatureTableError {
    /// The lake says why.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Delta refuses, or another run committed since.
    #[error("feature table {uri} while {doing}: {source}")]
    Delta {
        /// The table.
        uri: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: Box<deltalake::DeltaTableError>,
    },
    /// It cannot be queried.
    #[error("feature table {uri} while {doing}: {source}")]
    Query {
        /// The table.
        uri: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// Columns do not fit one another.
    #[error("feature rows: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// The feature table of one view.
#[derive(Debug)]
pub struct FeatureTable {
    uri: String,
    table: DeltaTable,
    plan: Arc<Plan>,
}

impl FeatureTable {
    /// Opens it, and makes it if it is not there. Features that it lacks become columns.
    ///
    /// # Errors
    /// [`FeatureTableError`]: it is another view's, a column has another type, or the store fails.
    pub async fn open(uri: &str, plan: Arc<Plan>, storage: &Storage) -> Result<Self, FeatureTableError> {
        let view = &plan.view;
        let owner = Owner::View { namespace: view.namespace.clone(), name: view.name.clone() };
        let spec = TableSpec {
            schema: schema(&plan),
            partition_by: vec![REVISION.to_owned(), GENERATION.to_owned()],
            identity: Identity { uid: view.uid.clone(), owner },
            properties: Vec::new(),
            evolves: true,
        };
        let table = lake::ensure(uri, storage, &spec).await?;
        Ok(Self { uri: uri.to_owned(), table, plan })
    }

    /// Where it is.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A writer of rows that [`Self::commit`] makes part of the table.
    ///
    /// # Errors
    /// [`FeatureTableError::Lake`].
    pub fn writer(&self) -> Result<Writer, FeatureTableError> {
        Ok(Writer::new(&self.table, &self.uri)?)
    }

    /// The generations from `from` on that stand in it for this revision, ascending.
    ///
    /// # Errors
    /// [`FeatureTableError::Delta`].
    pub fn generations(&self, from: u64) -> Result<Vec<u64>, FeatureTableError> {
        let files = self.files(|generation| generation >= from)?;
        let mut generations: Vec<u64> = files.into_iter().map(|(generation, _)| generation).collect();
        generations.sort_unstable();
        generations.dedup();
        Ok(generations)
    }

    /// How many rows of a generation of this revision stand in it; `None` if its files do not say.
    ///
    /// # Errors
    /// [`FeatureTableError::Delta`].
    pub fn count(&self, generation: u64) -> Result<Option<u64>, FeatureTableError> {
        let files = self.log()?;
        let of = files.iter().filter(|file| self.generation_of(file) == Some(generation));
        Ok(of.map(|file| file.num_records().and_then(|rows| u64::try_from(rows).ok())).sum())
    }

    /// Makes `files` the generation `generation`, in the place of what stood there and in all later ones, which no head
    /// names. `lease` is the number of the run's lease.
    ///
    /// # Errors
    /// [`FeatureTableError::Delta`], also if another run committed since this table was opened.
    pub async fn commit(
        &mut self,
        generation: u64,
        files: Vec<Add>,
        lease: u64,
        lineage: HashMap<String, Value>,
    ) -> Result<(), FeatureTableError> {
        let failed = |source| FeatureTableError::Delta {
            uri: self.uri.clone(),
            doing: "committing a generation",
            source: Box::new(source),
        };
        let mut actions: Vec<Action> =
            self.files(|found| found >= generation)?.into_iter().map(|(_, remove)| remove).collect();
        actions.extend(files.into_iter().map(Action::Add));
        let application = lake::gold::app_id(&self.plan.view.uid, &self.plan.revision);
        let version = i64::try_from(lease).unwrap_or(i64::MAX);
        let properties = CommitProperties::default()
            .with_application_transaction(Transaction::new(application, version))
            .with_metadata(lineage);
        let operation = DeltaOperation::Write {
            mode: SaveMode::Overwrite,
            partition_by: Some(vec![REVISION.to_owned(), GENERATION.to_owned()]),
            predicate: Some(format!("{REVISION} = '{}' AND {GENERATION} >= {generation}", self.plan.revision)),
        };
        let state = self.table.snapshot().map_err(failed)?.clone();
        let done = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&state as &dyn TableReference), self.table.log_store(), operation)
            .await
            .map_err(failed)?;
        self.table.state = Some(done.snapshot());
        Ok(())
    }

    /// The rows of one generation: keys and features by name.
    ///
    /// # Errors
    /// [`FeatureTableError::Query`].
    pub async fn generation(
        &self,
        generation: u64,
        session: &SessionContext,
    ) -> Result<SendableRecordBatchStream, FeatureTableError> {
        let failed = self.query("reading a generation");
        let names = self.plan.entity.iter().chain(self.plan.features.iter().map(|feature| &feature.name));
        let columns: Vec<Expr> = names.map(|name| column(name)).collect();
        let frame = self.frame(generation, session).await?.select(columns).map_err(&failed)?;
        frame.execute_stream().await.map_err(failed)
    }

    /// The keys of one generation's entities, as a plan.
    ///
    /// # Errors
    /// [`FeatureTableError::Query`].
    pub async fn entities(
        &self,
        generation: u64,
        session: &SessionContext,
    ) -> Result<Arc<dyn ExecutionPlan>, FeatureTableError> {
        let failed = self.query("reading a generation's entities");
        let keys: Vec<Expr> = self.plan.entity.iter().map(|name| column(name)).collect();
        let frame = self.frame(generation, session).await?.select(keys).map_err(&failed)?;
        frame.create_physical_plan().await.map_err(failed)
    }

    /// The keys of the entities of `before` that are not in `after`; of all of them without `after`.
    ///
    /// # Errors
    /// [`FeatureTableError::Query`].
    pub async fn vanished(
        &self,
        before: u64,
        after: Option<u64>,
        session: &SessionContext,
    ) -> Result<SendableRecordBatchStream, FeatureTableError> {
        let failed = self.query("looking for vanished entities");
        let keys = || self.plan.entity.iter().map(|name| column(name)).collect::<Vec<_>>();
        let mut frame = self.frame(before, session).await?.select(keys()).map_err(&failed)?;
        if let Some(after) = after {
            let there = self.frame(after, session).await?;
            let renamed = self.plan.entity.iter().enumerate().map(|(i, name)| column(name).alias(format!("there_{i}")));
            let there = there.select(renamed.collect::<Vec<_>>()).map_err(&failed)?;
            let left: Vec<&str> = self.plan.entity.iter().map(String::as_str).collect();
            let right: Vec<String> = (0..left.len()).map(|i| format!("there_{i}")).collect();
            let right: Vec<&str> = right.iter().map(String::as_str).collect();
            let on = left.iter().zip(&right).map(|(l, r)| column(l).eq(column(r)));
            frame = frame.join_on(there, JoinType::LeftAnti, on).map_err(&failed)?;
        }
        frame.execute_stream().await.map_err(failed)
    }

    async fn frame(&self, generation: u64, session: &SessionContext) -> Result<DataFrame, FeatureTableError> {
        let frame = lake::source::frame(&self.table, &self.uri, session).await?;
        let number = i64::try_from(generation).unwrap_or(i64::MAX);
        let of = column(REVISION).eq(lit(self.plan.revision.as_str())).and(column(GENERATION).eq(lit(number)));
        frame.filter(of).map_err(self.query("reading a generation"))
    }

    /// The files of this revision's generations that meet `wanted`, as removals.
    fn files(&self, wanted: impl Fn(u64) -> bool) -> Result<Vec<(u64, Action)>, FeatureTableError> {
        let mut files = Vec::new();
        for file in &self.log()? {
            if let Some(generation) = self.generation_of(file).filter(|generation| wanted(*generation)) {
                files.push((generation, Action::Remove(file.remove_action(true))));
            }
        }
        Ok(files)
    }

    fn log(&self) -> Result<Vec<LogicalFileView>, FeatureTableError> {
        let state = self.table.snapshot().map_err(|source| FeatureTableError::Delta {
            uri: self.uri.clone(),
            doing: "listing its generations",
            source: Box::new(source),
        })?;
        Ok(state.log_data().into_iter().collect())
    }

    /// The generation that a file is of, if it is of this revision.
    fn generation_of(&self, file: &LogicalFileView) -> Option<u64> {
        let partition = file.partition_values_map();
        let value = |name: &str| partition.get(name).cloned().flatten();
        (value(REVISION).as_ref() == Some(&self.plan.revision)).then(|| value(GENERATION)?.parse().ok()).flatten()
    }

    fn query(&self, doing: &'static str) -> impl Fn(datafusion::error::DataFusionError) -> FeatureTableError {
        let uri = self.uri.clone();
        move |source| FeatureTableError::Query { uri: uri.clone(), doing, source: Box::new(source) }
    }
}

/// What stands in every row of one generation.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The horizon in milliseconds.
    pub horizon: i64,
    /// The plan's revision.
    pub revision: String,
    /// The generation.
    pub generation: u64,
}

/// Rows of the table: keys named as the plan has them, the stamp, and features.
///
/// # Errors
/// If the columns are not of one length.
pub fn rows(
    plan: &Plan,
    keys: &[ArrayRef],
    stamp: &Stamp,
    features: &RecordBatch,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = features.num_rows();
    let number = i64::try_from(stamp.generation).unwrap_or(i64::MAX);
    let mut columns: Vec<(&str, ArrayRef)> = plan.entity.iter().map(String::as_str).zip(keys.iter().cloned()).collect();
    columns.push((AS_OF, Arc::new(TimestampMillisecondArray::from_value(stamp.horizon, count).with_timezone("UTC"))));
    columns.push((REVISION, Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&stamp.revision, count)))));
    columns.push((GENERATION, Arc::new(Int64Array::from_value(number, count))));
    let features = features.schema_ref().fields().iter().zip(features.columns());
    let features: Vec<_> = features.map(|(field, column)| (field.name().clone(), column.clone())).collect();
    columns.extend(features.iter().map(|(name, column)| (name.as_str(), column.clone())));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// The table's columns, in types that Delta has: its instants are of microseconds.
fn schema(plan: &Plan) -> SchemaRef {
    let key = |name: &String| {
        let column = plan.source.columns.iter().find(|column| column.name == *name);
        let data_type = column.map_or(DataType::Utf8, |column| column.value_type.arrow());
        Field::new(name, micros(&data_type), true)
    };
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<Field> = plan.entity.iter().map(key).collect();
    fields.push(Field::new(AS_OF, instant, true));
    fields.push(Field::new(REVISION, DataType::Utf8, true));
    fields.push(Field::new(GENERATION, DataType::Int64, true));
    fields.extend(features::fields(plan).iter().map(|field| Field::new(field.name(), micros(field.data_type()), true)));
    Arc::new(Schema::new(fields))
}

fn micros(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::List(item) => {
            DataType::List(Field::new(item.name(), micros(item.data_type()), item.is_nullable()).into())
        }
        other => other.clone(),
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
