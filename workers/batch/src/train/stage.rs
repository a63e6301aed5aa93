//! One view's pass over the questions, as a plan: decoded events and questions, sorted together, merged.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, kernels::aggregate};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMillisecondType};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use engine::erase::Tombstones;
use engine::event::{Admission, Importer};
use engine::lane::Layout;
use engine::plan::Plan;
use engine::program::Program;
use engine::time::{coarsest_hop, floor};
use futures::TryStreamExt as _;
use lake::Storage;

use super::TrainError;
use super::config::{TrainConfig, TrainView};
use super::merge::Merge;
use crate::config::{ConfigError, SourceTable, reading};
use crate::decode::{Counts, Taken};
use crate::events;
use crate::features;
use crate::history::History;
use crate::map::{self, Step, Transform};
use crate::scan;

/// The first and the last time that is asked about, in milliseconds; `None` if none is.
pub(super) type Bounds = Option<(i64, i64)>;

/// One view, ready for its pass.
pub(super) struct View {
    program: Arc<Program>,
    layout: Arc<Layout>,
    history: History,
    source: Option<SourceTable>,
    tombstones: Arc<Tombstones>,
    /// The plan as the questions have it: its keys and time under their names there.
    asked: Plan,
    /// The names of its features in the training set.
    names: Vec<String>,
}

impl View {
    pub(super) async fn open(
        view: &TrainView,
        config: &TrainConfig,
        full_names: bool,
        storage: &Storage,
        session: &SessionContext,
    ) -> Result<Self, TrainError> {
        let plan = Arc::new(view.assignment.plan.clone());
        let failed = |detail: String| ConfigError::Plan {
            view: format!("{}/{}", plan.view.namespace, plan.view.name),
            revision: plan.revision.clone(),
            detail,
        };
        let program = Arc::new(Program::new(plan.clone()).map_err(|error| failed(error.to_string()))?);
        let layout = Arc::new(Layout::new(&plan).map_err(|error| failed(error.to_string()))?);
        let reads = reading(&plan, view.source.as_ref());
        let history = History::open(&reads, view.version_as_of, storage, session).await?;
        history.check_event_time(&plan, view.source.as_ref())?;
        let name = |feature: &engine::plan::Feature| {
            if full_names { format!("{}__{}", plan.view.name, feature.name) } else { feature.name.clone() }
        };
        let names = plan.features.iter().map(name).collect();
        let source = view.source.clone();
        let tombstones = match &view.lake {
            Some(lake) => lake::erase::tombstones(&lake::erase::uri(lake, &plan), storage, session).await?,
            None => Tombstones::default(),
        };
        let (asked, tombstones) = (asked(&plan, Some(view), config), Arc::new(tombstones));
        Ok(Self { program, layout, history, source, tombstones, asked, names })
    }

    pub(super) fn plan(&self) -> &Plan {
        self.program.plan()
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Adds the view's features to what `asks` gives.
    pub(super) async fn stage(
        &self,
        asks: Arc<dyn ExecutionPlan>,
        bounds: Bounds,
        session: &SessionContext,
        counts: Arc<Counts>,
    ) -> Result<Arc<dyn ExecutionPlan>, TrainError> {
        let ask_schema = asks.schema();
        if let Some(name) = self.names.iter().find(|name| ask_schema.column_with_name(name).is_some()) {
            return Err(ConfigError::Column { name: name.clone(), role: "feature of a training set" }.into());
        }
        let events = self.events(bounds, session, counts).await?;
        let keys = self.program.keys().len();
        let importer = Importer::new(&self.asked, &ask_schema, self.program.keys())
            .map_err(|source| TrainError::Import { view: self.plan().view.name.clone(), source })?;
        let merged = merged(&events.schema(), keys, &ask_schema);
        let asks_in = AsksIn { importer, keys: self.program.keys().to_vec(), schema: merged.clone() };
        let events_in = EventsIn { keys, schema: merged.clone() };
        let both =
            UnionExec::try_new(vec![map::plan(&asks, &Arc::new(asks_in))?, map::plan(&events, &Arc::new(events_in))?])?;
        let sorted = sorted(both, &merged, keys, session.state().config().target_partitions())?;
        let mut fields: Vec<Field> = ask_schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let features = features::fields(self.plan());
        fields.extend(self.names.iter().zip(features).map(|(name, field)| field.with_name(name)));
        let merge = Merge {
            program: self.program.clone(),
            layout: self.layout.clone(),
            keys,
            asked: ask_schema.fields().len(),
            schema: Arc::new(Schema::new(fields)),
        };
        Ok(map::plan(&sorted, &Arc::new(merge))?)
    }

    async fn events(
        &self,
        bounds: Bounds,
        session: &SessionContext,
        counts: Arc<Counts>,
    ) -> Result<Arc<dyn ExecutionPlan>, TrainError> {
        let plan = self.program.plan();
        // Without questions no event is needed: none lies in an empty slice.
        let (from, until) = bounds.map_or((0, 0), |(first, last)| {
            let from = plan
                .time
                .retention_ms
                .map_or(i64::MIN, |retention| floor(first.saturating_sub(retention), coarsest_hop(plan)));
            (from, last)
        });
        let admission = Admission { from, until, latest: i64::MAX };
        let taken = Taken { admission, tombstones: self.tombstones.clone(), counts };
        Ok(events::plan(&self.program, &self.history, self.source.as_ref(), taken, session).await?)
    }
}

/// A plan of which only the keys and the event time matter, under the names that the questions have for them.
fn asked(plan: &Plan, view: Option<&TrainView>, config: &TrainConfig) -> Plan {
    let mut asked = plan.clone();
    asked.source.timestamp = config.timestamp.clone();
    for column in &mut asked.source.columns {
        if let Some(view) = view.filter(|_| plan.entity.contains(&column.name)) {
            column.name = view.column(&column.name).to_owned();
        }
    }
    asked
}

/// The first and last time of the questions.
pub(super) async fn bounds(
    asks: &History,
    config: &TrainConfig,
    session: &SessionContext,
) -> Result<Bounds, TrainError> {
    let Some(view) = config.views.first() else { return Ok(None) };
    let plan = &view.assignment.plan;
    let refused = |source| TrainError::Import { view: plan.view.name.clone(), source };
    let frame = asks.frame(session).await?;
    let asked = asked(plan, None, config);
    Importer::new(&asked, frame.schema().as_arrow(), &[]).map_err(refused)?;
    let scan = scan::one(frame, &config.timestamp.field).await?;
    let importer = Importer::new(&asked, &scan.schema(), &[]).map_err(refused)?;
    let mut bounds: Bounds = None;
    let mut batches = execute_stream(scan, session.task_ctx())?;
    while let Some(batch) = batches.try_next().await? {
        let (times, _) = importer.convert(&batch).map_err(datafusion::error::DataFusionError::from)?;
        let times = times.as_primitive::<TimestampMillisecondType>();
        if let (Some(least), Some(most)) = (aggregate::min(times), aggregate::max(times)) {
            bounds = Some(bounds.map_or((least, most), |(first, last)| (first.min(least), last.max(most))));
        }
    }
    Ok(bounds)
}

/// The columns of questions and events together: keys, time, whether it is an event, what an event is folded by, and what
/// a question brings.
fn merged(events: &SchemaRef, keys: usize, asks: &SchemaRef) -> SchemaRef {
    let nullable = |field: &Field| field.clone().with_nullable(true);
    let mut fields: Vec<Field> = events.fields()[..=keys].iter().map(|field| nullable(field)).collect();
    fields.push(Field::new("event", DataType::Boolean, false));
    fields.extend(events.fields()[keys + 1..].iter().map(|field| nullable(field)));
    let ask = |(i, field): (usize, &Arc<Field>)| nullable(field).with_name(format!("ask_{i}"));
    fields.extend(asks.fields().iter().enumerate().map(ask));
    Arc::new(Schema::new(fields))
}

/// By entity, then by time, questions first: an event at the time of a question is not seen by it.
fn sorted(
    input: Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
    keys: usize,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let column = |i: usize| Arc::new(Column::new(schema.field(i).name(), i)) as Arc<dyn PhysicalExpr>;
    let by_entity = Partitioning::Hash((0..keys).map(column).collect(), partitions);
    let input = Arc::new(RepartitionExec::try_new(input, by_entity)?);
    let order = (0..keys + 2).map(|i| PhysicalSortExpr::new_default(column(i)));
    let Some(order) = LexOrdering::new(order) else { return Ok(input) };
    Ok(Arc::new(SortExec::new(order, input).with_preserve_partitioning(true)))
}

/// Questions into the merged columns.
#[derive(Debug)]
struct AsksIn {
    importer: Importer,
    keys: Vec<usize>,
    schema: SchemaRef,
}

impl Transform for AsksIn {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        Box::new(move |batch| {
            let rows = batch.num_rows();
            let (times, columns) = self.importer.convert(batch)?;
            let mut merged: Vec<ArrayRef> = self.keys.iter().map(|key| columns[*key].clone()).collect();
            merged.push(cast(&times, &DataType::Int64)?);
            merged.push(Arc::new(BooleanArray::from(vec![false; rows])));
            let folded = merged.len()..self.schema.fields().len() - batch.num_columns();
            merged.extend(folded.map(|i| new_null_array(self.schema.field(i).data_type(), rows)));
            merged.extend(batch.columns().iter().cloned());
            Ok(RecordBatch::try_new(self.schema.clone(), merged)?)
        })
    }
}

/// Decoded events into the merged columns.
#[derive(Debug)]
struct EventsIn {
    keys: usize,
    schema: SchemaRef,
}

impl Transform for EventsIn {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        Box::new(move |batch| {
            let rows = batch.num_rows();
            let mut merged: Vec<ArrayRef> = batch.columns()[..=self.keys].to_vec();
            merged.push(Arc::new(BooleanArray::from(vec![true; rows])));
            merged.extend(batch.columns()[self.keys + 1..].iter().cloned());
            let asked = merged.len()..self.schema.fields().len();
            merged.extend(asked.map(|i| new_null_array(self.schema.field(i).data_type(), rows)));
            Ok(RecordBatch::try_new(self.schema.clone(), merged)?)
        })
    }
}
