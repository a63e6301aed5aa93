//! Makes the Job and what it is handed stand. Needs a client.

use crds::condition::reasons;
use serde_json::Value;

use super::desire::{Desired, Holder, Input};
use super::report::State;
use crate::apply::Writer;
use crate::error::Error;
use crate::feature_view::resolve::Refusal;

/// Creates what is not there, the Job last.
///
/// # Errors
/// What the API server says; that it takes no such Job is an outcome.
pub(super) async fn apply<I: Holder>(desired: Desired<I>, writer: &Writer) -> Result<State, Error> {
    let Desired { input, job } = desired;
    // What stands counts, not what was wanted.
    let input = match input {
        Input::Stands(input) => input,
        Input::Wanted(input) => writer.create(input).await?,
    };
    let text = input.text().unwrap_or_default();
    let input: Value = serde_json::from_str(&text).unwrap_or_default();
    match writer.create(job).await {
        Ok(job) => Ok(State::Begun { job: Box::new(job), input }),
        Err(error) if error.is_invalid() => {
            let message = error.to_string();
            Ok(State::Refused(Refusal { reason: reasons::INVALID_SPEC, message, pending: false }))
        }
        Err(error) => Err(error),
    }
}
