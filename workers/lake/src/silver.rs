//! Silver: a view's events, decoded, checked and each once; what does not pass is kept in quarantine with its reason.
//!
//! A run takes from Bronze, at one version, the offsets that Silver does not have. The order of its writes makes it
//! resumable after a kill at any point:
//! 1. good rows are staged on local disk, which a crash leaves to be removed;
//! 2. rejects go to the quarantine, with its own transaction per partition;
//! 3. good rows go to Silver, with Silver's transaction per partition, which is what the next run starts at.
//!
//! A crash between 2 and 3 is followed by a run over the same offsets, or more, which skips the rejects that the quarantine
//! has by its transaction. Progress is by offset, not by file: compaction, erasure and restoration of Bronze neither
//! bring rows twice nor lose them.

mod decode;
mod dedup;
mod run;
mod stage;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use engine::event;
use engine::plan::Plan;

pub use run::{Report, run};

use crate::error::LakeError;
use crate::table::{Identity, Owner, TableSpec};

/// The event's time, in Silver and in the quarantine's rows none.
pub const EVENT_TIME: &str = "_event_time";
/// The record's time.
pub const RECORD_TIME: &str = "_record_time";
/// The record's partition.
pub const PARTITION: &str = "_partition";
/// The record's offset.
pub const OFFSET: &str = "_offset";
/// The day of the event time in Silver, of the record time in the quarantine; both tables are partitioned by it.
pub const DATE: &str = "_date";
/// The sort of fault: a decoder's reason, [`RULE_FAILED`] or [`EXPRESSION_FAILED`].
pub const REASON: &str = "reason";
/// For people: what was wrong.
pub const DETAIL: &str = "detail";
/// The reason of rows that a rule refused.
pub const RULE_FAILED: &str = "RuleFailed";
/// The reason of rows on which a rule could not be evaluated.
pub const EXPRESSION_FAILED: &str = "ExpressionFailed";

/// What makes Silver of a topic's Bronze.
#[derive(Clone, Debug)]
pub struct Silver {
    /// The view's plan: its columns, its event time and which events count.
    pub plan: Arc<Plan>,
    /// The columns that name one event; of rows equal in all of them the first by (event time, partition, offset) is kept,
    /// and one that Silver has already wins. A NULL in one of them equals nothing. Empty: nothing is a duplicate.
    pub dedup: Vec<String>,
    /// What must hold of every row. A rule that gives NULL holds, as a CHECK in SQL does.
    pub rules: Vec<Rule>,
    /// The Bronze table.
    pub bronze: String,
    /// The Silver table.
    pub silver: String,
    /// The view's tombstones, which need not be there; see [`crate::erase`].
    pub tombstones: String,
}

/// A named boolean expression over the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the quarantine calls it.
    pub name: String,
    /// SQL.
    pub sql: String,
}

/// Where the rejects of a Silver stand.
#[must_use]
pub fn quarantine(silver: &str) -> String {
    format!("{}.quarantine", silver.trim_end_matches('/'))
}

impl Silver {
    /// Where the rejects stand.
    #[must_use]
    pub fn quarantine(&self) -> String {
        quarantine(&self.silver)
    }

    /// Whose the tables are.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let view = &self.plan.view;
        let owner = Owner::View { namespace: view.namespace.clone(), name: view.name.clone() };
        Identity { uid: view.uid.clone(), owner }
    }

    /// What Silver must be.
    ///
    /// # Errors
    /// [`LakeError::Definition`] for a column with a name of ours, or a deduplication by what is no column.
    pub fn spec(&self) -> Result<TableSpec, LakeError> {
        let columns = event::schema(&self.plan.source);
        for name in [EVENT_TIME, RECORD_TIME, PARTITION, OFFSET, DATE] {
            if columns.field_with_name(name).is_ok() {
                let detail = "Silver keeps the record's coordinates under that name; name the column anew".to_owned();
                return Err(LakeError::Definition { what: format!("column {name}"), detail });
            }
        }
        if let Some(name) = self.dedup.iter().find(|name| columns.field_with_name(name).is_err()) {
            let detail = "it is no column of the source's schema; declare it there".to_owned();
            return Err(LakeError::Definition { what: format!("dedup column {name}"), detail });
        }
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new(PARTITION, DataType::Int32, false),
            Field::new(OFFSET, DataType::Int64, false),
            Field::new(EVENT_TIME, time(), false),
            Field::new(RECORD_TIME, time(), false),
            Field::new(DATE, DataType::Date32, false),
        ];
        fields.extend(columns.fields().iter().map(|field| field.as_ref().clone()));
        Ok(self.table(fields, true))
    }

    /// What the quarantine must be.
    #[must_use]
    pub fn quarantine_spec(&self) -> TableSpec {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![
            Field::new(PARTITION, DataType::Int32, false),
            Field::new(OFFSET, DataType::Int64, false),
            Field::new(RECORD_TIME, time, false),
            Field::new(DATE, DataType::Date32, false),
            Field::new(REASON, DataType::Utf8, false),
            Field::new(DETAIL, DataType::Utf8, false),
            Field::new("key", DataType::Binary, true),
            Field::new("value", DataType::Binary, true),
        ];
        self.table(fields, false)
    }

    fn table(&self, fields: Vec<Field>, evolves: bool) -> TableSpec {
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let properties = vec![("delta.checkpointInterval".to_owned(), "50".to_owned())];
        TableSpec { schema, partition_by: vec![DATE.to_owned()], identity: self.identity(), properties, evolves }
    }
}
