//! SQL text → DataFusion's logical expression, with only scalar functions in reach.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DataFusionError, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{self, visit_expressions};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::{ExprError, plain};

/// Every scalar function by its name and aliases, built once.
static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in datafusion_functions::all_default_functions() {
        for alias in function.aliases() {
            functions.insert(alias.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

/// Parses `sql` and resolves its names against `schema`.
pub(super) fn parse(sql: &str, schema: &DFSchema) -> Result<Expr, ExprError> {
    let ast = syntax(sql)?;
    let options = ParserOptions::new()
        .with_enable_ident_normalization(false)
        // Strings stay Utf8, the type of our columns.
        .with_map_string_types_to_utf8view(false);
    SqlToRel::new_with_options(&Scalars::new(), options)
        .sql_to_expr(ast, schema, &mut PlannerContext::new())
        .map_err(|e| ExprError::Plan { sql: sql.to_owned(), message: plain(&e) })
}

/// The column names in `sql`.
pub(super) fn names(sql: &str) -> Result<BTreeSet<String>, ExprError> {
    let ast = syntax(sql)?;
    let mut names = BTreeSet::new();
    let _ = visit_expressions(&ast, |e| {
        if let ast::Expr::Identifier(name) = e {
            names.insert(name.value.clone());
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    Ok(names)
}

/// One expression and nothing behind it.
fn syntax(sql: &str) -> Result<ast::Expr, ExprError> {
    let error = |message: String| ExprError::Syntax { sql: sql.to_owned(), message };
    let strip = |e: &dyn std::fmt::Display| e.to_string().replace("sql parser error: ", "");
    let mut parser =
        Parser::new(&GenericDialect {}).with_recursion_limit(50).try_with_sql(sql).map_err(|e| error(strip(&e)))?;
    let expr = parser.parse_expr().map_err(|e| error(strip(&e)))?;
    let rest = parser.peek_token();
    if rest.token == Token::EOF {
        Ok(expr)
    } else {
        Err(error(format!("unexpected {:?} at column {}", rest.token.to_string(), rest.span.start.column)))
    }
}

/// What SQL may refer to: scalar functions, and no table, aggregate, window or variable.
struct Scalars {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Scalars {
    fn new() -> Self {
        Self {
            options: ConfigOptions::default(),
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Scalars {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>, DataFusionError> {
        plan_err!("there is no table {name} here: an expression reads the columns of one event")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.get(&name.to_ascii_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
