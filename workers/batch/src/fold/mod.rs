//! Folding events into lanes inside DataFusion: the aggregate function `featuremill_lane`, and the plan around it.
//!
//! ```text
//! scan, decoded and evaluated ─▶ repartition by entity ─▶ aggregate once, spilling ─▶ (keys, lane)
//! ```
//!
//! Events travel to the one partition of their entity before they are folded: a lane is heavier than its events, so that
//! folding first and merging then would cost more. Past the memory limit the aggregation spills lanes by entity. A run that
//! goes on from the lanes of the last generation merges those as it would merge what it spilled.

mod accumulator;
mod packed;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

pub use accumulator::{Lanes, Mould};
pub use packed::{Truncated, pack, unpack};

use arrow::datatypes::{Field, FieldRef};

/// The name of the function, and of the result's last column.
pub const LANE: &str = "featuremill_lane";

/// `featuremill_lane(time, conditions…, inputs…)`: the lane of a group's events, packed.
#[derive(Debug)]
pub struct LaneFunction {
    mould: Mould,
    /// The plan's [`engine::plan::Plan::layout`].
    layout: [u8; 8],
    signature: Signature,
}

impl LaneFunction {
    /// For arguments of these types: the time, conditions and inputs of [`crate::decode`].
    #[must_use]
    pub fn new(mould: Mould, layout: [u8; 8], arguments: Vec<DataType>) -> Self {
        Self { mould, layout, signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

impl PartialEq for LaneFunction {
    fn eq(&self, other: &Self) -> bool {
        let of = |f: &Self| (f.layout, f.mould.aged_to, f.mould.offset);
        of(self) == of(other)
    }
}

impl Eq for LaneFunction {}

impl Hash for LaneFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.layout, self.mould.aged_to, self.mould.offset).hash(state);
    }
}

impl AggregateUDFImpl for LaneFunction {
    fn name(&self) -> &str {
        LANE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::LargeBinary)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{LANE} without GROUP BY")
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "lane"), DataType::LargeBinary, true))])
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Lanes::new(self.mould.clone())))
    }
}

/// Folds `events`, whose first `keys` columns name the entity and whose others are the function's arguments, over
/// `partitions` partitions. The result has the keys and the lane, NULL for a lane that says that its entity is gone.
///
/// With `before`, whose columns are the keys and packed lanes, each of an entity of its own, the events go into those.
///
/// # Errors
/// If the schema does not fit, which [`crate::decode`] rules out.
pub fn plan(
    events: Arc<dyn ExecutionPlan>,
    before: Option<Arc<dyn ExecutionPlan>>,
    keys: usize,
    partitions: usize,
    mould: Mould,
    layout: [u8; 8],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema: SchemaRef = events.schema();
    let column = |i: usize| Arc::new(Column::new(schema.field(i).name(), i)) as Arc<dyn PhysicalExpr>;
    let entity: Vec<_> = (0..keys).map(column).collect();
    let arguments: Vec<_> = (keys..schema.fields().len()).collect();
    let types = arguments.iter().map(|i| schema.field(*i).data_type().clone()).collect();
    let function = Arc::new(AggregateUDF::new_from_impl(LaneFunction::new(mould, layout, types)));
    let call = AggregateExprBuilder::new(function, arguments.into_iter().map(column).collect())
        .schema(schema.clone())
        .alias(LANE)
        .build()?;
    let call = Arc::new(call);
    let aggregate = |mode, input: Arc<dyn ExecutionPlan>| {
        let named = entity.iter().cloned().zip(schema.fields()).map(|(expr, field)| (expr, field.name().clone()));
        let by = PhysicalGroupBy::new_single(named.collect());
        AggregateExec::try_new(mode, by, vec![call.clone()], vec![None], input, schema.clone())
    };
    let by_entity = |input| RepartitionExec::try_new(input, Partitioning::Hash(entity.clone(), partitions));
    let events = Arc::new(by_entity(events)?);
    let Some(before) = before else { return Ok(Arc::new(aggregate(AggregateMode::SinglePartitioned, events)?)) };
    let new = Arc::new(aggregate(AggregateMode::Partial, events)?);
    let both = UnionExec::try_new(vec![new, before])?;
    Ok(Arc::new(aggregate(AggregateMode::FinalPartitioned, Arc::new(by_entity(both)?))?))
}
