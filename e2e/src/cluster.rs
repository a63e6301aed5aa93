//! The local cluster as the tests and the demo use it: kubectl, and the ports it forwards to this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cluster that `kind/up` made.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    port_base: u16,
}

/// The account is the one of `kind/manifests/s3.yaml`.
fn lake(endpoint: &str) -> BTreeMap<String, String> {
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "featuremill"),
        ("AWS_SECRET_ACCESS_KEY", "featuremill-local"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Cluster {
    /// The cluster the environment names, as `kind/lib/env.sh` does.
    #[must_use]
    pub fn from_env() -> Self {
        let home = std::env::var("HOME").unwrap_or_default();
        let cache = std::env::var("FEATUREMILL_CACHE").unwrap_or_else(|_| format!("{home}/.cache/featuremill"));
        let name = std::env::var("FEATUREMILL_CLUSTER").unwrap_or_else(|_| "featuremill".into());
        let port_base = std::env::var("FEATUREMILL_PORT_BASE").ok().and_then(|p| p.parse().ok()).unwrap_or(30_000);
        Self { kubeconfig: Path::new(&cache).join("clusters").join(name).join("kubeconfig"), port_base }
    }

    /// Where Kafka answers clients outside of the cluster.
    #[must_use]
    pub fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.port_base + 92)
    }

    /// Where Redis answers.
    #[must_use]
    pub fn redis(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port_base + 379)
    }

    /// Where the feature server of `examples/clickstream` answers.
    #[must_use]
    pub fn server(&self) -> String {
        format!("http://127.0.0.1:{}", self.port_base + 566)
    }

    /// How the cluster's S3 is reached from this machine, by the names of `object_store`; its bucket is `lake`.
    #[must_use]
    pub fn lake(&self) -> BTreeMap<String, String> {
        lake(&format!("http://127.0.0.1:{}", self.port_base + 900))
    }

    /// How pods reach it.
    #[must_use]
    pub fn lake_inside() -> BTreeMap<String, String> {
        lake("http://s3.data:7070")
    }

    /// Where the cluster's credentials are.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl and gives what it printed.
    ///
    /// # Errors
    /// The command and what it said on failure.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.kubectl_with(args, None)
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn apply(&self, namespace: &str, yaml: &str) -> Result<String, String> {
        self.kubectl_with(&["-n", namespace, "apply", "-f", "-"], Some(yaml))
    }

    fn kubectl_with(&self, args: &[&str], input: Option<&str>) -> Result<String, String> {
        let said = |e: &dyn std::fmt::Display| format!("kubectl {}: {e}", args.join(" "));
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| said(&e))?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            std::io::Write::write_all(&mut stdin, input.as_bytes()).map_err(|e| said(&e))?;
        }
        let output = child.wait_with_output().map_err(|e| said(&e))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(said(&String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}
