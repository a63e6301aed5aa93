//! A real Redis, whose last writes can be lost.

use std::path::PathBuf;
use std::time::Duration;

use super::{Directory, Process, Program, ServiceError, free_ports, io};

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A `redis-server` from `PATH`.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    program: Program,
    port: u16,
    directory: Directory,
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Errors
    /// [`ServiceError`]; without `redis-server` in `PATH`, what to install.
    pub async fn start() -> Result<Self, ServiceError> {
        Self::start_with(&[]).await
    }

    /// Starts one that has every write it answered in its append-only file, so that only [`Self::cut_append_only`] loses any.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_append_only() -> Result<Self, ServiceError> {
        let settings = [
            ("appendonly", "yes"),
            // With `everysec`, as production has it, writes wait in memory while an earlier fsync runs, and a kill loses
            // some of them or none. Without, they are with the kernel before they are answered, and a kill loses none.
            ("appendfsync", "no"),
            // The file is never rewritten, so that its tail is always the last writes.
            ("auto-aof-rewrite-percentage", "0"),
        ];
        Self::start_with(&settings).await
    }

    /// Starts one with these settings of `redis.conf`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        let directory = Directory::new("redis")?;
        let [port] = free_ports()?;
        let mut program = Program::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
            .arg(directory.path());
        for (name, value) in settings {
            program = program.arg(format!("--{name}")).arg(*value);
        }
        let mut redis = Self { process: None, program, port, directory };
        redis.resume().await?;
        Ok(redis)
    }

    /// `redis://127.0.0.1:port`, the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running process.
    ///
    /// # Errors
    /// [`ServiceError::Misuse`] while it is stopped.
    pub fn process(&mut self) -> Result<&mut Process, ServiceError> {
        self.process.as_mut().ok_or_else(|| ServiceError::Misuse("Redis is stopped; resume it first".to_owned()))
    }

    /// Kills it, with SIGKILL, and waits until it is gone. What it wrote to its files stays.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn stop(&mut self) -> Result<(), ServiceError> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Starts it again, on the same port and files, and waits until it answers. Running already, it is left alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn resume(&mut self) -> Result<(), ServiceError> {
        if self.process.is_some() {
            return Ok(());
        }
        let started = self.program.start(self.directory.path().join("redis.log"));
        let mut process = started.map_err(|error| match error {
            ServiceError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ServiceError::Missing {
                path: PathBuf::from("redis-server"),
                fix: "install it, for example with apt-get install redis-server".to_owned(),
            },
            other => other,
        })?;
        let client = self.client()?;
        process
            .until("an answer to PING", START_LIMIT, async || {
                // It accepts connections while it still loads its file, but answers no command.
                let mut connection =
                    client.get_multiplexed_async_connection().await.map_err(|error| error.to_string())?;
                match ::redis::cmd("PING").query_async::<String>(&mut connection).await {
                    Ok(_) => Ok(()),
                    // With a password it says so; then it is up as well.
                    Err(error) if error.code() == Some("NOAUTH") => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// [`Self::stop`] and [`Self::resume`].
    ///
    /// # Errors
    /// As those.
    pub async fn restart(&mut self) -> Result<(), ServiceError> {
        self.stop().await?;
        self.resume().await
    }

    /// Runs one command, given in words, on a connection of its own.
    ///
    /// # Errors
    /// [`ServiceError::Redis`] if it is refused or answered by something that is no `T`.
    pub async fn command<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> Result<T, ServiceError> {
        let failed = |source| ServiceError::Redis { command: words.join(" "), source };
        let mut connection = self.client()?.get_multiplexed_async_connection().await.map_err(failed)?;
        let mut command = ::redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.map_err(failed)
    }

    /// How long the append-only file is, as far as it is written.
    ///
    /// # Errors
    /// As [`Self::cut_append_only`].
    pub fn append_only_length(&self) -> Result<u64, ServiceError> {
        let path = self.append_only_file()?;
        let metadata = std::fs::metadata(&path).map_err(io(format!("look at {}", path.display())))?;
        Ok(metadata.len())
    }

    /// Takes the last `bytes` off the append-only file, as a machine that dies with them unsynced would. A write that is
    /// cut in two is lost whole.
    ///
    /// # Errors
    /// [`ServiceError::Misuse`] unless it is stopped, keeps such a file, and the file has that many bytes.
    pub fn cut_append_only(&self, bytes: u64) -> Result<(), ServiceError> {
        if self.process.is_some() {
            return Err(ServiceError::Misuse("stop Redis before its file is cut".to_owned()));
        }
        let length = self.append_only_length()?;
        let kept = length.checked_sub(bytes).ok_or_else(|| {
            ServiceError::Misuse(format!("the append-only file has {length} bytes; {bytes} cannot be cut off"))
        })?;
        let path = self.append_only_file()?;
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.set_len(kept)).map_err(io(format!("cut {}", path.display())))
    }

    /// The file that writes are appended to: since Redis 7 the last incremental one that the manifest names.
    fn append_only_file(&self) -> Result<PathBuf, ServiceError> {
        let folder = self.directory.path().join("appendonlydir");
        let path = folder.join("appendonly.aof.manifest");
        let manifest = std::fs::read_to_string(&path).map_err(io(format!("read {}", path.display())))?;
        let mut names = manifest.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = (words.next() == Some("file")).then(|| words.next()).flatten()?;
            line.ends_with("type i").then_some(name)
        });
        let last =
            names.next_back().ok_or_else(|| ServiceError::Misuse(format!("{} names no file", path.display())))?;
        Ok(folder.join(last))
    }

    fn client(&self) -> Result<::redis::Client, ServiceError> {
        ::redis::Client::open(self.url()).map_err(|source| ServiceError::Redis { command: "open".to_owned(), source })
    }
}
