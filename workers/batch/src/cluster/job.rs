//! A plan's way through the cluster: submitted, awaited, its counts asked for, its results fetched.
//!
//! Invariant: a job whose results nobody waits for any more is cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use ballista_core::client::BallistaClient;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::operator_metric::Metric;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobMetricsParams, KeyValuePair, PartitionLocation, job_status,
};
use ballista_core::utils::create_grpc_client_endpoint;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use datafusion_proto::physical_plan::AsExecutionPlan as _;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{TryStreamExt as _, stream};
use thiserror::Error;
use tonic::transport::Channel;

use super::codec::Codec;
use super::{MESSAGE_BYTES, parts};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How often a connection that is silent is asked whether it stands.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How often the fetch of a part of the result is tried.
const TRIES: u8 = 3;
/// Milliseconds between two of them.
const BETWEEN_TRIES_MS: u64 = 1_000;

/// Why a cluster does not give what it was asked for.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The address does not read.
    #[error("the cluster's address {url:?}: {detail}; give it as http://host:port in batch.schedulerUrl")]
    Address {
        /// The address.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// The scheduler does not answer, or what it says is an error.
    #[error("the scheduler at {url} while {doing}: {detail}")]
    Scheduler {
        /// Where it is.
        url: String,
        /// What was being done.
        doing: &'static str,
        /// What it says.
        detail: String,
    },
    /// The plan cannot be written down.
    #[error("planning the job: {0}")]
    Plan(#[from] DataFusionError),
    /// The job failed, after as many tries as the scheduler makes.
    #[error("job {job} failed on the cluster: {detail}")]
    Failed {
        /// The job.
        job: String,
        /// What the scheduler says.
        detail: String,
    },
}

impl ClusterError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Address { .. } | Self::Plan(_))
    }
}

/// What its executors read, by the metrics of [`parts::Parts`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Rows.
    pub rows: u64,
    /// Events taken.
    pub taken: u64,
    /// Rows refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// A job that is done.
#[derive(Debug)]
pub(super) struct Done {
    /// Where the partitions of its result are.
    pub results: Vec<PartitionLocation>,
    /// What was read for it.
    pub read: Read,
}

/// A connection to a scheduler.
#[derive(Debug)]
pub(super) struct Scheduler {
    url: String,
    client: SchedulerGrpcClient<Channel>,
}

impl Scheduler {
    /// Connects.
    pub(super) async fn connect(url: &str) -> Result<Self, ClusterError> {
        let address = |detail: String| ClusterError::Address { url: url.to_owned(), detail };
        let endpoint = create_grpc_client_endpoint(url.to_owned(), None).map_err(|error| address(error.to_string()))?;
        let endpoint = endpoint.connect_timeout(CONNECT).http2_keep_alive_interval(KEEP_ALIVE).tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| ClusterError::Scheduler {
            url: url.to_owned(),
            doing: "connecting",
            detail: causes(&error),
        })?;
        let client = SchedulerGrpcClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES as usize)
            .max_encoding_message_size(MESSAGE_BYTES as usize);
        Ok(Self { url: url.to_owned(), client })
    }

    fn failed(&self, doing: &'static str) -> impl Fn(tonic::Status) -> ClusterError {
        let url = self.url.clone();
        move |status| ClusterError::Scheduler { url: url.clone(), doing, detail: status.message().to_owned() }
    }

    fn unexpected(&self, doing: &'static str, detail: String) -> ClusterError {
        ClusterError::Scheduler { url: self.url.clone(), doing, detail }
    }

    /// Has `plan` executed, whose result has as many partitions as it has; `name` is for people's eyes.
    pub(super) async fn run(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        codec: &Codec,
        name: &str,
    ) -> Result<Done, ClusterError> {
        let (mut bytes, partitions) = (Vec::new(), plan.output_partitioning().partition_count());
        PhysicalPlanNode::try_from_physical_plan(plan, codec)?.try_encode(&mut bytes)?;
        let id = format!("{name}-{}", shell::clock::now_ms());
        let setting = |key: &str, value: &str| KeyValuePair { key: key.to_owned(), value: Some(value.to_owned()) };
        let mut request = tonic::Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(bytes)),
            settings: vec![setting(ballista_core::config::BALLISTA_JOB_NAME, name)],
            session_id: id.clone(),
            operation_id: id,
        });
        ballista_core::version::insert_version_header(request.metadata_mut());
        let mut statuses =
            self.client.execute_query_push(request).await.map_err(self.failed("submitting the job"))?.into_inner();
        let mut job = Job { client: self.client.clone(), id: String::new(), over: false };
        while let Some(status) = statuses.message().await.map_err(self.failed("waiting for the job"))? {
            let Some(status) = status.status else { continue };
            if job.id.is_empty() && !status.job_id.is_empty() {
                tracing::info!(job = status.job_id, scheduler = self.url, "the cluster is at work");
                job.id.clone_from(&status.job_id);
            }
            match status.status {
                Some(job_status::Status::Successful(done)) => {
                    job.over = true;
                    let read = self.read(&job.id).await?;
                    let results = newest(done.partition_location);
                    if results.len() != partitions {
                        let detail = format!("it tells of {} of its {partitions} results", results.len());
                        return Err(self.unexpected("waiting for the job", detail));
                    }
                    return Ok(Done { results, read });
                }
                Some(job_status::Status::Failed(failed)) => {
                    job.over = true;
                    return Err(ClusterError::Failed { job: job.id.clone(), detail: failed.error });
                }
                Some(job_status::Status::Queued(_) | job_status::Status::Running(_)) | None => {}
            }
        }
        Err(self.unexpected("waiting for the job", "it ended the conversation before the job was over".to_owned()))
    }

    /// What was read for a job that is done.
    async fn read(&mut self, job: &str) -> Result<Read, ClusterError> {
        let asked = self.client.get_job_metrics(GetJobMetricsParams { job_id: job.to_owned() }).await;
        let stages = asked.map_err(self.failed("asking what was read"))?.into_inner().stages;
        let ours = stages.into_iter().flat_map(|stage| stage.operators).filter(|one| one.operator_type == parts::NAME);
        let mut read = Read::default();
        for metric in ours.flat_map(|operator| operator.metrics) {
            let Some(Metric::Count(count)) = metric.metric else { continue };
            match count.name.as_str() {
                parts::ROWS => read.rows += count.value,
                parts::TAKEN => read.taken += count.value,
                name => {
                    if let Some(reason) = name.strip_prefix(parts::REFUSED) {
                        *read.refused.entry(reason.to_owned()).or_default() += count.value;
                    }
                }
            }
        }
        Ok(read)
    }
}

/// Where the partitions of a result are, each once.
///
/// The scheduler tells of every task of the last stage that ended, in that order, and forgets none when it has tasks worked
/// on again: for an executor that it takes for lost, or for inputs that cannot be fetched any more. Who fetched all of them
/// would count events twice.
fn newest(locations: Vec<PartitionLocation>) -> Vec<PartitionLocation> {
    let number = |location: &PartitionLocation| location.partition_id.as_ref().map(|id| id.partition_id);
    let by_number = locations.into_iter().map(|location| (number(&location), location));
    by_number.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// An error and what it comes from: tonic's own words for a refused connection are "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A job that is waited for.
struct Job {
    client: SchedulerGrpcClient<Channel>,
    id: String,
    over: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.over || self.id.is_empty() {
            return;
        }
        let (mut client, job_id) = (self.client.clone(), std::mem::take(&mut self.id));
        tokio::spawn(async move {
            if let Err(error) = client.cancel_job(CancelJobParams { job_id: job_id.clone() }).await {
                tracing::warn!(job = job_id, %error, "the job could not be cancelled");
            }
        });
    }
}

/// One partition of a result, fetched from the executor that has it.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Where it is.
    pub location: PartitionLocation,
    /// Its columns.
    pub schema: SchemaRef,
}

impl PartitionStream for Fetched {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = stream::once(fetch(self.location.clone())).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

async fn fetch(location: PartitionLocation) -> Result<SendableRecordBatchStream, DataFusionError> {
    let layout = location.layout();
    let missing = |what: &str| DataFusionError::Execution(format!("the scheduler does not say {what} of a result"));
    let executor = location.executor_meta.ok_or_else(|| missing("the executor"))?;
    let partition = location.partition_id.ok_or_else(|| missing("the partition"))?.into();
    let port = u16::try_from(executor.port).map_err(|_| missing("the port"))?;
    let from = |error: ballista_core::error::BallistaError| {
        DataFusionError::Execution(format!(
            "fetching from executor {} at {}:{port}: {error}",
            executor.id, executor.host
        ))
    };
    let mut client = BallistaClient::try_new(
        &executor.host,
        port,
        MESSAGE_BYTES as usize,
        false,
        None,
        TRIES,
        BETWEEN_TRIES_MS,
        0,
        0,
    )
    .await
    .map_err(from)?;
    client.fetch_partition(&executor.id, &partition, location.file_id, layout, true).await.map_err(from)
}

#[cfg(test)]
mod tests {
    use ballista_core::serde::protobuf::{ExecutorMetadata, PartitionId};

    use super::*;

    #[test]
    fn of_a_partition_that_was_made_again_only_the_newest_is_fetched() {
        let location = |partition_id: u32, executor: &str| PartitionLocation {
            partition_id: Some(PartitionId { job_id: "job".into(), stage_id: 2, partition_id }),
            executor_meta: Some(ExecutorMetadata { id: executor.into(), ..ExecutorMetadata::default() }),
            ..PartitionLocation::default()
        };
        // A task of the last stage ended on `a`; then its stage began again, because an executor was lost or taken for lost.
        let told = vec![location(1, "a"), location(0, "b"), location(1, "b"), location(2, "a")];
        let mut kept: Vec<(u32, String)> = newest(told)
            .into_iter()
            .filter_map(|kept| Some((kept.partition_id?.partition_id, kept.executor_meta?.id)))
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, [(0, "b".to_owned()), (1, "b".to_owned()), (2, "a".to_owned())]);
    }
}
