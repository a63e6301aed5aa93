//! Events, and tables of them.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;
use lake::{Identity, Owner, Storage, TableSpec};
use serde_json::Map;

use crate::fixtures::{DAY, HOUR, MINUTE};

/// A time in November 2023 from which all tests count.
pub const START: i64 = 1_700_000_000_000 / DAY * DAY;

/// A row of the source table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub user: Option<String>,
    pub at: Option<i64>,
    pub kind: Option<String>,
    pub amount: Option<i64>,
}

/// The same numbers in every run: each call the next of a sequence.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % sides).unwrap()
    }
}

/// Events of `users` users in `[from, to)`; many on the edges of tiles, some NULL where they may be.
pub fn events(dice: &mut Dice, users: u64, count: usize, from: i64, to: i64) -> Vec<Event> {
    let span = u64::try_from(to - from).unwrap();
    let one = |_| {
        let at = from + dice.roll(span);
        let at = match dice.roll(6) {
            0 => at / HOUR * HOUR,
            1 => at / MINUTE * MINUTE - 1,
            2 => at / MINUTE * MINUTE,
            _ => at,
        };
        Event {
            user: Some(format!("u{}", dice.roll(users))),
            at: Some(at.clamp(from, to - 1)),
            kind: ["view", "cart", "buy"].get(usize::try_from(dice.roll(4)).unwrap()).map(|kind| (*kind).to_owned()),
            amount: (dice.roll(5) > 0).then(|| dice.roll(100)),
        }
    };
    (0..count).map(one).collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("unread", DataType::Utf8, true),
        Field::new("at", DataType::Int64, true),
        Field::new("user", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

pub fn batch(events: &[Event]) -> RecordBatch {
    let text = |of: fn(&Event) -> Option<&str>| Arc::new(events.iter().map(of).collect::<StringArray>());
    let number = |of: fn(&Event) -> Option<i64>| Arc::new(events.iter().map(of).collect::<Int64Array>());
    let columns: Vec<arrow::array::ArrayRef> = vec![
        text(|_| Some("never")),
        number(|e| e.at),
        text(|e| e.user.as_deref()),
        text(|e| e.kind.as_deref()),
        number(|e| e.amount),
        text(|_| None),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// The source table at `uri`, made if need be.
pub async fn table(uri: &str) -> DeltaTable {
    table_by(uri, &[]).await
}

/// The same, with its files in folders by the values of some columns.
pub async fn table_by(uri: &str, columns: &[&str]) -> DeltaTable {
    let spec = TableSpec {
        schema: schema(),
        partition_by: columns.iter().map(|column| (*column).to_owned()).collect(),
        identity: Identity { uid: "shop".into(), owner: Owner::Topic("clicks".into()) },
        properties: Vec::new(),
        evolves: false,
    };
    lake::ensure(uri, &Storage::local(), &spec).await.unwrap()
}

/// Appends events in one commit.
pub async fn append(uri: &str, events: &[Event]) {
    let mut table = table(uri).await;
    lake::append(&mut table, uri, &[batch(events)], None, Map::new()).await.unwrap();
}

/// Makes these events all that the table holds.
pub async fn replace(uri: &str, events: &[Event]) {
    table(uri).await.write([batch(events)]).with_save_mode(SaveMode::Overwrite).await.unwrap();
}
