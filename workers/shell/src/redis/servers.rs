//! The servers behind a connection: one Redis, or the masters of a Redis Cluster.
//!
//! Invariant: who holds which slots is asked once, when the connection is made. A server that sends us elsewhere (`MOVED`,
//! `ASK`) has broken the connection as surely as one that is gone: whoever keeps state about the store learns of it, and the
//! next connection asks anew. A client that followed redirections by itself would hide a failover, and the writes it lost.

use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, RedisResult, Value, cmd};

use super::keys::{SLOTS, Tagged, tagged, untagged};
use redis::Cmd;

/// What a connection speaks to.
#[derive(Clone)]
pub(super) enum Servers {
    /// A single Redis.
    One(MultiplexedConnection),
    /// Masters, and the ranges of slots of each.
    Cluster(Vec<Master>),
}

/// One master of a cluster.
#[derive(Clone)]
pub(super) struct Master {
    pub connection: MultiplexedConnection,
    pub slots: Vec<(u16, u16)>,
}

/// Why a command was not answered as it should.
pub(super) enum Unanswered {
    /// So says the server or the client library.
    Redis(redis::RedisError),
    /// It cannot be asked of a cluster.
    NoPlace(String),
}

impl From<redis::RedisError> for Unanswered {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Servers {
    /// All connections.
    pub fn each(&self) -> Vec<MultiplexedConnection> {
        match self {
            Self::One(connection) => vec![connection.clone()],
            Self::Cluster(masters) => masters.iter().map(|master| master.connection.clone()).collect(),
        }
    }

    /// Runs one command where its keys are; one without keys on every server, of which the first one's answer is given.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unanswered> {
        let masters = match self {
            Self::One(connection) => return Ok(command.query_async(&mut connection.clone()).await?),
            Self::Cluster(masters) => masters,
        };
        let Tagged { command, slot } = tagged(command).map_err(Unanswered::NoPlace)?;
        let mut value: Value = match slot {
            Some(slot) => command.query_async(&mut holder(masters, slot)?).await?,
            None => first(
                try_join_all(self.each().into_iter().map(|mut one| {
                    let command = &command;
                    async move { command.query_async::<Value>(&mut one).await }
                }))
                .await?,
            )?,
        };
        if command.args_iter().next() == cmd("SCAN").args_iter().next() {
            untag_keys(&mut value);
        }
        Ok(redis::from_redis_value(value).map_err(redis::RedisError::from)?)
    }

    /// Runs commands in one round trip, as [`Self::run`] would; all keys must be in one slot.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Unanswered> {
        let masters = match self {
            Self::One(connection) => return Ok(commands.query_async(&mut connection.clone()).await?),
            Self::Cluster(masters) => masters,
        };
        let mut out = Pipeline::with_capacity(commands.cmd_iter().count());
        let mut place: Option<Option<u16>> = None;
        for command in commands.cmd_iter() {
            let Tagged { command, slot } = tagged(command).map_err(Unanswered::NoPlace)?;
            if *place.get_or_insert(slot) != slot {
                let detail = "one round trip names keys of several UIDs, which a cluster keeps on different servers";
                return Err(Unanswered::NoPlace(detail.to_owned()));
            }
            out.add_command(command);
        }
        let value: Value = match place.flatten() {
            Some(slot) => out.query_async(&mut holder(masters, slot)?).await?,
            None => first(
                try_join_all(self.each().into_iter().map(|mut one| {
                    let out = &out;
                    async move { out.query_async::<Value>(&mut one).await }
                }))
                .await?,
            )?,
        };
        Ok(redis::from_redis_value(value).map_err(redis::RedisError::from)?)
    }
}

/// The master that holds a slot.
fn holder(masters: &[Master], slot: u16) -> Result<MultiplexedConnection, Unanswered> {
    let holds = |master: &&Master| master.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot));
    let found = masters.iter().find(holds).map(|master| master.connection.clone());
    found.ok_or_else(|| Unanswered::NoPlace(format!("no master holds slot {slot}")))
}

fn first(values: Vec<Value>) -> RedisResult<Value> {
    let nobody = || redis::RedisError::from((redis::ErrorKind::Client, "the cluster has no master"));
    values.into_iter().next().ok_or_else(nobody)
}

/// Gives the keys of a `SCAN`'s answer the names that we know them by.
fn untag_keys(value: &mut Value) {
    let Value::Array(parts) = value else { return };
    let Some(Value::Array(keys)) = parts.get_mut(1) else { return };
    for key in keys {
        if let Value::BulkString(bytes) = key {
            *bytes = untagged(std::mem::take(bytes));
        }
    }
}

/// A master's address, and the slots it holds.
pub(super) type Holding = ((String, u16), Vec<(u16, u16)>);

/// The masters that `CLUSTER SLOTS` names, or what is wrong with the answer. `asked` is the host that was asked: a server that
/// does not know its own address leaves it out.
pub(super) fn parse_slots(answer: &Value, asked: &str) -> Result<Vec<Holding>, String> {
    let odd = || format!("CLUSTER SLOTS answered {answer:?}");
    let Value::Array(ranges) = answer else { return Err(odd()) };
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(number)) => u16::try_from(*number).ok(),
        _ => None,
    };
    let text = |value: Option<&Value>| match value {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes.clone()).ok(),
        Some(Value::SimpleString(text)) => Some(text.clone()),
        _ => None,
    };
    let mut masters: Vec<Holding> = Vec::new();
    for range in ranges {
        let Value::Array(parts) = range else { return Err(odd()) };
        let (Some(begin), Some(end), Some(Value::Array(node))) =
            (number(parts.first()), number(parts.get(1)), parts.get(2))
        else {
            return Err(odd());
        };
        let host = text(node.first()).filter(|host| !host.is_empty() && host != "?");
        let address = (host.unwrap_or_else(|| asked.to_owned()), number(node.get(1)).ok_or_else(odd)?);
        match masters.iter_mut().find(|(known, _)| *known == address) {
            Some((_, slots)) => slots.push((begin, end)),
            None => masters.push((address, vec![(begin, end)])),
        }
    }
    let ranges = masters.iter().flat_map(|(_, slots)| slots);
    let held: usize = ranges.map(|(begin, end)| usize::from(end.saturating_sub(*begin)) + 1).sum();
    if held < usize::from(SLOTS) {
        return Err(format!(
            "its masters hold {held} of {SLOTS} slots; redis-cli --cluster check tells which are missing"
        ));
    }
    masters.sort();
    Ok(masters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn range(begin: i64, end: i64, host: &str, port: i64) -> Value {
        let node = vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString("id".into())];
        Value::Array(vec![Value::Int(begin), Value::Int(end), Value::Array(node)])
    }

    #[test]
    fn masters_are_told_with_all_their_slots() {
        let answer = Value::Array(vec![range(0, 99, "b", 1), range(100, 9_999, "a", 1), range(10_000, 16_383, "b", 1)]);
        let (a, b) = (("a".to_owned(), 1), ("b".to_owned(), 1));
        let masters = vec![(a, vec![(100, 9_999)]), (b, vec![(0, 99), (10_000, 16_383)])];
        assert_eq!(parse_slots(&answer, "seed").unwrap(), masters);
        let unnamed = Value::Array(vec![range(0, 16_383, "", 1)]);
        assert_eq!(parse_slots(&unnamed, "seed").unwrap()[0].0, ("seed".to_owned(), 1));
    }

    #[test]
    fn a_cluster_that_lacks_slots_says_so() {
        let answer = Value::Array(vec![range(0, 99, "b", 1)]);
        assert!(parse_slots(&answer, "seed").unwrap_err().contains("100 of 16384"));
        assert!(parse_slots(&Value::Nil, "seed").is_err());
    }
}
