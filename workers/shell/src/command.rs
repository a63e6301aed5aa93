//! Programs that do one thing unless a command says otherwise.

use std::ffi::OsString;

/// The words of a command line, with the command `default` where they name none of `commands`.
///
/// To clap a program's own flags would be optional then, and a variable of the environment that one of them takes would count
/// as given: `HOSTNAME` is set in every pod.
#[must_use]
pub fn with_command(mut words: Vec<OsString>, default: &str, commands: &[&str]) -> Vec<OsString> {
    let help = ["help", "-h", "--help", "-V", "--version"];
    let named = |word: &OsString| word == default || commands.iter().chain(&help).any(|name| word == name);
    if !words.get(1).is_some_and(named) {
        words.insert(words.len().min(1), default.into());
    }
    words
}
