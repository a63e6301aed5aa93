//! Our node and our aggregate function on the wire: beside Ballista's own nodes, which go by its codec.
//!
//! Invariant: what is ours begins with a byte that no protobuf message begins with, so that neither is taken for the other.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use engine::lane::Layout;
use engine::plan::Plan;
use lake::Storage;
use serde::{Deserialize, Serialize};

use super::parts::{NAME, Parts};
use super::task::Reader;
use crate::fold::{LANE, LaneFunction, Mould};

/// A field's wire type 7, which protobuf does not have.
const OURS: u8 = 0xff;

/// Encodes and decodes plans of a fold.
#[derive(Debug)]
pub(super) struct Codec {
    storage: Storage,
    theirs: BallistaPhysicalExtensionCodec,
}

/// A [`Mould`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lanes {
    plan: Plan,
    horizon: i64,
    generation: u64,
}

impl Codec {
    /// Plans that are decoded open tables with these credentials.
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, theirs: BallistaPhysicalExtensionCodec::default() }
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((&OURS, text)) = buf.split_first() else {
            return self.theirs.try_decode(buf, inputs, ctx, proto_converter);
        };
        let [input] = inputs else { return internal_err!("{NAME} has one input, not {}", inputs.len()) };
        let task = serde_json::from_slice(text).map_err(|error| exec_datafusion_err!("{NAME}: {error}"))?;
        Ok(Arc::new(Parts::new(Arc::new(Reader::new(task, self.storage.clone())?), input.clone())))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(parts) = node.downcast_ref::<Parts>() else {
            return self.theirs.try_encode(node, buf, proto_converter);
        };
        buf.push(OURS);
        serde_json::to_writer(buf, &parts.reader().task).map_err(|error| exec_datafusion_err!("{NAME}: {error}"))
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        if name != LANE {
            return self.theirs.try_decode_udaf(name, buf);
        }
        let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{LANE}: {error}");
        let Lanes { plan, horizon, generation } = serde_json::from_slice(buf).map_err(|error| failed(&error))?;
        let layout = Arc::new(Layout::new(&plan).map_err(|error| failed(&error))?);
        let mould = Mould::new(Arc::new(plan), layout, horizon, generation);
        Ok(Arc::new(AggregateUDF::new_from_impl(LaneFunction::new(mould))))
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        let Some(function) = node.inner().downcast_ref::<LaneFunction>() else {
            return self.theirs.try_encode_udaf(node, buf);
        };
        let mould = function.mould();
        let lanes = Lanes { plan: mould.plan.as_ref().clone(), horizon: mould.horizon, generation: mould.generation };
        serde_json::to_writer(buf, &lanes).map_err(|error| exec_datafusion_err!("{LANE}: {error}"))
    }
}
