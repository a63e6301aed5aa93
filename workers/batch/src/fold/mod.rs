//! Folding events into lanes inside DataFusion: the aggregate function `featuremill_lane`, and the plan around it.
//!
//! ```text
//! scan, decoded and evaluated ─▶ repartition by entity ─▶ aggregate once, spilling ─▶ (keys, lane)
//! ```
//!
//! Events travel to the one partition of their entity before they are folded: a lane is heavier than its events, so that
//! folding first and merging then would cost more. There they wait as columns, and are folded when all are there (or so many
//! that lanes would take less): one entity after another, by time, into a lane that is read and packed while it is near the
//! processor; or tallied, without a lane in between, where the plan is of numbers alone. Past the memory limit the aggregation
//! spills lanes by entity. A run that goes on from the lanes of the last generation merges those as it would merge what it
//! spilled.

mod accumulator;
mod packed;
mod pending;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
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
    signature: Signature,
}

impl LaneFunction {
    /// For the arguments that [`crate::decode`] makes of the mould's plan: the time, conditions and inputs.
    #[must_use]
    pub fn new(mould: Mould) -> Self {
        let conditions = mould.plan.conditions.iter().map(|_| DataType::Boolean);
        let inputs = mould.plan.inputs.iter().map(|input| input.value_type.arrow());
        let arguments = std::iter::once(DataType::Int64).chain(conditions).chain(inputs).collect();
        Self { signature: Signature::exact(arguments, Volatility::Immutable), mould }
    }

    /// What its lanes have in common.
    #[must_use]
    pub fn mould(&self) -> &Mould {
        &self.mould
    }
}

impl PartialEq for LaneFunction {
    fn eq(&self, other: &Self) -> bool {
        self.mould.identity() == other.mould.identity()
    }
}

impl Eq for LaneFunction {}

impl Hash for LaneFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.mould.identity().hash(state);
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
        let read = self.mould.reader.as_ref().map(|reader| DataType::Struct(accumulator::read_fields(reader)));
        Ok(read.unwrap_or(DataType::LargeBinary))
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

/// How events become lanes, and how lanes of the same entities meet. Lanes come as the keys and the lane, NULL for one that
/// says that its entity is gone; of a mould [with features](Mould::with_features) as a pair of the lane and those.
#[derive(Debug)]
pub struct Fold {
    /// The schema of events: first the columns that name the entity, then the function's arguments.
    schema: SchemaRef,
    entity: Vec<Arc<dyn PhysicalExpr>>,
    call: Arc<AggregateFunctionExpr>,
    partitions: usize,
}

impl Fold {
    /// Of events of this schema, as [`crate::decode`] makes them of the mould's plan, over `partitions` partitions.
    ///
    /// # Errors
    /// If the schema does not fit, which [`crate::decode`] rules out.
    pub fn new(schema: SchemaRef, partitions: usize, mould: Mould) -> Result<Self> {
        let keys = mould.plan.entity.len();
        let column = |i: usize| Arc::new(Column::new(schema.field(i).name(), i)) as Arc<dyn PhysicalExpr>;
        let entity = (0..keys).map(column).collect();
        let arguments = (keys..schema.fields().len()).map(column).collect();
        let function = Arc::new(AggregateUDF::new_from_impl(LaneFunction::new(mould)));
        let call = AggregateExprBuilder::new(function, arguments).schema(schema.clone()).alias(LANE).build()?;
        Ok(Self { entity, call: Arc::new(call), partitions, schema })
    }

    /// The lanes of `events`, each entity's whole.
    ///
    /// # Errors
    /// If they are of another schema.
    pub fn lanes(&self, events: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.aggregate(AggregateMode::SinglePartitioned, events)
    }

    /// The lanes of `events` as input of [`Self::onto`].
    ///
    /// # Errors
    /// If they are of another schema.
    pub fn partial(&self, events: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.aggregate(AggregateMode::Partial, events)
    }

    /// The lanes `new` merged with those of `before`: columns of both are the keys and packed lanes, each of an entity of its
    /// own.
    ///
    /// # Errors
    /// If they are of another schema.
    pub fn onto(&self, new: Arc<dyn ExecutionPlan>, before: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.aggregate(AggregateMode::FinalPartitioned, UnionExec::try_new(vec![new, before])?)
    }

    fn aggregate(&self, mode: AggregateMode, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let by_entity = Partitioning::Hash(self.entity.clone(), self.partitions);
        let input = Arc::new(RepartitionExec::try_new(input, by_entity)?);
        let named =
            self.entity.iter().cloned().zip(self.schema.fields()).map(|(expr, field)| (expr, field.name().clone()));
        let by = PhysicalGroupBy::new_single(named.collect());
        let calls = vec![self.call.clone()];
        Ok(Arc::new(AggregateExec::try_new(mode, by, calls, vec![None], input, self.schema.clone())?))
    }
}
