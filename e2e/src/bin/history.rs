//! `examples/modes/history`: the demo's clickstream as a Delta table, of the very times that the topic's copy has: else a view
//! that changes from the one to the other has other values, and its comparison rightly fails.

use std::process::ExitCode;

use e2e::clickstream::Clickstream;
use e2e::cluster::Cluster;
use e2e::feed::Feed;
use e2e::history::History;
use jiff::Timestamp;
use rdkafka::message::Message as _;

const URI: &str = "s3://lake/shop/clicks";
const TOPIC: &str = "clickstream";

fn main() -> ExitCode {
    match write() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<String, String> {
    let cluster = Cluster::from_env();
    let mut clickstream = Clickstream::fetch().map_err(|error| error.to_string())?.ending_at(0);
    let feed = Feed::new(&cluster.kafka(), TOPIC).map_err(|error| error.to_string())?;
    let records = feed.read_all(TOPIC).map_err(|error| format!("topic {TOPIC} at {}: {error}", cluster.kafka()))?;
    // By the first, for whoever tries something sends further events.
    let first = records.iter().filter_map(|record| record.timestamp().to_millis()).min();
    let span = clickstream.events.first().map_or(0, |event| -event.ts);
    let end = first.map_or_else(|| Timestamp::now().as_millisecond(), |first| first + span);
    clickstream = clickstream.ending_at(end);
    let until = Timestamp::from_millisecond(end).map_err(|error| error.to_string())?;
    let written = History::clickstream(&cluster, URI, until).write(&clickstream).map_err(|error| error.to_string())?;
    let also = if first.is_some() { format!(", those of topic {TOPIC}") } else { String::new() };
    Ok(format!("{URI} holds {} events{also}, and is complete until {until}", written.rows))
}
