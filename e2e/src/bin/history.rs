//! `examples/modes/history`: the demo's clickstream as a Delta table, shifted so that its last event is now.

use std::process::ExitCode;

use e2e::clickstream::Clickstream;
use e2e::cluster::Cluster;
use e2e::history::History;
use jiff::Timestamp;

const URI: &str = "s3://lake/shop/clicks";

fn main() -> ExitCode {
    let now = Timestamp::now();
    let written = Clickstream::fetch().map_err(|error| error.to_string()).and_then(|clickstream| {
        let history = History::clickstream(&Cluster::from_env(), URI, now);
        history.write(&clickstream.ending_at(now.as_millisecond())).map_err(|error| error.to_string())
    });
    match written {
        Ok(written) => {
            println!("{URI} holds {} events and is complete until {now}", written.rows);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}
