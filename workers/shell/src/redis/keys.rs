//! Which keys a command names, and how they are called on a Redis Cluster.
//!
//! Every key of ours is `UID/…` (see `engine::row`). On a cluster it is stored as `{UID}/…`: what stands in braces decides
//! the slot, so all that belongs to one UID is in one slot. Pointers, the erasures' version and rows are then written in
//! one step and read in one round trip, as on a single Redis; views, not rows, are what is spread over the servers.
//!
//! Invariant: a command that is not known here is refused, since nobody could tell where it belongs.

use redis::{Arg, Cmd};

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// A command as a cluster is to be asked it.
#[derive(Debug)]
pub(super) struct Tagged {
    /// With tagged keys.
    pub command: Cmd,
    /// The slot of all of its keys; `None`: it has none, and is every server's.
    pub slot: Option<u16>,
}

/// Which arguments are keys, by position; the command's name is argument 0.
enum Keys {
    None,
    First,
    AllButName,
    /// As many as argument 2 says, from argument 3 on.
    Numbered,
    /// The pattern behind `MATCH`, which begins with the UID of what is looked for.
    Pattern,
}

fn keys_of(name: &str) -> Option<Keys> {
    Some(match name {
        "PING" | "INFO" | "CONFIG" | "SCRIPT" | "CLUSTER" => Keys::None,
        "GET" | "SET" | "SETRANGE" | "INCR" | "PTTL" | "PEXPIRE" | "HGET" | "HGETALL" | "HSET" | "HSETNX" | "HDEL" => {
            Keys::First
        }
        "DEL" | "UNLINK" => Keys::AllButName,
        "EVAL" | "EVALSHA" => Keys::Numbered,
        "SCAN" => Keys::Pattern,
        _ => return None,
    })
}

/// The command for a cluster, or what is wrong with it.
pub(super) fn tagged(command: &Cmd) -> Result<Tagged, String> {
    let args: Vec<&[u8]> = command
        .args_iter()
        .map(|arg| match arg {
            Arg::Simple(bytes) => bytes,
            // A cursor that the client library would fill in, which is asked for nowhere.
            _ => b"0",
        })
        .collect();
    let name = args.first().map(|name| String::from_utf8_lossy(name).to_ascii_uppercase()).unwrap_or_default();
    let Some(named) = keys_of(&name) else {
        return Err(format!("it is not known which keys {name} names; add it to shell::redis::keys"));
    };
    let keys = match named {
        Keys::None => 0..0,
        Keys::First => 1..2,
        Keys::AllButName => 1..args.len(),
        Keys::Numbered => {
            let number = args.get(2).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
            3..number.unwrap_or(0).saturating_add(3)
        }
        Keys::Pattern => {
            let at = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"MATCH")).map(|at| at + 1);
            at.map_or(0..0, |at| at..at + 1)
        }
    };
    if keys.end > args.len() {
        return Err(format!("{name} names {} keys and has {} arguments", keys.len(), args.len()));
    }
    let mut out = Cmd::with_capacity(args.len(), args.iter().map(|arg| arg.len() + 2).sum());
    let is_pattern = matches!(named, Keys::Pattern);
    let mut tag: Option<&[u8]> = None;
    for (at, arg) in args.iter().enumerate() {
        if !keys.contains(&at) {
            out.arg(*arg);
            continue;
        }
        let (of, rest) = split(arg);
        if tag.is_some_and(|tag| tag != of) {
            return Err(format!("{name} names keys of several UIDs, which a cluster keeps on different servers"));
        }
        tag = Some(of);
        match rest {
            [] => out.arg(of),
            rest => out.arg([b"{", of, b"}", rest].concat()),
        };
    }
    // A pattern's tag is no pattern: it names one UID, whose odd characters are escaped.
    let literal = |tag: &[u8]| tag.iter().copied().filter(|byte| !is_pattern || *byte != b'\\').collect::<Vec<_>>();
    Ok(Tagged { command: out, slot: tag.map(|tag| slot(&literal(tag))) })
}

/// The UID of a key, and what follows from the slash on.
fn split(key: &[u8]) -> (&[u8], &[u8]) {
    key.split_at(key.iter().position(|byte| *byte == b'/').unwrap_or(key.len()))
}

/// A key that a cluster named, as we name it.
pub(super) fn untagged(mut key: Vec<u8>) -> Vec<u8> {
    if let (Some(b'{'), Some(end)) = (key.first(), key.windows(2).position(|pair| pair == b"}/")) {
        key.remove(end);
        key.remove(0);
    }
    key
}

/// The slot of a tag, as Redis computes it: CRC16 (XMODEM) modulo the number of slots.
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use redis::cmd;

    use super::*;

    fn words(command: &Cmd) -> Vec<String> {
        let text = |arg| match arg {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "cursor".to_owned(),
        };
        command.args_iter().map(text).collect()
    }

    #[test]
    fn slots_are_those_of_redis() {
        // The first is the check value of the specification; the others are what `CLUSTER KEYSLOT` answers.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn only_keys_are_tagged_and_come_back_as_they_were() {
        let mut call = cmd("EVALSHA");
        call.arg("hash").arg(2).arg("u/live").arg("u/r/0/e/a/b{c}/d").arg("u/no-key").arg(b"\xff/\0".as_slice());
        let out = tagged(&call).unwrap();
        assert_eq!(words(&out.command)[3..6], ["{u}/live", "{u}/r/0/e/a/b{c}/d", "u/no-key"]);
        assert_eq!(out.slot, Some(slot(b"u")));
        assert_eq!(out.command.args_iter().last(), call.args_iter().last(), "bytes that are no text stay");
        assert_eq!(untagged(b"{u}/r/0/e/a/b{c}/d".to_vec()), b"u/r/0/e/a/b{c}/d");
        assert_eq!(untagged(b"plain".to_vec()), b"plain");

        let mut scan = cmd("SCAN");
        scan.arg(7).arg("MATCH").arg("u/r/*").arg("COUNT").arg(10);
        assert_eq!(words(&tagged(&scan).unwrap().command), ["SCAN", "7", "MATCH", "{u}/r/*", "COUNT", "10"]);
        let escaped = tagged(cmd("SCAN").arg(0).arg("MATCH").arg(r"u-\[1\]/*")).unwrap();
        assert_eq!(escaped.slot, Some(slot(b"u-[1]")), "a pattern is looked for where the keys are");
    }

    #[test]
    fn what_has_no_one_place_is_refused_and_what_has_no_key_is_everybodys() {
        assert_eq!(tagged(cmd("INFO").arg("server")).unwrap().slot, None);
        assert!(tagged(cmd("UNLINK").arg("u/a").arg("v/a")).unwrap_err().contains("several UIDs"));
        assert!(tagged(cmd("KEYS").arg("u/*")).unwrap_err().contains("KEYS"));
        assert!(tagged(cmd("EVAL").arg("return 1").arg(2).arg("u/a")).unwrap_err().contains("2 keys"));
    }
}
