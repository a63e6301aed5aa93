//! A real Prometheus and a real Alertmanager, built by `kind/monitoring/fetch`, and what draws what they know.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Directory, Process, Program, ServiceError, free_ports, io};
use crate::control_plane::cache_directory;

/// How long either may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The version of something that `kind/monitoring/versions.sh` names.
fn version(of: &str) -> Result<String, ServiceError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind/monitoring/versions.sh");
    let text = std::fs::read_to_string(&file).map_err(io(format!("read {}", file.display())))?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{of}_version=")));
    line.map(str::to_owned)
        .ok_or_else(|| ServiceError::Misuse(format!("kind/monitoring/versions.sh has no {of}_version")))
}

/// What is there if `script` has put it there.
fn fetched(path: PathBuf, script: &str) -> Result<PathBuf, ServiceError> {
    if path.exists() { Ok(path) } else { Err(ServiceError::Missing { path, fix: format!("run {script}") }) }
}

/// A program of those versions.
fn program(name: &str) -> Result<Program, ServiceError> {
    let folder = format!("prometheus-{}-alertmanager-{}", version("prometheus")?, version("alertmanager")?);
    let path = cache_directory().join("monitoring").join(folder).join(name);
    fetched(path, &format!("kind/monitoring/fetch {name}")).map(Program::new)
}

/// uPlot, fetched by `kind/monitoring/uplot`.
#[derive(Debug)]
pub struct Uplot {
    /// Where its script and its style are.
    pub folder: PathBuf,
    /// Which it is.
    pub version: String,
}

/// The library that draws the dashboard.
///
/// # Errors
/// [`ServiceError::Missing`] with what fetches it.
pub fn uplot() -> Result<Uplot, ServiceError> {
    let version = version("uplot")?;
    let folder = fetched(cache_directory().join(format!("monitoring/uplot-{version}")), "kind/monitoring/uplot")?;
    Ok(Uplot { folder, version })
}

/// An answer of either, as JSON.
async fn get(url: String) -> Result<Value, String> {
    let get = move || {
        let mut answer =
            ureq::get(&url).config().http_status_as_error(false).build().call().map_err(|e| e.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{url}: {error}: {text}"))
    };
    tokio::task::spawn_blocking(get).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// A server with a configuration, a port and a directory.
#[derive(Debug)]
struct Server {
    process: Option<Process>,
    program: Program,
    ready: String,
    directory: Directory,
}

impl Server {
    async fn resume(&mut self) -> Result<(), ServiceError> {
        if self.process.is_none() {
            let mut process = self.program.start(self.directory.path().join("log"))?;
            process.until_ok(&self.ready, START_LIMIT).await?;
            self.process = Some(process);
        }
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), ServiceError> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }
}

/// Writes a file of the server's.
fn write(directory: &Directory, name: &str, text: &str) -> Result<PathBuf, ServiceError> {
    let path = directory.path().join(name);
    std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    Ok(path)
}

/// An Alertmanager that notifies one address at once.
#[derive(Debug)]
pub struct Alertmanager {
    server: Server,
    port: u16,
}

impl Alertmanager {
    /// Starts one that posts what it is told to the webhook `notify`.
    ///
    /// # Errors
    /// [`ServiceError`]; without the program, what builds it.
    pub async fn start(notify: &str) -> Result<Self, ServiceError> {
        let mut started = Self::new(notify, "")?;
        started.resume().await?;
        Ok(started)
    }

    /// As [`Self::start`], with TLS: a certificate for 127.0.0.1 and its key. It is not waited for, and cannot be asked.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_tls(notify: &str, certificate: &str, key: &str) -> Result<Self, ServiceError> {
        let mut started = Self::new(notify, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")?;
        write(&started.server.directory, "cert.pem", certificate)?;
        write(&started.server.directory, "key.pem", key)?;
        let log = started.server.directory.path().join("log");
        started.server.process = Some(started.server.program.start(log)?);
        Ok(started)
    }

    fn new(notify: &str, web: &str) -> Result<Self, ServiceError> {
        let directory = Directory::new("alertmanager")?;
        let [port] = free_ports()?;
        let config = format!(
            "route: {{receiver: test, group_by: [alertname, namespace, feature_view], group_wait: 0s, group_interval: 1s}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: \"{notify}\", send_resolved: true}}]}}]\n"
        );
        let program = program("alertmanager")?
            .arg(format!("--config.file={}", write(&directory, "config.yaml", &config)?.display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .arg(format!("--web.config.file={}", write(&directory, "web.yaml", web)?.display()))
            .args([format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address=".to_owned()]);
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        Ok(Self { server: Server { process: None, program, ready, directory }, port })
    }

    /// `http://127.0.0.1:port`, the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `https://127.0.0.1:port`, of one with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The alerts that it holds to go on.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn alerts(&self) -> Result<Vec<Value>, String> {
        let answer = get(format!("{}/api/v2/alerts", self.url())).await?;
        answer.as_array().cloned().ok_or_else(|| answer.to_string())
    }

    /// Kills it.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn stop(&mut self) -> Result<(), ServiceError> {
        self.server.stop().await
    }

    /// Starts it again; it remembers no alert.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn resume(&mut self) -> Result<(), ServiceError> {
        self.server.resume().await
    }
}

/// A Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    port: u16,
}

impl Prometheus {
    /// Starts one with this configuration, beside which stands a file `rules.yaml`.
    ///
    /// # Errors
    /// [`ServiceError`]; without the program, what builds it.
    pub async fn start(config: &str, rules: &str) -> Result<Self, ServiceError> {
        let directory = Directory::new("prometheus")?;
        let [port] = free_ports()?;
        write(&directory, "rules.yaml", rules)?;
        let program = program("prometheus")?
            .arg(format!("--config.file={}", write(&directory, "config.yaml", config)?.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        let mut server = Server { process: None, program, ready, directory };
        server.resume().await?;
        Ok(Self { server, port })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a query answers now: the series with their values.
    ///
    /// # Errors
    /// What it said instead, such as what in the query does not parse.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut encoded = String::with_capacity(query.len() * 2);
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                encoded.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        let answer = get(format!("{}/api/v1/query?query={encoded}", self.url())).await?;
        if answer["status"] != "success" {
            return Err(format!("{query}: {}", answer["error"]));
        }
        answer["data"]["result"].as_array().cloned().ok_or_else(|| answer.to_string())
    }

    /// The alerts of its rules, pending and firing.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn alerts(&self) -> Result<Vec<Value>, String> {
        let answer = get(format!("{}/api/v1/alerts", self.url())).await?;
        answer["data"]["alerts"].as_array().cloned().ok_or_else(|| answer.to_string())
    }

    /// What it scrapes, and whether that goes well.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn targets(&self) -> Result<Vec<Value>, String> {
        let answer = get(format!("{}/api/v1/targets?state=active", self.url())).await?;
        answer["data"]["activeTargets"].as_array().cloned().ok_or_else(|| answer.to_string())
    }

    /// Kills it.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn stop(&mut self) -> Result<(), ServiceError> {
        self.server.stop().await
    }
}
