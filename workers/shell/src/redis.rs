//! Redis: settings from a URL and a mounted Secret, and a connection that never reconnects behind anyone's back.
//!
//! Invariant: a [`Connection`] speaks to one run of one server, or of each master of a Redis Cluster. When it breaks, or an
//! answer does not come in time, or a master no longer holds what it held, every later call on it and on its clones fails;
//! only [`Connector::connect`] makes a new one, whose [`Identity`] tells whether the servers are still the same. Who keeps
//! state about what the store holds must be told of every break.

mod keys;
mod servers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, Pipeline, TlsCertificates, Value, cmd,
};
use thiserror::Error;

use self::servers::{Master, Servers, Unanswered, parse_slots};
use crate::config_dir::{self, ConfigDirError};

/// How long a server may take to answer unless [`Connector::with_response_timeout`] says otherwise.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Server errors that pass by themselves, or with a new connection; they are treated as if the server were away.
const PASSING: [&str; 8] = ["LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "BUSY", "MOVED", "ASK"];

/// Why Redis did not do what was asked.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The URL does not parse.
    #[error("redis URL {url:?}: {detail}; write redis://host:6379 or rediss://host:6379 for TLS")]
    Url {
        /// The URL without credentials.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// The folder of credentials cannot be read or used.
    #[error("redis credentials: {0}")]
    Config(#[from] ConfigDirError),
    /// A credential is not text.
    #[error("redis credentials: {name} in {dir} is not UTF-8 text")]
    NotText {
        /// The file's name.
        name: String,
        /// Its folder.
        dir: PathBuf,
    },
    /// The server does not answer, or not in time; it may come back.
    #[error("redis at {url} is away while {doing}: {detail}")]
    Away {
        /// The URL without credentials.
        url: String,
        /// What was being done.
        doing: &'static str,
        /// What the client or server says.
        detail: String,
    },
    /// The server answers with an error.
    #[error("redis at {url} refuses {doing}: {detail}")]
    Refused {
        /// The URL without credentials.
        url: String,
        /// What was being done.
        doing: &'static str,
        /// What the server says.
        detail: String,
    },
}

impl RedisError {
    /// Whether only a new connection can help.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// Which run of which server a connection speaks to; of a cluster those of all masters, joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// New with every start of the process.
    pub run_id: String,
    /// The history of writes; new after a failover and after a restart that did not restore it.
    pub replication_id: String,
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    url: String,
    shown: Arc<str>,
    config_dir: Option<PathBuf>,
    settings: BTreeMap<String, Vec<u8>>,
    response_timeout: Duration,
}

impl fmt::Debug for Connector {
    /// Without credentials, of the URL as of the settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("url", &self.shown)
            .field("config_dir", &self.config_dir)
            .field("settings", &self.settings.keys())
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector to `url`, with `username`, `password`, `ca.crt` (PEM, replaces the system's roots), and `tls.crt` with
    /// `tls.key` for mutual TLS, from `config_dir` where they exist.
    ///
    /// # Errors
    /// [`RedisError::Url`].
    pub fn new(url: &str, config_dir: Option<&Path>) -> Result<Self, RedisError> {
        install_crypto();
        let shown: Arc<str> = without_credentials(url).into();
        url.into_connection_info()
            .map_err(|error| RedisError::Url { url: shown.to_string(), detail: error.to_string() })?;
        Ok(Self {
            url: url.to_owned(),
            shown,
            config_dir: config_dir.map(Path::to_owned),
            settings: BTreeMap::new(),
            response_timeout: RESPONSE_TIMEOUT,
        })
    }

    /// A connector to `url` with the same settings, by name, from memory instead of a folder: for who reads the Secret itself.
    ///
    /// # Errors
    /// [`RedisError::Url`].
    pub fn with_settings(url: &str, settings: BTreeMap<String, Vec<u8>>) -> Result<Self, RedisError> {
        Ok(Self { settings, ..Self::new(url, None)? })
    }

    /// Another limit for each answer.
    #[must_use]
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// A new connection: to the server, or, if it is one of a Redis Cluster, to all masters of that. Credentials are read anew
    /// each time, so that a rotated Secret is seen.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn connect(&self) -> Result<Connection, RedisError> {
        let seed = self.open(None).await?;
        let mut connection = Connection {
            servers: Servers::One(seed.clone()),
            shown: self.shown.clone(),
            broken: Arc::default(),
            identity: Arc::new(Identity { run_id: String::new(), replication_id: String::new() }),
        };
        let server: String = connection.run("asking who it is (INFO)", cmd("INFO").arg("server")).await?;
        if info_field(&server, "redis_mode") == Some("cluster") {
            let answer: Value =
                connection.run("asking for masters (CLUSTER SLOTS)", cmd("CLUSTER").arg("SLOTS")).await?;
            connection.servers = Servers::Cluster(self.masters(&answer).await?);
        }
        connection.identity = Arc::new(connection.observe_identity().await?);
        Ok(connection)
    }

    /// Connections to the masters that a cluster names.
    async fn masters(&self, answer: &Value) -> Result<Vec<Master>, RedisError> {
        let doing = "asking for masters (CLUSTER SLOTS)";
        let asked = match self.url.as_str().into_connection_info().as_ref().map(ConnectionInfo::addr) {
            Ok(ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
            _ => String::new(),
        };
        // A cluster that is being made, or that lost a master, may be whole in a while.
        let away = |detail| RedisError::Away { url: self.shown.to_string(), doing, detail };
        let mut masters = Vec::new();
        for (address, slots) in parse_slots(answer, &asked).map_err(away)? {
            masters.push(Master { connection: self.open(Some(address)).await?, slots });
        }
        Ok(masters)
    }

    /// Connects to one server: that of the URL, or another of its cluster.
    async fn open(&self, other: Option<(String, u16)>) -> Result<MultiplexedConnection, RedisError> {
        let at = other.as_ref().map(|(host, port)| format!("connecting to {host}:{port}: "));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.response_timeout))
            .set_write_backpressure_boundary(256 * 1024);
        let client = self.client(other)?;
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| {
            match (classify(&self.shown, "connecting", &error), at) {
                // Which of a cluster's servers it was.
                (RedisError::Away { url, doing, detail }, Some(at)) => {
                    RedisError::Away { url, doing, detail: at + &detail }
                }
                (error, _) => error,
            }
        })
    }

    fn client(&self, other: Option<(String, u16)>) -> Result<Client, RedisError> {
        let failed =
            |error: redis::RedisError| RedisError::Url { url: self.shown.to_string(), detail: error.to_string() };
        let mut info: ConnectionInfo = self.url.as_str().into_connection_info().map_err(failed)?;
        if let Some((host, port)) = other {
            let address = match info.addr() {
                ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                    ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
                }
                _ => ConnectionAddr::Tcp(host, port),
            };
            info = info.set_addr(address);
        }
        let mut settings = match &self.config_dir {
            Some(dir) => config_dir::read(dir)?,
            None => self.settings.clone(),
        };
        let mut text = |name: &str| -> Result<Option<String>, RedisError> {
            settings.remove(name).map(String::from_utf8).transpose().map_err(|_| RedisError::NotText {
                name: name.to_owned(),
                dir: self.config_dir.clone().unwrap_or_default(),
            })
        };
        let mut account = info.redis_settings().clone();
        if let Some(username) = text("username")? {
            account = account.set_username(username);
        }
        if let Some(password) = text("password")? {
            account = account.set_password(password);
        }
        info = info.set_redis_settings(account);
        let root_cert = settings.remove("ca.crt");
        let client_tls = match (settings.remove("tls.crt"), settings.remove("tls.key")) {
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            _ => None,
        };
        if self.url.starts_with("rediss") && (root_cert.is_some() || client_tls.is_some()) {
            Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(failed)
        } else {
            Client::open(info).map_err(failed)
        }
    }
}

/// A connection to one run of one server, or of each master of a cluster. Clones share it, and interleave their commands.
#[derive(Clone)]
pub struct Connection {
    servers: Servers,
    shown: Arc<str>,
    broken: Arc<AtomicBool>,
    identity: Arc<Identity>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("url", &self.shown).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Connection {
    /// Who answered when the connection was made.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who answers now: a failover behind a proxy changes it without breaking the connection.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn observe_identity(&self) -> Result<Identity, RedisError> {
        let doing = "asking who it is (INFO)";
        self.whole(doing)?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("server").cmd("INFO").arg("replication");
        let asked = self.servers.each().into_iter().map(|mut one| {
            let pipeline = &pipeline;
            async move { pipeline.query_async::<(String, String)>(&mut one).await }
        });
        let told = try_join_all(asked).await.map_err(|error| self.failed(doing, Unanswered::Redis(error)))?;
        if told.iter().any(|(_, replication)| info_field(replication, "role") == Some("slave")) {
            let detail = "it is a replica; rows are written to and read from the master".to_owned();
            return Err(RedisError::Away { url: self.shown.to_string(), doing, detail });
        }
        let all = |field: &dyn Fn(&(String, String)) -> String| told.iter().map(field).collect::<Vec<_>>().join(",");
        Ok(Identity {
            run_id: all(&|(server, _)| info_field(server, "run_id").unwrap_or_default().to_owned()),
            replication_id: all(&|(_, told)| info_field(told, "master_replid").unwrap_or_default().to_owned()),
        })
    }

    /// Runs one command; `doing` says what for, in errors. On a cluster one without a key is run by every master.
    ///
    /// # Errors
    /// [`RedisError::Away`] or [`RedisError::Refused`].
    pub async fn run<T: FromRedisValue>(&self, doing: &'static str, command: &Cmd) -> Result<T, RedisError> {
        self.whole(doing)?;
        self.servers.run(command).await.map_err(|error| self.failed(doing, error))
    }

    /// Runs many commands in one round trip, all of keys of one UID. The first error is the error of all. An answer for each
    /// command is given: on a cluster `Pipeline::ignore` means nothing.
    ///
    /// # Errors
    /// [`RedisError::Away`] or [`RedisError::Refused`].
    pub async fn pipeline<T: FromRedisValue>(&self, doing: &'static str, commands: &Pipeline) -> Result<T, RedisError> {
        self.whole(doing)?;
        self.servers.pipeline(commands).await.map_err(|error| self.failed(doing, error))
    }

    /// Runs one command without keys on every server; an answer of each.
    ///
    /// # Errors
    /// [`RedisError::Away`] or [`RedisError::Refused`].
    pub async fn each<T: FromRedisValue>(&self, doing: &'static str, command: &Cmd) -> Result<Vec<T>, RedisError> {
        self.whole(doing)?;
        let asked = self.servers.each().into_iter().map(|mut one| async move { command.query_async(&mut one).await });
        try_join_all(asked).await.map_err(|error| self.failed(doing, Unanswered::Redis(error)))
    }

    /// Puts scripts into the server's cache, so that a pipeline can call them by `EVALSHA`; gives their hashes. A server
    /// keeps them for as long as it runs, unless somebody flushes them: then calls are [refused](is_no_script).
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn load_scripts<const N: usize>(&self, scripts: [&str; N]) -> Result<[String; N], RedisError> {
        let mut pipeline = redis::pipe();
        for script in scripts {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let hashes: Vec<String> = self.pipeline("loading scripts", &pipeline).await?;
        hashes.try_into().map_err(|_| RedisError::Refused {
            url: self.shown.to_string(),
            doing: "loading scripts",
            detail: "it answered with another number of hashes".to_owned(),
        })
    }

    /// An error for an answer that has the wrong shape.
    #[must_use]
    pub fn unexpected(&self, doing: &'static str, detail: impl Into<String>) -> RedisError {
        RedisError::Refused { url: self.shown.to_string(), doing, detail: detail.into() }
    }

    fn whole(&self, doing: &'static str) -> Result<(), RedisError> {
        if self.broken.load(Ordering::Acquire) {
            let detail = "the connection broke before".to_owned();
            return Err(RedisError::Away { url: self.shown.to_string(), doing, detail });
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, error: Unanswered) -> RedisError {
        let error = match error {
            Unanswered::Redis(error) => classify(&self.shown, doing, &error),
            Unanswered::NoPlace(detail) => RedisError::Refused { url: self.shown.to_string(), doing, detail },
        };
        if error.is_away() {
            self.broken.store(true, Ordering::Release);
        }
        error
    }
}

/// Whether an error says that a script must be [loaded](Connection::load_scripts) again.
#[must_use]
pub fn is_no_script(error: &RedisError) -> bool {
    matches!(error, RedisError::Refused { detail, .. } if detail.contains("NOSCRIPT") || detail.contains("NoScript"))
}

/// The value of a line `name:value` of an `INFO` answer.
#[must_use]
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Makes one crypto provider the process's own. Two providers are compiled in by different dependencies, and rustls will
/// not choose between them; a provider that somebody installed before stays.
pub fn install_crypto() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

fn classify(url: &str, doing: &'static str, error: &redis::RedisError) -> RedisError {
    let code = error.code().unwrap_or_default();
    let away = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || PASSING.contains(&code);
    let (url, detail) = (url.to_owned(), error.to_string());
    if away { RedisError::Away { url, doing, detail } } else { RedisError::Refused { url, doing, detail } }
}

fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => "without a scheme".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_never_show_credentials() {
        assert_eq!(without_credentials("redis://ada:hunter2@r:6379/0"), "redis://r:6379/0");
        let error = Connector::new("http://ada:hunter2@r:6379", None).unwrap_err().to_string();
        assert!(error.contains("http://r:6379") && !error.contains("hunter2"), "{error}");
        let settings = BTreeMap::from([("password".to_owned(), b"hunter2".to_vec())]);
        let connector = Connector::with_settings("redis://ada:hunter2@r:6379", settings).unwrap();
        let shown = format!("{connector:?}");
        let bytes = format!("{:?}", b"hunter2");
        assert!(shown.contains("redis://r:6379") && shown.contains("password"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains(&bytes), "{shown}");
    }

    #[test]
    fn info_fields_are_whole_names() {
        let info = "# Server\r\nrun_id:abc\r\nrun_id2:def\r\n";
        assert_eq!(info_field(info, "run_id"), Some("abc"));
        assert_eq!(info_field(info, "run"), None);
    }

    #[tokio::test]
    async fn nobody_there_is_away() {
        // Port 1 is reserved and refuses.
        let error = Connector::new("redis://127.0.0.1:1", None).unwrap().connect().await.unwrap_err();
        assert!(error.is_away(), "{error}");
    }
}
