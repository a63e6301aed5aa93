//! A real API server over a real etcd, without any node, for tests.
//!
//! Both are names of the one binary that `kind/control-plane` builds. They listen on free ports of the loopback
//! interface, keep everything in a temporary directory, and die with the test process, however that ends.

mod process;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kube::config::AuthInfo;
use kube::{Client, Config};
use serde_json::json;
use thiserror::Error;

use process::Process;

/// The token of the tests' user, a member of `system:masters`.
const TOKEN: &str = "featuremill-tests";
/// How long the two processes may take to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Why no control plane came up.
#[derive(Debug, Error)]
pub enum ControlPlaneError {
    /// The binary has not been built.
    #[error("{path} does not exist; run kind/control-plane to build it")]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file, port or process could not be had.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// `openssl` refused.
    #[error("openssl could not make the service account key; is it installed?")]
    Key,
    /// The API server never said that it is ready.
    #[error("the API server was not ready after {} s; the ends of the logs of etcd and of it:\n{log}", START_TIMEOUT.as_secs())]
    NotReady {
        /// The last lines of etcd's log and of its own.
        log: String,
    },
}

/// A running API server and etcd.
pub struct ControlPlane {
    port: u16,
    // Dropped in this order: the API server before its etcd, the files last.
    _server: Process,
    _etcd: Process,
    directory: TemporaryDirectory,
}

impl ControlPlane {
    /// The control plane that all tests of this process share.
    ///
    /// # Errors
    /// As [`Self::start`]; a failure is remembered and told to every caller.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().map_err(|e| e.to_string())).as_ref().map_err(Clone::clone)
    }

    /// Starts both processes and waits until the API server is ready.
    ///
    /// # Errors
    /// See [`ControlPlaneError`].
    pub fn start() -> Result<Self, ControlPlaneError> {
        let directory = TemporaryDirectory::new().map_err(io("make a temporary directory"))?;
        let at = |name: &str| directory.path().join(name);
        let text = |name: &str| at(name).display().to_string();
        let [etcd_program, server_program] = link_programs(directory.path())?;
        let [client_port, peer_port, port] = free_ports().map_err(io("find free ports"))?;
        make_key(&at("sa.key"))?;
        std::fs::write(at("tokens.csv"), format!("{TOKEN},tests,tests,\"system:masters\"\n"))
            .map_err(io("write the tokens"))?;

        let client_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Process::start(
            &etcd_program,
            &[
                format!("--data-dir={}", text("data")),
                format!("--listen-client-urls={client_url}"),
                format!("--advertise-client-urls={client_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=default={peer_url}"),
                "--unsafe-no-fsync".to_owned(),
            ],
            &at("etcd.log"),
            Some(directory.path()),
        )
        .map_err(io("start etcd"))?;
        let server = Process::start(
            &server_program,
            &[
                format!("--etcd-servers={client_url}"),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--cert-dir={}", text("certificates")),
                format!("--token-auth-file={}", text("tokens.csv")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", text("sa.key")),
                format!("--service-account-signing-key-file={}", text("sa.key")),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                // No controller makes service accounts here, and no pod ever runs.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ],
            &at("server.log"),
            None,
        )
        .map_err(io("start the API server"))?;
        let plane = Self { port, _server: server, _etcd: etcd, directory };
        plane.await_ready()?;
        Ok(plane)
    }

    /// How a client reaches the API server, as a cluster administrator.
    ///
    /// # Panics
    /// Never: the URL is made of a port.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn config(&self) -> Config {
        let mut config = Config::new(format!("https://127.0.0.1:{}", self.port).parse().expect("a URL made of a port"));
        config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
        // The server signs its own certificate anew at each start.
        config.accept_invalid_certs = true;
        config.default_retry = false;
        config
    }

    /// The same as [`Self::config`], as a kubeconfig for programs.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let cluster = json!({"server": format!("https://127.0.0.1:{}", self.port), "insecure-skip-tls-verify": true});
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        })
        .to_string()
    }

    fn await_ready(&self) -> Result<(), ControlPlaneError> {
        let config = self.config();
        // A thread with a runtime of its own, so that this can be called from inside a test's runtime.
        let ready = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return false };
            runtime.block_on(async {
                let Ok(client) = Client::try_from(config) else { return false };
                let start = Instant::now();
                while start.elapsed() < START_TIMEOUT {
                    if let Ok(answer) = client.request_text(readyz()).await
                        && answer.trim() == "ok"
                    {
                        return true;
                    }
                    // The server has no way to tell that it is ready but to be asked.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                false
            })
        })
        .join()
        .unwrap_or(false);
        if ready {
            return Ok(());
        }
        let tail = |name: &str| {
            let log = std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        Err(ControlPlaneError::NotReady { log: tail("etcd.log") + "\n" + &tail("server.log") })
    }
}

fn readyz() -> http::Request<Vec<u8>> {
    let mut request = http::Request::new(Vec::new());
    *request.uri_mut() = http::Uri::from_static("/readyz");
    request
}

/// The folder of everything that is built or fetched once.
#[must_use]
pub fn cache_directory() -> PathBuf {
    std::env::var_os("FEATUREMILL_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/featuremill"),
        PathBuf::from,
    )
}

/// The one binary acts by the name it is called by.
fn link_programs(directory: &Path) -> Result<[PathBuf; 2], ControlPlaneError> {
    let binary = cache_directory().join("bin/kubernetes");
    if !binary.exists() {
        return Err(ControlPlaneError::NotBuilt { path: binary });
    }
    let programs = ["etcd", "kube-apiserver"].map(|name| directory.join(name));
    for program in &programs {
        std::os::unix::fs::symlink(&binary, program).map_err(io("link the control plane's names"))?;
    }
    Ok(programs)
}

fn make_key(path: &Path) -> Result<(), ControlPlaneError> {
    let done = Command::new("openssl").args(["genrsa", "-out"]).arg(path).arg("2048").output();
    if done.is_ok_and(|d| d.status.success()) { Ok(()) } else { Err(ControlPlaneError::Key) }
}

/// Ports that nobody listened on a moment ago, all different.
fn free_ports() -> std::io::Result<[u16; 3]> {
    let listeners =
        [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let [a, b, c] = &listeners;
    Ok([a.local_addr()?.port(), b.local_addr()?.port(), c.local_addr()?.port()])
}

fn io(action: &'static str) -> impl Fn(std::io::Error) -> ControlPlaneError {
    move |source| ControlPlaneError::Io { action, source }
}

/// A directory that is removed when dropped.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> std::io::Result<Self> {
        let [port, ..] = free_ports()?;
        let path = std::env::temp_dir().join(format!("featuremill-control-plane-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // A directory left in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
