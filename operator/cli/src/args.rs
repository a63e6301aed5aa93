//! The command line.

use std::path::PathBuf;

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
    /// Try a candidate again that was given up; or compare it again, if its comparison failed.
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
    /// Compute a view anew from its topic, by the definition that serves, and show how far it is; Ctrl-C leaves it running.
    Replay(Replay),
    /// Read features of one entity from the feature server.
    GetFeatures(GetFeatures),
    /// Write what a maintainer needs to answer a question into one file: objects, events, logs and metrics, without secrets.
    SupportBundle(SupportBundle),
}

/// What goes into a bundle.
#[derive(Debug, clap::Args)]
pub struct SupportBundle {
    /// The views of all namespaces, not of one.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The namespace of the operator, where it cannot be found: who may not list the Deployments of all namespaces says it.
    #[arg(long, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// How many lines of each log.
    #[arg(long, value_name = "LINES", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub tail: u32,
    /// The file, which must not exist; `featuremill-support-<time>.tar.gz` if it is not given.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What is read again, and how.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The view.
    pub view: String,
    /// The revision that must be live when it begins; whichever is if it is not given.
    #[arg(long)]
    pub revision: Option<String>,
    /// From where the topic is read: `LongestWindow`, `OfflineThenStream`, `Earliest`, `Latest`, or a time in RFC 3339; as the
    /// view's rollouts if it is not given.
    #[arg(long, value_name = "FROM")]
    pub start_from: Option<String>,
    /// How many partitions are read at once.
    #[arg(long)]
    pub parallelism: Option<i32>,
    /// The most records that each pod reads in a second.
    #[arg(long)]
    pub max_records_per_second: Option<i32>,
    /// Only say what would be read.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for its end.
    #[arg(long)]
    pub no_wait: bool,
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
