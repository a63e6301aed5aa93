//! Consumer groups.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use shell::kafka::KafkaSettings;

use super::{EdgeError, LogAddress};

/// How long the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The properties of a client's configuration, by name.
pub(super) type Properties<'a> = Vec<(&'a str, &'a str)>;

/// How a log's clients are configured: the properties are those of its Secret.
pub(super) fn settings(address: &LogAddress) -> Result<(KafkaSettings, Properties<'_>), EdgeError> {
    let mut properties = Vec::with_capacity(address.properties.len());
    for (name, value) in &address.properties {
        let value = std::str::from_utf8(value)
            .map_err(|_| EdgeError(format!("Kafka property {name} of the Secret is not UTF-8 text")))?;
        properties.push((name.as_str(), value.trim_end_matches(['\r', '\n'])));
    }
    Ok((KafkaSettings { bootstrap: address.bootstrap.clone(), config_dir: None }, properties))
}

pub(super) async fn delete_groups(address: &LogAddress, groups: &[String]) -> Result<(), EdgeError> {
    if groups.is_empty() {
        return Ok(());
    }
    let (settings, properties) = settings(address)?;
    let admin: AdminClient<DefaultClientContext> =
        settings.client(&properties, DefaultClientContext).map_err(|error| EdgeError(error.to_string()))?;
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let answers = admin
        .delete_groups(&names, &options)
        .await
        .map_err(|error| EdgeError(format!("deleting consumer groups at {}: {error}", address.bootstrap)))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((group, code)) => return Err(EdgeError(format!("deleting consumer group {group}: {code}"))),
        }
    }
    Ok(())
}
