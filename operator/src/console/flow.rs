//! The way of events through a view, from source to serving, as far as the objects tell. Pure.

use crds::Architecture;
use crds::condition::{ConditionStatus, types};
use crds::feature_view::{Source as SourceSpec, TableFormat};
use kube::ResourceExt as _;
use serde::Serialize;

use super::seen::without_credentials;
use crate::conditions::find;

/// Where events come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_format: Option<TableFormat>,
}

impl Source {
    pub fn of(spec: &SourceSpec) -> Self {
        Self {
            topic: spec.topic.clone(),
            table: spec.table.as_ref().map(|table| without_credentials(&table.uri)),
            table_format: spec.table.as_ref().map(|table| table.format),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.topic.is_none() && self.table.is_none()
    }
}

/// What views are computed and served by.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct House {
    pub namespace: String,
    pub name: String,
    pub mode: crds::architecture::Mode,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub views: i32,
    pub updated_views: i32,
    pub servers: i32,
    pub ready_servers: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Without credentials.
    pub store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
}

impl House {
    pub fn of(architecture: &Architecture) -> Self {
        let status = architecture.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, types::READY);
        let is_ready = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
        let spec = &architecture.spec;
        Self {
            namespace: architecture.namespace().unwrap_or_default(),
            name: architecture.name_any(),
            mode: spec.mode.canonical(),
            ready: is_ready,
            reason: ready.map(|ready| ready.reason.clone()),
            message: ready.filter(|_| !is_ready).map(|ready| ready.message.clone()),
            views: status.views,
            updated_views: status.updated_views,
            servers: status.replicas,
            ready_servers: status.ready_replicas,
            endpoint: status.endpoint,
            store: without_credentials(&spec.online_store.redis.url),
            log: spec.kafka.as_ref().map(|kafka| kafka.bootstrap_servers.clone()),
            lake: spec.offline_store.as_ref().map(|lake| without_credentials(&lake.delta.uri)),
        }
    }
}
