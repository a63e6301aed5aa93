//! Leader election over one Lease, as every Kubernetes component does it.
//!
//! Invariants: a lease of another is taken only after it was seen unchanged for its whole duration, by our own clock; every
//! write carries the resource version that was read; who cannot renew in time stops leading before another may begin.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};

/// How long a leader is trusted after its last sign of life.
const DURATION: Duration = Duration::from_secs(15);
/// After how long without a successful renewal a leader gives up.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often a leader renews, and others look.
const RETRY: Duration = Duration::from_secs(2);
/// How long it may take to let go of it: longer than a busy API server takes, and less than it would take to expire.
const RELEASE_LIMIT: Duration = Duration::from_secs(8);

/// A candidate.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// A lease as it was last seen to change.
struct Seen {
    version: Option<String>,
    at: Instant,
}

impl Elector {
    /// A candidate for the Lease `name`; `identity` is unique to this process.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity: identity.to_owned() }
    }

    /// Waits until this process leads.
    pub async fn acquire(&self) {
        let mut seen = Seen { version: None, at: Instant::now() };
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, lease = self.name, "the lease cannot be read or written"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews until that fails for too long. Dropping the future stops it.
    pub async fn hold(&self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_DEADLINE {
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            tokio::time::sleep(RETRY.min(left)).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let at = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = at,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "the lease could not be renewed"),
                Err(_) => {}
            }
        }
        tracing::error!(lease = self.name, "leadership is lost");
    }

    /// Lets another lead at once.
    pub async fn release(&self) {
        let done = async {
            while !self.try_release().await? {}
            Ok(())
        };
        let done: Result<Result<(), kube::Error>, _> = tokio::time::timeout(RELEASE_LIMIT, done).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "the lease could not be released; another waits until it expires");
        }
    }

    /// Whether this process holds the lease no longer. A renewal that was cut off when the process stopped leading may still
    /// arrive between the read and the write; then the lease is read again.
    async fn try_release(&self) -> Result<bool, kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(true);
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        written(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    async fn try_acquire(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let mut lease =
                Lease { metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, spec: None };
            self.claim(&mut lease);
            return written(self.api.create(&PostParams::default(), &lease).await);
        };
        if seen.version != lease.resource_version() {
            *seen = Seen { version: lease.resource_version(), at: Instant::now() };
        }
        let held = holder(&lease).is_some_and(|holder| !holder.is_empty() && holder != self.identity);
        if held && seen.at.elapsed() < duration(&lease) {
            return Ok(false);
        }
        self.claim(&mut lease);
        written(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(false);
        }
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        written(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn claim(&self, lease: &mut Lease) {
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.clone().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(self.identity.as_str());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if same { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!same)),
            ..LeaseSpec::default()
        });
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

/// Whether the write took place: a conflict says that another was faster.
fn written(answer: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
