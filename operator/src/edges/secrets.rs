//! The Secrets that an Architecture refers to.

use std::collections::BTreeMap;

use crds::Architecture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use super::{LogAddress, StoreAddress};
use crate::error::Error;

/// A referenced Secret that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} names Secret {name:?}, which does not exist in this namespace")]
pub struct MissingSecret {
    /// The field that names it.
    pub field: &'static str,
    /// Its name.
    pub name: String,
}

/// What an Architecture's Secrets hold.
#[derive(Clone)]
pub struct Secrets {
    /// The store.
    pub store: StoreAddress,
    /// The log, if there is one.
    pub log: Option<LogAddress>,
    /// Opaque text that changes when any of them does. It tells nothing about their content.
    pub version: String,
}

impl Secrets {
    /// Reads all of them.
    ///
    /// # Errors
    /// What the API server says; that a Secret is missing is an outcome.
    pub async fn read(client: &Client, architecture: &Architecture) -> Result<Result<Self, MissingSecret>, Error> {
        Self::of(client, architecture, true).await
    }

    /// Reads those that the operator itself needs, for the log and the store. What goes when a view goes stands there alone:
    /// that the lake's Secret went first must not keep it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn of_edges(client: &Client, architecture: &Architecture) -> Result<Result<Self, MissingSecret>, Error> {
        Self::of(client, architecture, false).await
    }

    async fn of(
        client: &Client,
        architecture: &Architecture,
        lake: bool,
    ) -> Result<Result<Self, MissingSecret>, Error> {
        let namespace = architecture.namespace().unwrap_or_default();
        let api = Api::<Secret>::namespaced(client.clone(), &namespace);
        let (kafka, redis) = (architecture.spec.kafka.as_ref(), &architecture.spec.online_store.redis);
        let delta = architecture.spec.offline_store.as_ref().map(|store| &store.delta);
        let log = |k: &crds::architecture::Kafka| LogAddress {
            bootstrap: k.bootstrap_servers.clone(),
            properties: BTreeMap::new(),
        };
        let mut secrets = Self {
            store: StoreAddress { url: redis.url.clone(), settings: BTreeMap::new() },
            log: kafka.map(log),
            version: String::new(),
        };
        // The operator itself never opens a table: of that Secret, only the version matters.
        let references = [
            (
                "spec.kafka.secretRef",
                kafka.and_then(|k| k.secret_ref.as_ref()),
                secrets.log.as_mut().map(|log| &mut log.properties),
            ),
            ("spec.onlineStore.redis.secretRef", redis.secret_ref.as_ref(), Some(&mut secrets.store.settings)),
            ("spec.offlineStore.delta.secretRef", delta.filter(|_| lake).and_then(|d| d.secret_ref.as_ref()), None),
        ];
        for (field, reference, settings) in references {
            let Some(reference) = reference else { continue };
            let found =
                api.get_opt(&reference.name).await.map_err(Error::read(format!("Secret {}", reference.name)))?;
            let Some(secret) = found else {
                return Ok(Err(MissingSecret { field, name: reference.name.clone() }));
            };
            // The resource version, not a hash of the content, which could be guessed at.
            let version =
                format!("{}.{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
            if !secrets.version.is_empty() {
                secrets.version.push('_');
            }
            secrets.version.push_str(&version);
            if let Some(settings) = settings {
                settings.extend(secret.data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0)));
            }
        }
        Ok(Ok(secrets))
    }
}
