//! What a person sees of a view: kubectl's own words and the console in a browser.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::browser::{Browser, Screen as Window};
use e2e::control_plane::{ControlPlane, cache_directory};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::page::{Fault, Screen, Shown};
use crate::console::Console;
use crate::fixtures::VIEW;
use crate::world::{PATIENCE, World};

/// A line of the list with the shape before it that docs/console.md explains, and the alerts of the view that is open.
const CONSOLE: &str = "(() => { \
    const shapes = { critical: '◆', stalled: '■', warning: '▲', progressing: '▶', held: '❚❚', healthy: '●' }; \
    const row = document.querySelector('.row'); \
    const shape = Object.keys(shapes).find(name => row.classList.contains(name)); \
    const alerts = document.querySelector('[data-section=alerts]'); \
    return [shapes[shape], row.innerText, alerts ? alerts.innerText : ''].join('\\n'); })()";

pub struct Screens {
    kubeconfig: NamedTempFile,
    cache: TempDir,
    console: Console,
    browser: Browser,
    namespace: String,
}

impl Screens {
    pub async fn of(world: &World) -> Self {
        let mut config: Value = serde_json::from_str(&ControlPlane::shared().unwrap().kubeconfig()).unwrap();
        config["contexts"][0]["context"]["namespace"] = json!(world.namespace);
        let kubeconfig = NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), config.to_string()).unwrap();
        let console = Console::start(world.client.clone(), Some(world.namespace.clone())).await;
        let mut browser = Browser::start().unwrap_or_else(|error| panic!("{error}"));
        browser.screen(Window { width: 1440, height: 900, scale: 1.0, dark: false }).unwrap();
        let cache = tempfile::tempdir().unwrap();
        Self { kubeconfig, cache, console, browser, namespace: world.namespace.clone() }
    }

    /// Types commands, and answers with what they print.
    pub async fn typed(&self, commands: &str) -> Result<String, String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", commands])
            .env("PATH", format!("{path}:{}", cache_directory().join("bin").display()))
            .env("KUBECONFIG", self.kubeconfig.path())
            .env("KUBECACHEDIR", self.cache.path());
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Plays until all screens show what the page says that they show.
    pub async fn show(&mut self, shown: &[Shown], names: &[(String, String)], play: impl AsyncFn()) {
        let mut names = names.to_vec();
        names.push((self.namespace.clone(), "shop".to_owned()));
        let start = Instant::now();
        loop {
            play().await;
            let (mut wrong, mut seen) = (Vec::new(), String::new());
            for one in shown {
                let screen = match &one.screen {
                    Screen::Prints(command) => self.typed(command).await.unwrap_or_else(|error| error),
                    Screen::Console => self.in_the_console(),
                };
                wrong.extend(one.agrees(&screen, &names).err());
                seen = format!("{seen}{:?}\n{screen}\n", one.screen);
            }
            if wrong.is_empty() {
                // With --nocapture, to write the page from.
                println!("{seen}");
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{}", wrong.join("\n\n"));
            // Neither kubectl nor a browser has an event for what a person waits to see.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn in_the_console(&mut self) -> String {
        self.open();
        self.browser
            .evaluate(CONSOLE)
            .map_or_else(|e| e.to_string(), |text| text.as_str().unwrap_or_default().to_owned())
    }

    fn open(&mut self) {
        let url = format!("{}/#/{}/{VIEW}", self.console.url, self.namespace);
        let there = format!("location.href === {url:?}");
        if self.browser.evaluate(&there).ok() != Some(json!(true)) {
            self.browser.open(&url).unwrap();
        }
        self.browser.until("document.querySelector('.row') && document.querySelector('#title')").unwrap();
    }

    /// The alert's own link leads to the page's runbook.
    pub fn leads_to(&mut self, fault: &Fault) {
        self.open();
        self.browser.evaluate("document.querySelector('.alert .link').click()").unwrap();
        self.browser
            .until("document.querySelector('#dialog').open && document.querySelector('#dialog-body *')")
            .unwrap();
        let title = self.browser.evaluate("document.querySelector('#dialog-title').innerText").unwrap();
        assert_eq!(title, json!(fault.runbook));
        let text = self.browser.evaluate("document.querySelector('#dialog-body').innerText").unwrap();
        assert!(!text.as_str().unwrap().contains("cannot be shown"), "{text}");
        self.browser.press("Escape").unwrap();
        self.browser.until("!document.querySelector('#dialog').open").unwrap();
    }

    pub async fn close(self) {
        drop(self.browser);
        self.console.stop().await;
    }
}
