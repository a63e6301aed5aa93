//! What a person sees while something takes long: a spinner with the elapsed time, or a bar; plain lines where there is no
//! terminal.

use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A long step under way.
pub struct Step {
    bar: ProgressBar,
    what: String,
    started: Instant,
}

impl Step {
    /// Begins a step of unknown length.
    #[must_use]
    pub fn begin(what: &str) -> Self {
        Self::with(ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})", what)
    }

    /// Begins a step of `total` parts.
    #[must_use]
    pub fn bar(what: &str, total: u64) -> Self {
        Self::with(ProgressBar::new(total), "{spinner} {msg} {wide_bar} {human_pos}/{human_len} ({elapsed})", what)
    }

    fn with(bar: ProgressBar, template: &str, what: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if !std::io::stderr().is_terminal() {
            eprintln!("  … {what}");
        }
        Self { bar, what: what.to_owned(), started: Instant::now() }
    }

    /// Moves the bar on.
    pub fn advance(&self, parts: u64) {
        self.bar.inc(parts);
    }

    /// Shows what is being waited for.
    pub fn note(&self, note: &str) {
        self.bar.set_message(format!("{}: {note}", self.what));
    }

    /// Ends the step with a line that stays.
    pub fn done(self, result: &str) {
        self.bar.finish_and_clear();
        println!("  ✓ {} {result} ({:.1} s)", self.what, self.started.elapsed().as_secs_f64());
    }
}

/// Asks `look` every 200 ms until it gives a value, or says at the deadline what it was last told.
///
/// # Errors
/// The last message of `look`, with what was awaited, when `within` is over.
pub async fn wait_for<T, F, R>(what: &str, within: Duration, mut look: F) -> Result<T, String>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                return Err(format!("{what}: not within {} s; last seen: {last}", within.as_secs()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
