//! One run: from what Bronze has and Silver has not.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use engine::erase::{Origin, Tombstones};
use engine::event::Keys;
use futures::TryStreamExt as _;
use serde_json::{Map, Value};

use super::decode::Decode;
use super::stage::Stage;
use super::{Silver, dedup};
use crate::bronze::{self, State};
use crate::commit::{Txn, commit, last_txn};
use crate::completeness::{COMPLETE_UNTIL, completeness};
use crate::erase::tombstones;
use crate::error::LakeError;
use crate::files::{Writer, conform};
use crate::storage::Storage;
use crate::{source, table};

/// The key of a commit's info that says which Bronze version it was made from.
const BRONZE_VERSION: &str = "featuremill.bronzeVersion";
/// How much is decoded at a time.
const PIECE_BYTES: usize = 64 << 20;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The Bronze version that was read.
    pub bronze_version: u64,
    /// Silver's version afterwards.
    pub version: u64,
    /// Rows of Bronze that were looked at.
    pub read: u64,
    /// Rows that are new in Silver.
    pub added: u64,
    /// Rows that Silver had, or that came twice.
    pub duplicates: u64,
    /// Rows that are new in the quarantine.
    pub rejected: u64,
}

/// The offsets of one partition that are to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// Silver's transaction.
    silver: Option<i64>,
    /// The quarantine's.
    quarantine: Option<i64>,
    /// The first offset that Silver does not have.
    from: i64,
    /// Where Bronze ends.
    to: i64,
}

/// Brings Silver up to Bronze: its newest version, or `version_as_of`. Rows are staged in `spill`.
///
/// # Errors
/// [`LakeError::Superseded`] if another run was faster, [`LakeError::Definition`] if the view cannot be made into a table, or
/// what the stores say. Whatever it is, and wherever a run is killed: the next one goes on where Silver ends.
pub async fn run(
    config: &Silver,
    storage: &Storage,
    session: &SessionContext,
    spill: Option<&Path>,
    version_as_of: Option<u64>,
) -> Result<Report, LakeError> {
    let source = table::open(&config.bronze, storage, version_as_of).await?;
    bronze::check_event_time(&source, &config.bronze, Some(&config.plan.source.timestamp))?;
    let archived = bronze::state(&source, &config.bronze).await?.unwrap_or_default();
    let (spec, quarantine_spec) = (config.spec()?, config.quarantine_spec());
    let (uri, quarantine_uri) = (config.silver.as_str(), config.quarantine());
    let mut decode = Decode::new(&config.plan, &config.rules, spec.schema.clone(), quarantine_spec.schema.clone())?;
    let mut silver = table::ensure(uri, storage, &spec).await?;
    let mut quarantine = table::ensure(&quarantine_uri, storage, &quarantine_spec).await?;
    let ranges = ranges(config, &archived, &silver, &quarantine).await?;
    let mut report = Report {
        bronze_version: source.version().unwrap_or_default(),
        version: silver.version().unwrap_or_default(),
        ..Report::default()
    };
    // Silver is as complete as the Bronze that it was made from.
    let until = archived.complete_until();
    let mut info = Map::from_iter([(BRONZE_VERSION.to_owned(), Value::from(report.bronze_version))]);
    info.extend(until.map(|until| (COMPLETE_UNTIL.to_owned(), Value::from(until))));
    if ranges.values().all(|range| range.to == range.from) {
        if !ranges.is_empty() && until > completeness(&silver, uri).await? {
            // No record came, and that none came is news.
            let txns = txns(config, &ranges, |range| range.silver);
            report.version = commit(&mut silver, uri, Vec::new(), &txns, &info).await?;
        }
        return Ok(report);
    }

    let erased = tombstones(&config.tombstones, storage, session).await?;
    let mut stage = Stage::new(spill, spec.schema.clone())?;
    let mut rejects = Writer::new(&quarantine, &quarantine_uri)?;
    let mut rows = rows(config, &source, &ranges, session).await?;
    let readable = readable();
    while let Some(batch) = rows.try_next().await.map_err(LakeError::query(&config.bronze, "reading new records"))? {
        report.read += u64::try_from(batch.num_rows()).unwrap_or(0);
        for piece in pieces(&batch) {
            let piece = conform(&piece, &readable, &config.bronze)?;
            let decoded = decode.batch(&piece)?;
            stage.write(&left(config, &erased, decoded.good)?)?;
            let rejects_left = left_rejects(config, &erased, decoded.rejects)?;
            let fresh = unknown_rejects(&rejects_left, &ranges)?;
            report.rejected += u64::try_from(fresh.num_rows()).unwrap_or(0);
            rejects.write(&fresh).await?;
        }
    }
    let staged = stage.finish()?;

    let adds = rejects.finish().await?;
    let txns = txns(config, &ranges, |range| range.quarantine);
    commit(&mut quarantine, &quarantine_uri, adds, &txns, &info).await?;

    let mut writer = Writer::new(&silver, uri)?;
    let mut fresh = dedup::new_rows(config, &silver, &staged, session).await?;
    while let Some(batch) = fresh.try_next().await.map_err(LakeError::query(uri, "looking for duplicates"))? {
        report.added += u64::try_from(batch.num_rows()).unwrap_or(0);
        writer.write(&batch).await?;
    }
    report.duplicates = staged.rows - report.added;
    let adds = writer.finish().await?;
    let txns = self::txns(config, &ranges, |range| range.silver);
    report.version = commit(&mut silver, uri, adds, &txns, &info).await?;
    Ok(report)
}

/// Which offsets are to be done, by partition; of some partitions none.
async fn ranges(
    config: &Silver,
    state: &State,
    silver: &DeltaTable,
    quarantine: &DeltaTable,
) -> Result<BTreeMap<i32, Range>, LakeError> {
    let (uid, quarantine_uri) = (&config.plan.view.uid, config.quarantine());
    let mut ranges = BTreeMap::new();
    for (partition, progress) in &state.progress {
        let app_id = bronze::app_id(uid, *partition);
        let done = last_txn(silver, &config.silver, &app_id).await?;
        let (from, to) = (done.unwrap_or(0), progress.offset);
        // A Bronze that was restored may end before Silver does; it will come by again.
        if to >= from {
            let rejected = last_txn(quarantine, &quarantine_uri, &app_id).await?;
            ranges.insert(*partition, Range { silver: done, quarantine: rejected, from, to });
        }
    }
    Ok(ranges)
}

/// The transactions that say that these ranges are done, empty ones too: what is said of them must not survive a
/// restoration meanwhile. One that stands further already stays there.
fn txns(config: &Silver, ranges: &BTreeMap<i32, Range>, of: impl Fn(&Range) -> Option<i64>) -> Vec<Txn> {
    let uid = &config.plan.view.uid;
    let steps = ranges.iter().map(|(partition, range)| (bronze::app_id(uid, *partition), of(range), range.to));
    let steps = steps.filter(|(_, after, to)| after.is_none_or(|after| after <= *to));
    steps.map(|(app_id, after, version)| Txn { app_id, after, version }).collect()
}

/// The columns of Bronze that are read, in one type each.
fn readable() -> SchemaRef {
    let schema = bronze::schema();
    let names = [bronze::PARTITION, bronze::OFFSET, bronze::TIMESTAMP, bronze::KEY, bronze::VALUE];
    let fields = names.iter().filter_map(|name| schema.field_with_name(name).ok().cloned());
    SchemaRef::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn rows(
    config: &Silver,
    source: &DeltaTable,
    ranges: &BTreeMap<i32, Range>,
    session: &SessionContext,
) -> Result<SendableRecordBatchStream, LakeError> {
    let failed = LakeError::query(&config.bronze, "looking for new records");
    let wanted = ranges.iter().filter(|(_, range)| range.to > range.from).map(|(partition, range)| {
        let (partition_column, offset) = (ident(bronze::PARTITION), ident(bronze::OFFSET));
        partition_column.eq(lit(*partition)).and(offset.clone().gt_eq(lit(range.from))).and(offset.lt(lit(range.to)))
    });
    let wanted = wanted.reduce(Expr::or).unwrap_or_else(|| lit(false));
    let columns: Vec<Expr> = readable().fields().iter().map(|field| ident(field.name())).collect();
    let frame = source::frame(source, &config.bronze, session).await?;
    let frame = frame.filter(wanted).and_then(|frame| frame.select(columns)).map_err(&failed)?;
    frame.execute_stream().await.map_err(failed)
}

/// The good rows that no erasure covers: a Bronze that was restored may hold them again.
fn left(config: &Silver, erased: &Tombstones, good: RecordBatch) -> Result<RecordBatch, LakeError> {
    if erased.is_empty() || good.num_rows() == 0 {
        return Ok(good);
    }
    let keys: Vec<_> = config.plan.entity.iter().filter_map(|key| good.column_by_name(key).cloned()).collect();
    // The first two are the coordinates; see [`Silver::spec`].
    let (partitions, offsets) =
        (good.column(0).as_primitive::<Int32Type>(), good.column(1).as_primitive::<Int64Type>());
    let origin = |row| Origin::Record { partition: partitions.value(row), offset: offsets.value(row) };
    filter_record_batch(&good, &erased.left(&keys, origin)).map_err(|error| LakeError::Schema {
        uri: config.silver.clone(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })
}

/// The rejects that no erasure covers, by whom their payloads name.
fn left_rejects(config: &Silver, erased: &Tombstones, rejects: RecordBatch) -> Result<RecordBatch, LakeError> {
    let payloads = rejects.column_by_name("value").and_then(|column| column.as_binary_opt::<i32>().cloned());
    let Some(payloads) = payloads.filter(|_| !erased.is_empty()) else { return Ok(rejects) };
    let mut keys = Keys::new(&config.plan);
    let partitions = rejects.column(0).as_primitive::<Int32Type>();
    let offsets = rejects.column(1).as_primitive::<Int64Type>();
    let mut is_left = |row: usize| {
        let entity = payloads.is_valid(row).then(|| keys.entity(payloads.value(row))).flatten();
        let origin = Origin::Record { partition: partitions.value(row), offset: offsets.value(row) };
        Some(entity.is_none_or(|entity| !erased.covers(&entity, origin)))
    };
    let left: BooleanArray = (0..rejects.num_rows()).map(&mut is_left).collect();
    filter_record_batch(&rejects, &left).map_err(|error| LakeError::Schema {
        uri: config.quarantine(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })
}

/// The batch in pieces whose payloads stay far below the 2 GiB of a column's offsets.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let size = batch.get_array_memory_size().max(1);
    let rows = (batch.num_rows().saturating_mul(PIECE_BYTES) / size).clamp(1, batch.num_rows().max(1));
    (0..batch.num_rows()).step_by(rows).map(move |from| batch.slice(from, rows.min(batch.num_rows() - from)))
}

/// The rejects that the quarantine does not have.
fn unknown_rejects(rejects: &RecordBatch, ranges: &BTreeMap<i32, Range>) -> Result<RecordBatch, LakeError> {
    let partitions = rejects.column(0).as_primitive::<Int32Type>();
    let offsets = rejects.column(1).as_primitive::<Int64Type>();
    let known = |row: usize| {
        let range = ranges.get(&partitions.value(row));
        range.and_then(|range| range.quarantine).is_some_and(|done| offsets.value(row) < done)
    };
    let keep: BooleanArray = (0..rejects.num_rows()).map(|row| Some(!known(row))).collect();
    filter_record_batch(rejects, &keep).map_err(|error| LakeError::Schema {
        uri: "quarantine".to_owned(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })
}
