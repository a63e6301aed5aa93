//! A plan that changes batches one by one, partition by partition.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use futures::{StreamExt as _, stream};

/// What is done to each batch of one partition, in their order.
pub type Step = Box<dyn FnMut(&RecordBatch) -> Result<RecordBatch> + Send>;

/// Makes the steps of a plan's partitions.
pub trait Transform: Debug + Send + Sync + 'static {
    /// The schema of what a step gives.
    fn schema(&self) -> &SchemaRef;
    /// A step for one partition.
    fn step(self: Arc<Self>) -> Step;
}

/// A plan that does `transform` to what `input` gives.
///
/// # Errors
/// Never in practice: all partitions have one schema.
pub fn plan<T: Transform>(input: &Arc<dyn ExecutionPlan>, transform: &Arc<T>) -> Result<Arc<dyn ExecutionPlan>> {
    let partition = |partition| {
        let (input, transform) = (input.clone(), transform.clone());
        Arc::new(Partition { input, partition, transform }) as Arc<dyn PartitionStream>
    };
    let partitions = (0..input.output_partitioning().partition_count()).map(partition).collect();
    Ok(Arc::new(StreamingTableExec::try_new(transform.schema().clone(), partitions, None, [], false, None)?))
}

#[derive(Debug)]
struct Partition<T> {
    input: Arc<dyn ExecutionPlan>,
    partition: usize,
    transform: Arc<T>,
}

impl<T: Transform> PartitionStream for Partition<T> {
    fn schema(&self) -> &SchemaRef {
        self.transform.schema()
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut step = self.transform.clone().step();
        let batches = match self.input.execute(self.partition, context) {
            Ok(batches) => batches.map(move |batch| step(&batch?)).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.transform.schema().clone(), batches))
    }
}
