//! Child processes: started with a log, signalled, awaited, and never left behind.
//!
//! Invariant: a child is signalled only while it has not been reaped, so that its process id cannot be another's. If
//! this process dies in any way, the pipe to the child's guardian closes, and the guardian kills exactly that child.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{ServiceError, io, until};

/// How many lines of its log an error shows.
const TAIL_LINES: usize = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in errors.
    pub name: String,
    /// The executable, looked up in `PATH` if it is a bare name.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What is added to this process's environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program without arguments.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
        Self { name, path, arguments: Vec::new(), environment: Vec::new() }
    }

    /// A binary of this workspace: in `FEATUREMILL_BIN_DIR`, or else beside the running test.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it has not been built.
    pub fn of_workspace(name: &str) -> Result<Self, ServiceError> {
        let directory = if let Some(directory) = std::env::var_os("FEATUREMILL_BIN_DIR") {
            PathBuf::from(directory)
        } else {
            let test = std::env::current_exe().map_err(io("find the running test"))?;
            let directory = test.parent().unwrap_or(Path::new("."));
            // Tests stand in `deps` beside the binaries.
            if directory.ends_with("deps") { directory.join("..") } else { directory.to_path_buf() }
        };
        let path = directory.join(name);
        if path.exists() {
            return Ok(Self::new(path));
        }
        let fix = format!("run cargo build --bin {name}, or name its folder in FEATUREMILL_BIN_DIR");
        Err(ServiceError::Missing { path, fix })
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it; its output is appended to `log`.
    ///
    /// # Errors
    /// [`ServiceError::Io`] if the log cannot be written or the executable not be run.
    pub fn start(&self, log: impl Into<PathBuf>) -> Result<Process, ServiceError> {
        let log = log.into();
        let open = OpenOptions::new().create(true).append(true).open(&log);
        let out = open.map_err(io(format!("write {}", log.display())))?;
        let error = out.try_clone().map_err(io(format!("write {}", log.display())))?;
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error)
            .spawn()
            .map_err(io(format!("run {}", self.path.display())))?;
        let guardian = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -9 \"$1\"", "guardian"])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match guardian {
            Ok(guardian) => Ok(Process { name: self.name.clone(), log, child, guardian, status: None }),
            Err(error) => {
                end(&mut child);
                Err(io("start the guardian of a process")(error))
            }
        }
    }
}

/// What a process can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end in order.
    Terminate,
    /// SIGKILL: end at once.
    Kill,
    /// SIGSTOP: stand still, as a machine that is too busy.
    Stop,
    /// SIGCONT: go on.
    Continue,
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    /// Holds the pipe whose closing kills the child.
    guardian: Child,
    /// Known once the child is reaped.
    status: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// [`ServiceError::Io`] if the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ServiceError> {
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(io(format!("ask for the state of {}", self.name)))?;
            if self.status.is_some() {
                // The child's id may soon be another's: nobody may kill by it any more.
                end(&mut self.guardian);
            }
        }
        Ok(self.status)
    }

    /// Sends a signal. A process that has ended is sent nothing.
    ///
    /// # Errors
    /// [`ServiceError::Io`] if it cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServiceError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let action = format!("send {name} to {}", self.name);
        let status = Command::new("kill").arg(name).arg(self.id().to_string()).status().map_err(io(action.clone()))?;
        if status.success() { Ok(()) } else { Err(io(action)(std::io::Error::other(status.to_string()))) }
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// As [`Self::signal`] and [`Self::wait`].
    pub async fn kill(&mut self) -> Result<ExitStatus, ServiceError> {
        self.signal(Signal::Kill)?;
        self.wait(Duration::from_secs(10)).await
    }

    /// Asks it to end and waits until it has, for at most `limit`.
    ///
    /// # Errors
    /// As [`Self::signal`] and [`Self::wait`].
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, ServiceError> {
        self.signal(Signal::Terminate)?;
        self.wait(limit).await
    }

    /// Waits until it has ended, for at most `limit`.
    ///
    /// # Errors
    /// [`ServiceError::TooLong`] with the end of its log.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus, ServiceError> {
        let what = format!("the end of {}", self.name);
        until(&what, limit, async || match self.ended() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("its end of log:\n{}", self.log_tail())),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Asks `probe` until it is `Ok`, for at most `limit`; at once an error if the process ends meanwhile.
    ///
    /// # Errors
    /// [`ServiceError::Ended`] or [`ServiceError::TooLong`], both with the end of the log.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Result<T, String>,
    ) -> Result<T, ServiceError> {
        let awaited = format!("{what} of {}", self.name);
        until(&awaited, limit, async || {
            if let Some(status) = self.ended().map_err(|error| error.to_string())? {
                let (program, what, log) = (self.name.clone(), what.to_owned(), self.log_tail());
                return Ok(Err(ServiceError::Ended { program, status, what, log }));
            }
            match probe().await {
                Ok(value) => Ok(Ok(value)),
                Err(last) => Err(format!("{last}; its end of log:\n{}", self.log_tail())),
            }
        })
        .await?
    }

    /// Waits until a GET of `url` is answered with 200.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub async fn until_ok(&mut self, url: &str, limit: Duration) -> Result<(), ServiceError> {
        self.until(&format!("200 from {url}"), limit, async || {
            let url = url.to_owned();
            let get = move || match ureq::get(&url).call() {
                Ok(answer) if answer.status() == 200 => Ok(()),
                Ok(answer) => Err(format!("it answered {}", answer.status())),
                Err(error) => Err(error.to_string()),
            };
            tokio::task::spawn_blocking(get).await.unwrap_or_else(|error| Err(error.to_string()))
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guardian first: it must not outlive the child's claim to its id.
        end(&mut self.guardian);
        if self.status.is_none() {
            end(&mut self.child);
        }
    }
}

/// Kills and reaps. A child that has ended already is only reaped, and nothing can be done about one that cannot be.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
