//! Any bytes through the event decoder: it answers, agrees with `serde_json` about what is JSON, and a reject leaves no trace.
#![no_main]

use std::cell::RefCell;

use engine::event::{Decoder, Reason};
use engine::plan::Plan;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// A plan with a column of each type.
fn plan() -> Plan {
    let plan = json!({
        "semantics": 1,
        "view": {"uid": "u", "namespace": "n", "name": "v"},
        "revision": "0123456789",
        "mode": "Kappa",
        "source": {
            "timestamp": {"field": "ts", "unit": "Seconds"},
            "columns": [
                {"name": "b", "type": "Boolean"}, {"name": "i", "type": "Int64"}, {"name": "d", "type": "Double"},
                {"name": "m", "type": {"Decimal": {"precision": 20, "scale": 3}}}, {"name": "s", "type": "String"},
                {"name": "t", "type": "Timestamp"},
            ],
        },
        "entity": ["s"],
        "time": {"allowedLatenessMs": 0, "maxFutureMs": 1_000_000_000, "retentionMs": null, "finestTileMs": 1_000},
        "conditions": [], "inputs": [], "aggregates": [], "features": [],
    });
    serde_json::from_value(plan).expect("the plan is written out above")
}

/// Whether the payload is a JSON object; `None` where the other reader is stricter or shallower than the grammar.
fn is_object(payload: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(payload) {
        Ok(value) => Some(value.is_object()),
        Err(error) => {
            let error = error.to_string();
            let stricter =
                ["number out of range", "recursion limit exceeded"].iter().any(|start| error.starts_with(start));
            (!stricter).then_some(false)
        }
    }
}

thread_local! {
    // One decoder for all inputs, so that what it remembers of earlier events is fuzzed too.
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new(&plan()));
}

fuzz_target!(|payload: &[u8]| {
    DECODER.with_borrow_mut(|decoder| {
        decoder.push(Some(br#"{"s":"before","ts":1}"#), 0).expect("a good event");
        let outcome = decoder.push(Some(payload), 0);
        decoder.push(Some(br#"{"s":"after","ts":2}"#), 0).expect("a good event");
        let batch = decoder.take().record_batch().expect("columns of one length");
        assert_eq!(batch.num_rows(), 2 + usize::from(outcome.is_ok()));
        assert_eq!(outcome, Decoder::new(&plan()).push(Some(payload), 0), "the past changed the answer");
        if let Some(valid) = is_object(payload) {
            let refused = outcome.is_err_and(|reject| {
                matches!(reject.reason, Reason::EmptyPayload | Reason::InvalidUtf8 | Reason::InvalidJson)
            });
            assert_eq!(refused, !valid);
        }
    });
});
