//! Views of numbers alone, whose lanes are tallied from their events: the other views of these tests have lists and times, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, LargeBinaryArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use batch::fold::{Lanes, Mould};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator as _};
use engine::definition::ViewDefinition;
use engine::lane::Layout;
use engine::tally::Tally;
use engine::value::Value;
use lake::Storage;
use lake::session::{SessionOptions, session};

use crate::fixtures::{DAY, definition, resolve};
use crate::oracle;
use crate::runs::spills_and_gives_the_same_bytes;
use crate::source::{Dice, START, append, events};
use crate::world::{Served, World};

/// The features that are none.
const NO_NUMBERS: [&str; 2] = ["last_kinds", "newest_7d"];

/// Leaves out what is no number.
pub fn of_numbers(definition: &mut ViewDefinition) {
    definition.features.retain(|feature| !NO_NUMBERS.contains(&feature.name.as_str()));
}

/// What the view's features must be.
fn expected(events: &[crate::source::Event]) -> Served {
    let mut served = oracle::values(events, oracle::horizon(events));
    for values in served.values_mut() {
        values.retain(|name, _| !NO_NUMBERS.contains(&name.as_str()));
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tallied_is_served_and_stands_in_the_feature_table() {
    let world = World::with(of_numbers).await;
    let layout = Arc::new(Layout::new(world.plan()).unwrap());
    assert!(Tally::new(layout, START + 9 * DAY, 1).is_some(), "the view is one of numbers");
    // More of them than are made columns of at a time.
    let all = events(&mut Dice(81), 3_000, 30_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let expected = expected(&all);
    assert_eq!(world.served().await, expected);

    let uri = world.config.feature_table.clone();
    let table = lake::open(&uri, &Storage::local(), None).await.unwrap();
    let session = session(&SessionOptions::default()).unwrap();
    session.register_table("gold", lake::source::provider(&table, &uri, &session).await.unwrap()).unwrap();
    let names = ["events", "events_1h", "buys_1d", "spend_1d"];
    let sql = format!("SELECT \"user\", mean_7d, buy_share, {} FROM gold", names.join(", "));
    let mut stands = BTreeMap::new();
    for batch in session.sql(&sql).await.unwrap().collect().await.unwrap() {
        let users = cast(batch.column(0), &DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let integer = |i: usize| {
                let column = batch.column(i).as_primitive::<Int64Type>();
                column.is_valid(row).then(|| Value::Int64(column.value(row)))
            };
            let double = |i: usize| {
                let column = batch.column(i).as_primitive::<Float64Type>();
                column.is_valid(row).then(|| Value::Double(column.value(row)))
            };
            let doubles = [("mean_7d", double(1)), ("buy_share", double(2))];
            let values = names.iter().enumerate().map(|(i, name)| (*name, integer(3 + i))).chain(doubles);
            let values: BTreeMap<String, _> = values.map(|(name, value)| (name.to_owned(), value)).collect();
            stands.insert(users.as_string::<i32>().value(row).to_owned(), values);
        }
    }
    assert_eq!(stands, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tallied_spills_and_gives_the_same_bytes() {
    let all = events(&mut Dice(82), 12_000, 240_000, START, START + 9 * DAY);
    spills_and_gives_the_same_bytes(World::with(of_numbers).await, &all).await;
}

/// A part of the entities that all have gone has no events, and no columns of them.
#[test]
fn entities_that_are_all_gone_have_no_lane() {
    let mut definition = definition("u", "/t");
    of_numbers(&mut definition);
    let plan = Arc::new(resolve(&definition));
    let layout = Arc::new(Layout::new(&plan).unwrap());
    let mut lanes = Lanes::new(Mould::new(plan, layout, 19_000 * DAY, 2));
    let gone: ArrayRef = Arc::new(LargeBinaryArray::from_opt_vec(vec![None]));
    lanes.merge_batch(&[gone], &[0], 1).unwrap();
    let lane = lanes.evaluate(EmitTo::All).unwrap();
    assert_eq!(lane.len(), 1);
}
