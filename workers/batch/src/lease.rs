//! The lease of one revision's publication: at most one run writes, and one that lost it writes nothing more.
//!
//! The lease is a key whose value is the holder's token and which expires unless it is renewed. Holding it is no promise
//! but a condition: every write of [`crate::publish`] checks the token inside the server, in the same step.
//!
//! It is renewed from a thread of its own, because a thread that folds a million lanes answers nobody for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::{Cmd, cmd};
use shell::redis::{Connection, Connector, RedisError};
use tokio_util::sync::CancellationToken;

/// The longest pause between two looks at another's lease.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Renews or ends a lease. KEYS: the lease. ARGV: the token, milliseconds (0: end it). Answers 1 if it was held.
const RENEW: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) else redis.call('DEL', KEYS[1]) end
return 1
";

/// The key of a revision's lease.
#[must_use]
pub fn lease_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/lease")
}

/// A lease that is being renewed until it is dropped.
#[derive(Debug)]
pub struct Lease {
    key: String,
    token: String,
    number: u64,
    stop: Arc<AtomicBool>,
    lost: CancellationToken,
    renewer: Mutex<Option<JoinHandle<()>>>,
}

/// Of what a lease is asked.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long it lasts without renewal.
    pub length: Duration,
    /// How long to wait for another's.
    pub wait: Duration,
}

impl Lease {
    /// Takes the lease of a revision; `None` if another run held it all the while.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn take(
        connector: &Connector,
        connection: &Connection,
        uid: &str,
        revision: &str,
        terms: Terms,
    ) -> Result<Option<Self>, RedisError> {
        let key = lease_key(uid, revision);
        let number: u64 = connection.run("numbering a lease", cmd("INCR").arg(format!("{key}/number"))).await?;
        // The number alone may come again if the store loses its last writes.
        let token = format!("{number}-{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
        let length = u64::try_from(terms.length.as_millis()).unwrap_or(u64::MAX);
        let start = Instant::now();
        loop {
            let mut set = cmd("SET");
            set.arg(&key).arg(&token).arg("NX").arg("PX").arg(length);
            if connection.run::<Option<String>>("taking the lease", &set).await?.is_some() {
                break;
            }
            if start.elapsed() >= terms.wait {
                return Ok(None);
            }
            let left: i64 = connection.run("looking at another's lease", cmd("PTTL").arg(&key)).await?;
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(10).max(10));
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
        let (stop, lost) = (Arc::<AtomicBool>::default(), CancellationToken::new());
        let renewal = Renewal {
            connector: connector.clone(),
            key: key.clone(),
            token: token.clone(),
            length,
            stop: stop.clone(),
            lost: lost.clone(),
        };
        let renewer = std::thread::spawn(move || renewal.run());
        Ok(Some(Self { key, token, number, stop, lost, renewer: Mutex::new(Some(renewer)) }))
    }

    /// Its key in the store.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What stands there while it is held.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Higher than that of any lease of this revision before.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Resolves when it is known to be lost.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Ends it, so that the next run need not wait.
    ///
    /// # Errors
    /// [`RedisError`]; it then ends by itself.
    pub async fn release(self, connection: &Connection) -> Result<(), RedisError> {
        self.stop();
        let _held: i64 = connection.run("ending the lease", &renew(&self.key, &self.token, 0)).await?;
        Ok(())
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let renewer = self.renewer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(renewer) = renewer {
            renewer.thread().unpark();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop();
    }
}

fn renew(key: &str, token: &str, length: u64) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(RENEW).arg(1).arg(key).arg(token).arg(length);
    call
}

/// What the renewing thread knows.
struct Renewal {
    connector: Connector,
    key: String,
    token: String,
    length: u64,
    stop: Arc<AtomicBool>,
    lost: CancellationToken,
}

impl Renewal {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else {
            self.lost.cancel();
            return;
        };
        let mut connection: Option<Connection> = None;
        let mut renewed = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(self.length / 4));
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            match runtime.block_on(self.renew(&mut connection)) {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => break,
                // It may come back before the lease ends; until then nobody else can have it.
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed");
                    connection = None;
                    if renewed.elapsed() >= Duration::from_millis(self.length) {
                        break;
                    }
                }
            }
        }
        if !self.stop.load(Ordering::Acquire) {
            self.lost.cancel();
        }
    }

    async fn renew(&self, connection: &mut Option<Connection>) -> Result<bool, RedisError> {
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(self.connector.connect().await?),
        };
        Ok(connection.run::<i64>("renewing the lease", &renew(&self.key, &self.token, self.length)).await? == 1)
    }
}
