//! The command line.

use clap::{Parser, Subcommand};

/// Watch feature views, roll them out and back, and read features.
#[derive(Debug, Parser)]
#[command(name = "featuremill", version)]
pub struct Args {
    /// The namespace; that of the kubeconfig's context if it is not given.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,

    /// The kubeconfig's context; the current one if it is not given.
    #[arg(long, global = true)]
    pub context: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Where views stand: what serves, what is on its way, what it waits for.
    Status {
        /// One view; all of the namespace if it is not given.
        view: Option<String>,
        /// Goes on showing it until the rollout is over.
        #[arg(short, long, requires = "view")]
        watch: bool,
    },
    /// The revisions of a view that are remembered.
    History {
        /// The view.
        view: String,
    },
    /// Let the candidate take over once it has caught up.
    Promote {
        /// The view.
        view: String,
    },
    /// Give the candidate up; what serves goes on.
    Abort {
        /// The view.
        view: String,
    },
    /// Try a candidate again that was given up.
    Retry {
        /// The view.
        view: String,
    },
    /// Go back to the revision before, at once while it is kept.
    Rollback {
        /// The view.
        view: String,
        /// Another revision of the history: it is computed anew, and serves once it has caught up.
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
    },
    /// Take a pin or a rollback back: what the spec describes is rolled out again.
    Unpin {
        /// The view.
        view: String,
    },
    /// Stop the rollout where it is.
    Pause {
        /// The view.
        view: String,
    },
    /// Let a paused rollout go on.
    Resume {
        /// The view.
        view: String,
    },
    /// What applying a file would do to views and Architectures: nothing, a change in place, or a new revision, and what that
    /// would read. Exit code 0: nothing; 1: something; above that: it cannot be applied, or not be told.
    Diff {
        /// The file; `-` is the standard input.
        #[arg(short, long, value_name = "FILE")]
        filename: String,
    },
    /// Read features of one entity from the feature server.
    GetFeatures(GetFeatures),
}

/// Which features, of whom.
#[derive(Debug, clap::Args)]
pub struct GetFeatures {
    /// The view.
    pub view: String,
    /// The entity's keys.
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = key_value)]
    pub entity: Vec<(String, String)>,
    /// A feature; all of the view if none is given. May be given more than once.
    #[arg(short, long = "feature", value_name = "NAME")]
    pub features: Vec<String>,
    /// The time as of which they are read, in RFC 3339; now if it is not given.
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an entity's key is written KEY=VALUE, such as user_id=u1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn keys_are_split_at_the_first_equals_sign() {
        assert_eq!(key_value("user=a=b"), Ok(("user".to_owned(), "a=b".to_owned())));
        assert!(key_value("user").is_err() && key_value("=a").is_err());
    }
}
