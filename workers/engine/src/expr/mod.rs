//! SQL scalar expressions: `where`, `of` and derived `expression`s, planned and evaluated by DataFusion.
//!
//! Invariants: an expression is a function of its row alone (volatile functions and the clock are refused); it gives one
//! of our value types; `/` is true division, as in DuckDB and Spark, so that a ratio of two counts is a ratio; a
//! non-finite double is NULL; identifiers keep their case.

mod evaluate;
pub use evaluate::Failure;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, Volatility, cast, lit};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr as PhysicalBinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use thiserror::Error;

use crate::value::ValueType;

/// Why a SQL text is not an expression we can take. The message is for the person who wrote it.
#[derive(Debug, Error)]
pub enum ExprError {
    /// It does not parse.
    #[error("{sql:?} is not a SQL expression: {message}")]
    Syntax {
        /// The text.
        sql: String,
        /// The parser's words.
        message: String,
    },
    /// It names what does not exist or does not fit in type.
    #[error("{sql:?}: {message}")]
    Plan {
        /// The text.
        sql: String,
        /// The planner's words.
        message: String,
    },
    /// Its value would depend on more than the row.
    #[error(
        "{sql:?} calls {function}(), whose value does not depend on the event alone; a feature must give the same value in stream, batch and replay"
    )]
    Volatile {
        /// The text.
        sql: String,
        /// The function.
        function: String,
    },
    /// It gives a type that no feature has.
    #[error("{sql:?} gives {found}; cast it to BOOLEAN, BIGINT, DOUBLE, DECIMAL(p ≤ 28, s), VARCHAR or TIMESTAMP")]
    Type {
        /// The text.
        sql: String,
        /// The Arrow type found.
        found: String,
    },
}

/// A compiled expression over one schema.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the person wrote.
    pub sql: String,
    /// The type of its values.
    pub value_type: ValueType,
    /// The columns it reads, in no particular order.
    pub reads: BTreeSet<String>,
    physical: Arc<dyn PhysicalExpr>,
}

/// Compiles `sql` over the columns of `schema`.
///
/// # Errors
/// [`ExprError`] as its variants say.
pub fn compile(sql: &str, schema: &Schema) -> Result<Compiled, ExprError> {
    let plan_error = |e: DataFusionError| ExprError::Plan { sql: sql.to_owned(), message: plain(&e) };
    let df_schema = DFSchema::try_from(schema.clone()).map_err(plan_error)?;
    let expr = sql::parse(sql, &df_schema)?;
    refuse_volatile(sql, &expr)?;
    let expr = divide_truly(expr, &df_schema).map_err(plan_error)?;
    let expr = negate_by_subtraction(expr, &df_schema).map_err(plan_error)?;

    let context = SimplifyContext::builder().with_schema(Arc::new(df_schema.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr, &df_schema).map_err(plan_error)?;
    let found = expr.get_type(&df_schema).map_err(plan_error)?;
    let value_type =
        value_type(&found).ok_or_else(|| ExprError::Type { sql: sql.to_owned(), found: found.to_string() })?;
    let expr = if found == value_type.arrow() { expr } else { cast(expr, value_type.arrow()) };

    let reads = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
    let expr = simplifier.simplify(expr).map_err(plan_error)?;
    let physical = create_physical_expr(&expr, &df_schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .map_err(plan_error)?;
    let physical = check_overflow(physical).map_err(plan_error)?;
    Ok(Compiled { sql: sql.to_owned(), value_type, reads, physical })
}

/// The columns `sql` names, without planning it: to order expressions that read each other.
///
/// # Errors
/// [`ExprError::Syntax`].
pub fn names(sql: &str) -> Result<BTreeSet<String>, ExprError> {
    sql::names(sql)
}

/// The value type an Arrow type becomes, if any.
fn value_type(found: &DataType) -> Option<ValueType> {
    Some(match found {
        DataType::Boolean => ValueType::Boolean,
        t if t.is_integer() => ValueType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ValueType::Double,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::String,
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            _,
        ) => ValueType::Timestamp,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *p <= 28 && *s >= 0 => {
            ValueType::Decimal { precision: *p, scale: u8::try_from(*s).ok()? }
        }
        _ => return None,
    })
}

/// Refuses any function that is not immutable: `random()`, `now()` and their kind.
fn refuse_volatile(sql: &str, expr: &Expr) -> Result<(), ExprError> {
    let mut offender = None;
    // The walk itself cannot fail: the closure never errs.
    let _ = expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.signature().volatility != Volatility::Immutable
        {
            offender = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    offender.map_or(Ok(()), |function| Err(ExprError::Volatile { sql: sql.to_owned(), function }))
}

/// Casts both sides of an integer division to doubles. SQL engines differ here; a person who writes the ratio of two
/// counts never means the integer quotient.
fn divide_truly(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    expr.transform_up(|e| match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right })
            if integer_or_null(&left, schema) && integer_or_null(&right, schema) =>
        {
            let (left, right) = (cast(*left, DataType::Float64), cast(*right, DataType::Float64));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Divide, Box::new(right)))))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

/// `-a` of integers as `0 - a`: a negation wraps around, and cannot be told not to.
fn negate_by_subtraction(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    expr.transform_up(|e| match e {
        Expr::Negative(inner)
            if !matches!(*inner, Expr::Literal(..)) && inner.get_type(schema).is_ok_and(|t| t.is_signed_integer()) =>
        {
            let minus = BinaryExpr::new(Box::new(lit(0_i64)), Operator::Minus, inner);
            Ok(Transformed::yes(Expr::BinaryExpr(minus)))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

/// Lets sums, differences and products that overflow fail, where they would wrap around by default.
fn check_overflow(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    expr.transform_up(|e| {
        let Some(binary) = e.downcast_ref::<PhysicalBinaryExpr>() else { return Ok(Transformed::no(e)) };
        let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
        let checked = PhysicalBinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
    })
    .map(|t| t.data)
}

fn integer_or_null(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| t.is_integer() || t.is_null())
}

/// DataFusion's message without its prefixes and backtrace, one line.
fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default().trim();
    [
        "Schema error: ",
        "Error during planning: ",
        "SQL error: ",
        "This feature is not implemented: ",
        "type_coercion\ncaused by\n",
    ]
    .iter()
    .fold(text, |t, prefix| t.strip_prefix(prefix).unwrap_or(t))
    .to_owned()
}
