//! Which staged rows are new: one query over them and over what Silver has.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalake::DeltaTable;

use super::stage::Staged;
use super::{DATE, EVENT_TIME, OFFSET, PARTITION, Silver};
use crate::error::LakeError;
use crate::source;

/// The staged rows that are new, in Silver's columns.
pub(super) async fn new_rows(
    config: &Silver,
    table: &DeltaTable,
    staged: &Staged,
    session: &SessionContext,
) -> Result<SendableRecordBatchStream, LakeError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let uri = &config.silver;
    let failed = LakeError::query(uri, "looking for duplicates");
    // The session's catalog is shared by all that goes on in it.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (rows, known) = (format!("staged_{number}"), format!("known_{number}"));
    let path = staged.path().display().to_string();
    session.register_parquet(rows.as_str(), path, ParquetReadOptions::default()).await.map_err(&failed)?;
    let provider = source::provider(table, uri, session).await?;
    session.register_table(known.as_str(), provider).map_err(&failed)?;
    let frame = session.sql(&query(config, &rows, &known)).await;
    let stream = match frame {
        Ok(frame) => frame.execute_stream().await,
        Err(error) => Err(error),
    };
    // A planned query holds its tables itself.
    drop(session.deregister_table(rows.as_str()));
    drop(session.deregister_table(known.as_str()));
    stream.map_err(failed)
}

/// Of rows equal in all keys the first by (event time, partition, offset), unless Silver has one: of the days that the
/// new rows may be duplicates of.
fn query(config: &Silver, rows: &str, known: &str) -> String {
    let fields = engine::event::schema(&config.plan.source);
    let ours = [PARTITION, OFFSET, EVENT_TIME, super::RECORD_TIME, DATE];
    let names = || ours.into_iter().chain(fields.fields().iter().map(|field| field.name().as_str()));
    let listed = |of: &str| names().map(|name| format!("{of}{}", quoted(name))).collect::<Vec<_>>().join(", ");
    if config.dedup.is_empty() {
        return format!("SELECT {} FROM {rows}", listed(""));
    }
    let keys: Vec<String> = config.dedup.iter().map(|key| quoted(key)).collect();
    let (event_time, partition, offset) = (quoted(EVENT_TIME), quoted(PARTITION), quoted(OFFSET));
    // A NULL equals nothing.
    let unknown = keys.iter().map(|key| format!("s.{key} IS NULL")).collect::<Vec<_>>().join(" OR ");
    let equal = keys.iter().map(|key| format!("s.{key} = k.{key}")).collect::<Vec<_>>().join(" AND ");
    let mut sql = format!(
        "SELECT {} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {event_time}, {partition}, {offset}) AS \"_rank\" FROM {rows}) s \
         LEFT ANTI JOIN (SELECT {} FROM {known}",
        listed("s."),
        keys.join(", "),
        keys.join(", "),
    );
    if let Some(retention) = config.plan.time.retention_ms {
        // By the day, which whole files are skipped by; a day more, for its beginning.
        let days = retention / 86_400_000 + 1;
        // Writing to a string cannot fail.
        let _ = write!(
            sql,
            " WHERE {} >= (SELECT MIN({}) FROM {rows}) - INTERVAL '{days} days'",
            quoted(DATE),
            quoted(DATE)
        );
    }
    let _ = write!(sql, ") k ON {equal} WHERE s.\"_rank\" = 1 OR {unknown}");
    sql
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
