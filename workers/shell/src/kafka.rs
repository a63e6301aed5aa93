//! How every Kafka client of ours is configured: bootstrap servers, a folder of properties, then the properties that
//! must hold, which nobody can override.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use thiserror::Error;

use crate::config_dir::{self, ConfigDirError};

/// More events than wait in a client that asked one question.
const EVENTS: usize = 64;

/// Where the brokers are and how to reach them.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// A folder in which each file is named by a librdkafka property and holds its value, as a mounted Secret is.
    pub config_dir: Option<PathBuf>,
}

/// Why a Kafka client could not be made.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// The folder of properties cannot be read.
    #[error("Kafka properties: {0}")]
    Config(#[from] ConfigDirError),
    /// A property's value is not text.
    #[error("Kafka property {property} in {dir} is not UTF-8 text; store the PEM or plain text itself")]
    NotText {
        /// The file's name.
        property: String,
        /// Its folder.
        dir: PathBuf,
    },
    /// librdkafka refuses a property.
    #[error("Kafka property {property}: {detail}")]
    Property {
        /// The property.
        property: String,
        /// What librdkafka says; never the value, which may be a secret.
        detail: String,
    },
    /// librdkafka refuses the whole.
    #[error("cannot make a Kafka client for {bootstrap}: {detail}")]
    Client {
        /// The bootstrap servers.
        bootstrap: String,
        /// What librdkafka says.
        detail: String,
    },
}

impl KafkaSettings {
    /// The configuration with `ours` on top. The folder is read anew each time, so that a rotated Secret is seen.
    ///
    /// # Errors
    /// [`KafkaError::Config`] or [`KafkaError::NotText`].
    pub fn client_config(&self, ours: &[(&str, &str)]) -> Result<ClientConfig, KafkaError> {
        let mut config = ClientConfig::new();
        if let Some(dir) = &self.config_dir {
            for (property, value) in config_dir::read(dir)? {
                let value = text(&property, value, dir)?;
                config.set(property, value);
            }
        }
        config.set("bootstrap.servers", &self.bootstrap);
        for (property, value) in ours {
            config.set(*property, *value);
        }
        Ok(config)
    }

    /// A client of any sort from [`Self::client_config`].
    ///
    /// # Errors
    /// [`KafkaError`], naming the property that librdkafka refuses.
    pub fn client<C, T>(&self, ours: &[(&str, &str)], context: C) -> Result<T, KafkaError>
    where
        C: ClientContext,
        T: FromClientConfigAndContext<C>,
    {
        self.client_config(ours)?.create_with_context(context).map_err(|error| match error {
            rdkafka::error::KafkaError::ClientConfig(_, detail, property, _) => {
                KafkaError::Property { property, detail }
            }
            other => KafkaError::Client { bootstrap: self.bootstrap.clone(), detail: other.to_string() },
        })
    }
}

/// Remembers what librdkafka last complained of. A refused password or certificate is told in its log alone: the question that
/// fails for it says only that no broker could be reached.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Option<String>>);

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        if level as i32 <= RDKafkaLogLevel::Error as i32 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(plain(message).to_owned());
        }
    }
}

impl ConsumerContext for Complaints {}

/// The error of a question to the brokers, and what was complained of before it.
pub fn explain(client: &BaseConsumer<Complaints>, error: &rdkafka::error::KafkaError) -> String {
    // The log waits among other events; a poll takes one, and does not say whether more are left.
    for _ in 0..EVENTS {
        drop(client.poll(Duration::ZERO));
    }
    match &*client.context().0.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(complaint) => format!("{error}: {complaint}"),
        None => error.to_string(),
    }
}

/// A line of librdkafka's log without the thread that wrote it, how many milliseconds it took and how often it came: a
/// condition that says it must not change while what it tells does not.
fn plain(line: &str) -> &str {
    let line = line.strip_prefix("[thrd:").and_then(|line| line.split_once("]: ")).map_or(line, |(_, line)| line);
    match line.rsplit_once(" (after ") {
        Some((plain, took)) if took.contains("ms in state ") => plain,
        _ => line,
    }
}

/// Whether [`explain`]'s words say that the brokers were reached and refuse the client, which takes a person; anything else may
/// heal by itself.
#[must_use]
pub fn is_refusal(words: &str) -> bool {
    ["SASL authentication error", "Authentication failed", "certificate verify failed"]
        .iter()
        .any(|w| words.contains(w))
}

fn text(property: &str, value: Vec<u8>, dir: &Path) -> Result<String, KafkaError> {
    String::from_utf8(value).map_err(|_| KafkaError::NotText { property: property.to_owned(), dir: dir.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::producer::BaseProducer;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;

    fn producer(ours: &[(&str, &str)]) -> Result<(), KafkaError> {
        let settings = KafkaSettings { bootstrap: "127.0.0.1:1".into(), config_dir: None };
        let made: Result<BaseProducer<DefaultProducerContext>, _> = settings.client(ours, DefaultProducerContext);
        made.map(drop)
    }

    #[test]
    fn what_librdkafka_logs_is_told_without_what_changes_each_time_and_a_refusal_is_known() {
        let broker = "sasl_plaintext://kafka:9092/bootstrap";
        let said = "SASL authentication error: Authentication failed: Invalid username or password";
        for end in
            [" (after 303ms in state AUTH_REQ)", " (after 4ms in state AUTH_REQ, 5 identical error(s) suppressed)", ""]
        {
            let line = format!("[thrd:{broker}]: {broker}: {said}{end}");
            assert_eq!(plain(&line), format!("{broker}: {said}"));
            assert!(is_refusal(plain(&line)));
        }
        let away = "kafka:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused";
        assert_eq!(plain(&format!("[thrd:main]: {away} (after 0ms in state CONNECT)")), away);
        assert!(!is_refusal(away));
        assert_eq!(plain("as it (after all) is"), "as it (after all) is");
    }

    #[test]
    fn a_refused_property_is_named_and_its_value_is_not() {
        let error = producer(&[("acks.of.sorts", "hunter2")]).unwrap_err().to_string();
        assert!(error.contains("acks.of.sorts") && !error.contains("hunter2"), "{error}");
        let error = producer(&[("request.timeout.ms", "soon")]).unwrap_err().to_string();
        assert!(error.contains("request.timeout.ms"), "{error}");
    }
}
