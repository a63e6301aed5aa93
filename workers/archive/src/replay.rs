//! Bronze as the archive that a replay begins in: what the topic no longer holds, in the order of its offsets.
//!
//! How records become rows is [`stream::replay`]'s, and the same as for records of the topic. Here is only what the table
//! holds: from which offset on, up to which, and whether that reaches back far enough.
//!
//! Invariants: all records of the partition in `[from, until)` are given, or it is refused. Those who were erased are not in the
//! table, or are left out by the tombstones that every writer of rows knows. Records are put into order a slice of offsets at a
//! time: however long a history is, the first of it are folded soon, and what is spilled stays small.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BinaryArray, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use engine::replay::Part;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, iter};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use lake::bronze::{self, OFFSET, PARTITION, TIMESTAMP, VALUE};
use lake::files::conform;
use lake::session::{SessionOptions, session};
use lake::{LakeError, Storage, source};
use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;
use stream::replay::archive::{Held, NotHeld, Records, Wanted};
use stream::replay::{Refusal, ReplayError, run_archive};
use tokio_util::sync::CancellationToken;

use crate::args::HistoryArgs;

/// So many offsets are put into order at once, at least.
const SLICE: i64 = 1 << 20;
/// Slices at most: files whose statistics do not tell partitions apart are looked at once for each.
const SLICES: i64 = 64;

/// Reads what the topic no longer holds, until it can be read on.
///
/// # Errors
/// [`ReplayError`] if that is not so.
pub async fn replay(args: HistoryArgs, shutdown: CancellationToken) -> Result<(), ReplayError> {
    let failed = |error: LakeError| {
        if error.is_transient() {
            ReplayError::Again(error.to_string())
        } else {
            ReplayError::Refused(unreadable(&error))
        }
    };
    let storage = Storage::from_dir(args.store_config_dir.as_deref()).map_err(failed)?;
    let options = SessionOptions {
        memory_bytes: usize::try_from(u64::from(args.sort_memory_mib) << 20).unwrap_or(usize::MAX),
        spill_dir: args.spill_dir.clone(),
        // What is sorted by several is merged by one; rows are folded by one thread anyway.
        threads: 1,
        ..SessionOptions::default()
    };
    let archive = Arc::new(Bronze { storage, session: session(&options).map_err(failed)?, slice: SLICE });
    run_archive(args.replay, archive, shutdown).await
}

fn unreadable(error: &LakeError) -> Refusal {
    Refusal::Archive { reason: "ArchiveUnreadable", message: error.to_string() }
}

/// The tables.
struct Bronze {
    storage: Storage,
    session: SessionContext,
    /// How many offsets are put into order at once, at least.
    slice: i64,
}

impl Records for Bronze {
    fn open<'a>(&'a self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Held, NotHeld>> {
        self.held(wanted).boxed()
    }
}

/// An offset, and the time of its record in milliseconds.
type At = (i64, i64);

impl Bronze {
    async fn held(&self, wanted: Wanted<'_>) -> Result<Held, NotHeld> {
        let Wanted { topic, part: Part { partition, to, .. }, archive, position, least } = wanted;
        let uri = archive.table.as_str();
        let not_yet = |reason, message: String| NotHeld::NotYet(reason, message);
        let failed = |error: LakeError| match error {
            LakeError::Missing { .. } => not_yet("ArchiveMissing", format!("{error}; see whether its worker runs")),
            error if error.is_transient() => not_yet("ArchiveUnreachable", error.to_string()),
            error => NotHeld::Refused(unreadable(&error)),
        };
        let table = lake::open(uri, &self.storage, None).await.map_err(failed)?;
        let state = bronze::state(&table, uri).await.map_err(failed)?.unwrap_or_default();
        let until = state.progress.get(&partition).map_or(0, |progress| progress.offset).min(to);
        if until < least {
            return Err(not_yet(
                "ArchiveBehind",
                format!(
                    "{uri} has read partition {partition} of {topic} up to offset {until}, and the topic begins at {least}"
                ),
            ));
        }
        let left = self.first(&table, uri, partition, None).await.map_err(failed)?;
        // Of those that were erased, replays know nothing to miss.
        let erased = lake::erase::begins(&table, uri).map_err(failed)?.remove(&partition);
        let first = left.into_iter().chain(erased).min();
        let too_short = |held: String| {
            let needs = match archive.since_ms {
                Some(since) => format!("records from {} on", time(since)),
                None => "all records there ever were".to_owned(),
            };
            NotHeld::Refused(Refusal::Archive {
                reason: "RetentionTooShort",
                message: format!(
                    "partition {partition} of {topic} begins at offset {least} by now, and its archive {uri} {held}; the \
                     longest window needs {needs}. Take what there is with spec.rollout.startFrom: {{policy: Earliest}}, or \
                     shorten the window"
                ),
            })
        };
        // Where a record of before that time is left, all after it are; and nothing is before offset 0.
        let reaches = |(offset, at): At| offset == 0 || archive.since_ms.is_some_and(|since| at < since);
        match first {
            None => return Err(too_short("holds no record of it".to_owned())),
            Some(at) if !reaches(at) => {
                return Err(too_short(format!("at offset {}, with a record of {}", at.0, time(at.1))));
            }
            Some(_) => {}
        }
        let counts = self.first(&table, uri, partition, archive.since_ms).await.map_err(failed)?;
        let from = counts.map_or(until, |(offset, _)| offset).max(position.unwrap_or(0)).min(until);
        let is_lost = |gap: &&bronze::Gap| gap.partition == partition && gap.from < until && from < gap.to;
        if let Some(gap) = state.gaps.iter().find(is_lost) {
            return Err(too_short(format!(
                "lacks [{}, {}), which the topic lost before it was archived",
                gap.from, gap.to
            )));
        }
        Ok(Held { from, until, records: self.records(&table, wanted, (from, until)) })
    }

    /// The first record of a partition, of that time or later.
    async fn first(
        &self,
        table: &DeltaTable,
        uri: &str,
        partition: i32,
        since: Option<i64>,
    ) -> Result<Option<At>, LakeError> {
        let failed = || LakeError::query(uri, "looking for its first record");
        let of_partition = ident(PARTITION).eq(lit(partition));
        let filter = match since {
            None => of_partition,
            Some(since) => {
                let since = ScalarValue::TimestampMicrosecond(Some(since.saturating_mul(1_000)), Some("UTC".into()));
                of_partition.and(ident(TIMESTAMP).gt_eq(Expr::Literal(since, None)))
            }
        };
        let frame = frame(table, uri, &self.session, filter).await?;
        let frame = frame.select(vec![ident(OFFSET), ident(TIMESTAMP)]).map_err(failed())?;
        let frame = frame.sort(vec![ident(OFFSET).sort(true, false)]).map_err(failed())?;
        let batches = frame.limit(0, Some(1)).map_err(failed())?.collect().await.map_err(failed())?;
        let Some(batch) = batches.into_iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        let batch = conform(&batch, &columns(&[OFFSET, TIMESTAMP]), uri)?;
        let (offsets, times) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1));
        Ok(Some((offsets.value(0), times.as_primitive::<TimestampMicrosecondType>().value(0).div_euclid(1_000))))
    }

    /// The records of a partition in the order of their offsets, slice by slice.
    fn records(&self, table: &DeltaTable, wanted: Wanted<'_>, range: (i64, i64)) -> Batches {
        let slice = Arc::new(Slice {
            table: table.clone(),
            session: self.session.clone(),
            uri: wanted.archive.table.clone(),
            topic: wanted.topic.to_owned(),
            partition: wanted.part.partition,
        });
        let read = move |range| {
            let slice = Arc::clone(&slice);
            async move { slice.read(range).await.map_err(|error| error.to_string()) }
        };
        iter(slices(range, self.slice)).then(read).try_flatten().boxed()
    }
}

type Batches = BoxStream<'static, Result<Vec<OwnedMessage>, String>>;

/// Bounds of slices of `[from, until)`, each of `least` offsets or more but for the last.
fn slices((from, until): (i64, i64), least: i64) -> impl Iterator<Item = (i64, i64)> {
    let step = least.max((until - from) / SLICES + 1);
    std::iter::successors(Some(from), move |at| at.checked_add(step))
        .take_while(move |at| *at < until)
        .map(move |at| (at, at.saturating_add(step).min(until)))
}

async fn frame(table: &DeltaTable, uri: &str, session: &SessionContext, filter: Expr) -> Result<DataFrame, LakeError> {
    let frame = source::frame(table, uri, session).await?;
    frame.filter(filter).map_err(LakeError::query(uri, "reading records"))
}

/// What slices of a partition are read from.
struct Slice {
    table: DeltaTable,
    session: SessionContext,
    uri: String,
    topic: String,
    partition: i32,
}

impl Slice {
    async fn read(&self, (from, until): (i64, i64)) -> Result<Batches, LakeError> {
        let Self { table, session, uri, topic, partition } = self;
        let failed = || LakeError::query(uri, "reading records");
        let range = ident(OFFSET).gt_eq(lit(from)).and(ident(OFFSET).lt(lit(until)));
        let frame = frame(table, uri, session, ident(PARTITION).eq(lit(*partition)).and(range)).await?;
        let names = [OFFSET, TIMESTAMP, bronze::KEY, VALUE];
        let frame = frame.select(names.map(ident).to_vec()).map_err(failed())?;
        let frame = frame.sort(vec![ident(OFFSET).sort(true, false)]).map_err(failed())?;
        let batches = frame.execute_stream().await.map_err(failed())?;
        let (columns, uri, topic, partition) = (columns(&names), uri.clone(), topic.clone(), *partition);
        let records = batches.map(move |batch| {
            let batch = batch.map_err(|error| format!("{uri}: reading records: {error}"))?;
            let batch = conform(&batch, &columns, &uri).map_err(|error| error.to_string())?;
            Ok(messages(&batch, &topic, partition))
        });
        Ok(records.boxed())
    }
}

/// Some of Bronze's columns, in types that are read here.
fn columns(names: &[&str]) -> SchemaRef {
    let schema = bronze::schema();
    let fields = schema.fields().iter().filter(|field| names.contains(&field.name().as_str())).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The records of a batch of offset, time, key and value.
fn messages(batch: &RecordBatch, topic: &str, partition: i32) -> Vec<OwnedMessage> {
    let offsets = batch.column(0).as_primitive::<Int64Type>();
    let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
    let (keys, values) = (batch.column(2).as_binary::<i32>(), batch.column(3).as_binary::<i32>());
    let bytes = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
    let message = |row| {
        let time = Timestamp::CreateTime(times.value(row).div_euclid(1_000));
        OwnedMessage::new(
            bytes(values, row),
            bytes(keys, row),
            topic.to_owned(),
            time,
            partition,
            offsets.value(row),
            None,
        )
    };
    (0..batch.num_rows()).map(message).collect()
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, Date32Array, Int32Array, Int64Array, TimestampMicrosecondArray, new_null_array};
    use engine::plan::{
        Column, Mode, Plan, SEMANTICS, Source, TimePolicy, TimestampField, TimestampUnit, ViewIdentity,
    };
    use engine::replay::Archive;
    use engine::value::ValueType;
    use lake::bronze::{Bronze as Table, Chunk, Progress};
    use lake::{Identity, Owner};
    use rdkafka::message::Message as _;

    use super::*;

    const TOPIC: &str = "events";
    /// A kibibyte each, of either partition: far more than the session may hold and spill.
    const RECORDS: i64 = 40_000;

    fn records(partition: i32, from: i64, to: i64) -> RecordBatch {
        records_of(partition, from, to, |offset| format!("{offset:01024}"))
    }

    fn records_of(partition: i32, from: i64, to: i64, payload: impl Fn(i64) -> String) -> RecordBatch {
        let rows = usize::try_from(to - from).unwrap();
        let times = || TimestampMicrosecondArray::from_iter_values((from..to).map(|o| o * 1_000)).with_timezone("UTC");
        let schema = bronze::schema();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![partition; rows])),
            Arc::new(Int64Array::from_iter_values(from..to)),
            Arc::new(times()),
            Arc::new(times()),
            new_null_array(schema.field(4).data_type(), rows),
            Arc::new(BinaryArray::from_iter_values((from..to).map(payload))),
            new_null_array(schema.field(6).data_type(), rows),
            Arc::new(Date32Array::from(vec![0; rows])),
        ];
        RecordBatch::try_new(schema, columns).unwrap()
    }

    async fn archived(uri: &str, storage: &Storage) {
        let identity = Identity { uid: "u".into(), owner: Owner::Topic(TOPIC.into()) };
        let mut table = Table::open(uri, storage, identity, None).await.unwrap();
        let mut after = None;
        for to in [RECORDS / 3, RECORDS] {
            let mut chunk = Chunk { partitions: 2, ..Chunk::default() };
            for partition in 0..2 {
                chunk.batches.push(records(partition, after.unwrap_or(0), to));
                let progress = Progress { offset: to, event_time: Some(to), end_offset: to, read_to_end_at: 0 };
                chunk.progress.insert(partition, (after, progress));
            }
            table.append(&chunk).await.unwrap();
            after = Some(to);
        }
    }

    /// Reads partition 1 from offset 5 on, so many offsets at a time.
    async fn read(uri: &str, storage: &Storage, folder: &std::path::Path, slice: i64) -> Result<Vec<i64>, String> {
        let spill_dir = Some(folder.join("spill"));
        let options = SessionOptions { memory_bytes: 24 << 20, spill_dir, spill_bytes: 1 << 20, threads: 1 };
        let bronze = Bronze { storage: storage.clone(), session: session(&options).unwrap(), slice };
        let archive = Archive { table: uri.to_owned(), since_ms: None, partitions: vec![1] };
        let part = Part { partition: 1, from: RECORDS, to: RECORDS };
        let wanted = Wanted { topic: TOPIC, part, archive: &archive, position: Some(5), least: RECORDS };
        let Held { from, until, records } = bronze.open(wanted).await.map_err(|why| format!("{why:?}"))?;
        assert_eq!((from, until), (5, RECORDS));
        let batches: Vec<Vec<OwnedMessage>> = records.try_collect().await?;
        Ok(batches.into_iter().flatten().map(|record| record.offset()).collect())
    }

    /// All of a history was put into order before the first record of it was folded. What that spilled was bounded by the
    /// pod's volume, so that a longer history could never be replayed; and since nothing of the candidate advanced for as
    /// long as it was sorted, `progressDeadlineSeconds` gave it up.
    #[tokio::test]
    async fn a_history_that_is_longer_than_what_may_be_spilled_is_read_in_order() {
        lake::install_crypto();
        let (folder, storage) = (tempfile::tempdir().unwrap(), Storage::local());
        let uri = folder.path().join("bronze").display().to_string();
        archived(&uri, &storage).await;
        let all_at_once = read(&uri, &storage, folder.path(), i64::MAX / 2).await;
        assert!(all_at_once.is_err(), "the bounds of this test bound nothing");
        let found = read(&uri, &storage, folder.path(), 2_000).await.unwrap();
        assert!(found.iter().copied().eq(5..RECORDS), "{} of {RECORDS} records", found.len());
    }

    /// Who is named by the first record of a partition may be erased. The archive then seemed to begin later, and no replay that
    /// needs all of the history was let begin any more.
    #[tokio::test]
    async fn a_history_of_which_the_first_records_were_erased_reaches_back_as_far() {
        lake::install_crypto();
        let (folder, storage) = (tempfile::tempdir().unwrap(), Storage::local());
        let lake = folder.path().display().to_string();
        let uri = format!("{lake}/bronze/{TOPIC}");
        let identity = Identity { uid: "u".into(), owner: Owner::Topic(TOPIC.into()) };
        let mut table = Table::open(&uri, &storage, identity, None).await.unwrap();
        let user = |offset| if offset == 0 { r#"{"user": "ada"}"# } else { r#"{"user": "bob"}"# };
        let progress = Progress { offset: 3, event_time: Some(3), end_offset: 3, read_to_end_at: 0 };
        let chunk = Chunk {
            batches: vec![records_of(0, 0, 3, |offset| user(offset).to_owned())],
            progress: [(0, (None, progress))].into(),
            partitions: 1,
            gaps: Vec::new(),
        };
        table.append(&chunk).await.unwrap();

        let session = session(&SessionOptions::default()).unwrap();
        let bronze = Bronze { storage: storage.clone(), session: session.clone(), slice: 10 };
        let archive = Archive { table: uri.clone(), since_ms: None, partitions: vec![0] };
        let part = Part { partition: 0, from: 3, to: 3 };
        let covers = engine::erase::Covers { offsets: [(0, 3)].into(), before_ms: 0 };
        for (who, left) in [("ada", vec![1, 2]), ("bob", vec![])] {
            let erasure = lake::erase::Erasure {
                plan: Arc::new(keyed_by_user()),
                entity: vec![who.into()],
                lake: lake.clone(),
                bronze: Some(uri.clone()),
                silver: None,
                gold: None,
                covers: covers.clone(),
            };
            lake::erase::erase(&erasure, &storage, &session).await.unwrap();
            let wanted = Wanted { topic: TOPIC, part, archive: &archive, position: None, least: 3 };
            let held = bronze.open(wanted).await.map_err(|why| format!("{why:?}")).unwrap();
            let found: Vec<Vec<OwnedMessage>> = held.records.try_collect().await.unwrap();
            let offsets: Vec<i64> = found.into_iter().flatten().map(|record| record.offset()).collect();
            assert_eq!((offsets, held.until), (left, 3), "{who} is erased");
        }
    }

    fn keyed_by_user() -> Plan {
        Plan {
            semantics: SEMANTICS,
            view: ViewIdentity { uid: "v".into(), namespace: "shop".into(), name: "clicks".into() },
            revision: "1".into(),
            mode: Mode::Kappa,
            source: Source {
                stream: None,
                table: None,
                timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
                columns: vec![Column { name: "user".into(), value_type: ValueType::String }],
            },
            entity: vec!["user".into()],
            time: TimePolicy { allowed_lateness_ms: 0, max_future_ms: 0, retention_ms: None, finest_tile_ms: 1_000 },
            conditions: Vec::new(),
            inputs: Vec::new(),
            aggregates: Vec::new(),
            features: Vec::new(),
        }
    }

    #[test]
    fn slices_are_adjacent_and_few() {
        let of = |range, least| slices(range, least).collect::<Vec<_>>();
        assert_eq!(of((5, 5), 10), []);
        assert_eq!(of((5, 20), 10), [(5, 15), (15, 20)]);
        let many = of((3, 1_000_003), 10);
        assert!(many.len() <= 64 && many.windows(2).all(|pair| pair[0].1 == pair[1].0), "{many:?}");
        assert_eq!((many[0].0, many[many.len() - 1].1), (3, 1_000_003));
    }
}
