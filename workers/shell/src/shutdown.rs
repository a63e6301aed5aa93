//! The way from a signal to a stop: SIGTERM or SIGINT cancels one token, which everything that runs watches.
//! And the way to say why, at the end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once, for a person who will not
/// wait for the drain.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "draining");
        cancel.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("second signal: leaving without the drain");
        std::process::exit(130);
    });
    Ok(token)
}

/// Where Kubernetes looks for why a container ended; nothing is there outside of it.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// The longest text that it keeps.
const MAX_LAST_WORDS: usize = 4096;

/// Leaves why the process ends where `kubectl describe pod` shows it. Nothing happens outside of Kubernetes.
pub fn last_words(why: &str) {
    let end = (0..=why.len().min(MAX_LAST_WORDS)).rev().find(|i| why.is_char_boundary(*i)).unwrap_or(0);
    // Never created: on a person's machine it is only a device folder.
    if let Ok(mut log) = std::fs::OpenOptions::new().write(true).open(TERMINATION_LOG) {
        // Who ends has nobody to tell that even this failed.
        drop(std::io::Write::write_all(&mut log, &why.as_bytes()[..end]));
    }
}
