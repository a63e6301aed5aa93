//! A headless Chromium that a test drives: over a pipe of its own, in the words of its own protocol for tools.
//!
//! Invariants: it ends with the test, however that ends, for it ends when the pipe does; whatever the page's console says as a
//! warning or an error is kept, so that a test can hold that nothing was said.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use thiserror::Error;

use crate::services::{Directory, ServiceError};

/// How long the browser may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a page could not be driven.
#[derive(Debug, Error)]
pub enum BrowserError {
    /// There is none.
    #[error("{program} cannot be started ({source}); apt-get install chromium, or name one in FEATUREMILL_CHROMIUM")]
    Missing {
        /// What was looked for.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or a pipe.
    #[error("cannot {0}: {1}")]
    Io(&'static str, std::io::Error),
    /// The directory of its profile.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It ended, or does not answer.
    #[error("the browser does not answer {0}")]
    Silent(String),
    /// It refuses what was asked.
    #[error("{asked}: {answer}")]
    Refused {
        /// What was asked.
        asked: String,
        /// What it says.
        answer: String,
    },
}

/// How a page is shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Pixels of an image in one of these.
    pub scale: f64,
    /// Whether people prefer it dark.
    pub dark: bool,
}

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    asked: i64,
    /// What the page's console said as a warning or an error.
    pub complaints: Vec<String>,
    _profile: Directory,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// [`BrowserError::Missing`] if there is none.
    pub fn start() -> Result<Self, BrowserError> {
        let program = std::env::var("FEATUREMILL_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile = Directory::new("browser")?;
        // The pipe is of descriptors 3 and 4. It opens pages of the test alone, so that root may do without the sandbox.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, &program])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| BrowserError::Missing { program: program.clone(), source })?;
        let (Some(to), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BrowserError::Silent("its pipe".to_owned()));
        };
        let (told, from) = channel();
        std::thread::spawn(move || {
            // Ends with the pipe, or when nobody listens any more.
            for message in BufReader::new(out).split(0) {
                let Some(message) = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else { return };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let complaints = Vec::new();
        let mut browser = Self { child, to, from, session: None, asked: 0, complaints, _profile: profile };
        let page = browser.ask("Target.createTarget", &json!({"url": "about:blank"})).map_err(|error| match error {
            // A shell that finds no program ends at once.
            BrowserError::Silent(_) => {
                BrowserError::Missing { program, source: std::io::Error::from(std::io::ErrorKind::NotFound) }
            }
            error => error,
        })?;
        let attached = browser.ask("Target.attachToTarget", &json!({"targetId": page["targetId"], "flatten": true}))?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, &json!({}))?;
        }
        Ok(browser)
    }

    /// Shows pages like this from now on.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub fn screen(&mut self, screen: Screen) -> Result<(), BrowserError> {
        let Screen { width, height, scale, dark } = screen;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", &metrics)?;
        let features = json!([
            {"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.ask("Emulation.setEmulatedMedia", &json!({"features": features})).map(drop)
    }

    /// Opens a page.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub fn open(&mut self, url: &str) -> Result<(), BrowserError> {
        let answer = self.ask("Page.navigate", &json!({"url": url}))?;
        match answer["errorText"].as_str() {
            Some(problem) => Err(BrowserError::Refused { asked: url.to_owned(), answer: problem.to_owned() }),
            None => self.until("document.readyState === 'complete'").map(drop),
        }
    }

    /// What an expression of the page is, awaited.
    ///
    /// # Errors
    /// What it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value, BrowserError> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", &parameters)?;
        if answer.get("exceptionDetails").is_some() {
            let said = &answer["exceptionDetails"]["exception"]["description"];
            return Err(BrowserError::Refused { asked: expression.to_owned(), answer: said.to_string() });
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression of the page is true, and answers with what it is.
    ///
    /// # Errors
    /// If it never is; the page's text is then told.
    pub fn until(&mut self, expression: &str) -> Result<Value, BrowserError> {
        let seconds = PATIENCE.as_secs() - 5;
        self.evaluate(&format!(
            "new Promise((yes, no) => {{ const start = performance.now(); const look = () => {{ \
             let value; try {{ value = ({expression}); }} catch {{ value = false; }} \
             if (value) yes(value); else if (performance.now() - start > {seconds}e3) \
             no(new Error('never true; the page says: ' + document.body.innerText.slice(0, 2000))); \
             else setTimeout(look, 10); }}; look(); }})"
        ))
    }

    /// Presses a key, by its name, such as `j` or `Escape`.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub fn press(&mut self, key: &str) -> Result<(), BrowserError> {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowDown" => 40,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "Tab" => 9,
            _ => i64::from(key.bytes().next().unwrap_or_default().to_ascii_uppercase()),
        };
        let mut down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        match key {
            "Enter" => down["text"] = json!("\r"),
            key if key.chars().count() == 1 => down["text"] = json!(key),
            _ => {}
        }
        self.ask("Input.dispatchKeyEvent", &down)?;
        let up = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.ask("Input.dispatchKeyEvent", &up).map(drop)
    }

    /// Writes what is seen as a PNG.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn picture(&mut self, path: &Path) -> Result<(), BrowserError> {
        let answer = self.ask("Page.captureScreenshot", &json!({"format": "png"}))?;
        let bytes: ByteString = serde_json::from_value(answer["data"].clone())
            .map_err(|error| BrowserError::Refused { asked: "a picture".to_owned(), answer: error.to_string() })?;
        std::fs::write(path, bytes.0).map_err(|error| BrowserError::Io("write a picture", error))
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value, BrowserError> {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let silent = || BrowserError::Silent(method.to_owned());
        write!(self.to, "{message}\0").and_then(|()| self.to.flush()).map_err(|_| silent())?;
        let end = Instant::now() + PATIENCE;
        loop {
            let mut answer = match self.from.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(silent()),
            };
            if answer["id"] != json!(id) {
                self.complaints.extend(complaint(&answer));
            } else if let Some(error) = answer.get("error") {
                return Err(BrowserError::Refused { asked: method.to_owned(), answer: error.to_string() });
            } else {
                return Ok(answer["result"].take());
            }
        }
    }
}

/// What an event says that should not be.
fn complaint(event: &Value) -> Option<String> {
    let told = &event["params"];
    let wrong = |level: &Value| ["error", "warning", "assert"].contains(&level.as_str().unwrap_or_default());
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(told["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if wrong(&told["type"]) => Some(told["args"].to_string()),
        "Log.entryAdded" if wrong(&told["entry"]["level"]) => Some(told["entry"].to_string()),
        _ => None,
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is not reaped yet, so that the process is ours; one that ended by itself is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
