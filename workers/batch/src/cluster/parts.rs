//! The node of a plan that turns the names of files into the events in them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::task::Reader;
use crate::decode::Counts;

/// The node's name, and that of its metrics.
pub(super) const NAME: &str = "FeaturemillParts";
/// The metric that counts rows read.
pub(super) const ROWS: &str = "rows";
/// The metric that counts events taken.
pub(super) const TAKEN: &str = "taken";
/// What the names of metrics that count refused rows start with; the reason follows.
pub(super) const REFUSED: &str = "refused.";

/// Parts as values in memory: a partition for each, with a row for each file.
///
/// # Errors
/// Never in practice: one column of one type.
pub(super) fn values(parts: &[Vec<String>]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = Arc::new(Schema::new(vec![Field::new("file", DataType::Utf8, false)]));
    let batch = |files: &Vec<String>| {
        let files: ArrayRef = Arc::new(StringArray::from_iter_values(files));
        Ok(vec![RecordBatch::try_new(schema.clone(), vec![files])?])
    };
    let partitions = parts.iter().map(batch).collect::<Result<Vec<_>>>()?;
    Ok(MemorySourceConfig::try_new_exec(&partitions, schema, None)?)
}

/// The events of the files that its input names, partition by partition.
#[derive(Debug)]
pub(super) struct Parts {
    reader: Arc<Reader>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl Parts {
    /// Over an input of [`values`].
    pub(super) fn new(reader: Arc<Reader>, input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let equivalences = EquivalenceProperties::new(reader.schema());
        let properties = PlanProperties::new(equivalences, partitions, EmissionType::Incremental, Boundedness::Bounded);
        Self { reader, input, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// What reads the files.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl DisplayAs for Parts {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}: {}", self.reader.task.table.uri)
    }
}

impl ExecutionPlan for Parts {
    fn name(&self) -> &str {
        NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    // A part is the unit of work: spreading its files over more partitions is the driver's business.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(self.reader.clone(), input))),
            Err(children) => internal_err!("{NAME} has one input, not {}", children.len()),
        }
    }

    #[allow(deprecated, reason = "the trait asks for it beside what takes its place")]
    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let recompute = datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(recompute))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let counts = Arc::<Counts>::default();
        let parts = self.input.execute(partition, context.clone())?;
        let (reader, read) = (self.reader.clone(), counts.clone());
        let events = parts.and_then(move |part| {
            let (reader, context, counts) = (reader.clone(), context.clone(), read.clone());
            async move {
                let files = part.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
                reader.events(files, context, counts).await
            }
        });
        // Whoever submitted the plan asks the scheduler for these numbers.
        let metrics = self.metrics.clone();
        let end = stream::once(async move {
            let count = |name: String, n: u64| {
                MetricBuilder::new(&metrics).counter(name, partition).add(usize::try_from(n).unwrap_or(usize::MAX));
            };
            count(ROWS.to_owned(), counts.rows());
            count(TAKEN.to_owned(), counts.taken());
            for (reason, rows) in counts.refused() {
                count(format!("{REFUSED}{reason}"), rows);
            }
            Ok(None)
        });
        let batches = events.try_flatten().map_ok(Some).chain(end).try_filter_map(|batch| async move { Ok(batch) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
