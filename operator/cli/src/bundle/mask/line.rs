//! Secrets in a line of text: in URLs, behind the names of secrets, and what looks like a key by itself. Pure.

use std::borrow::Cow;

use regex::{Captures, Error, Regex};

use super::MASK;
use super::key::is_secret;

/// The names of secrets, as [`is_secret`] has them, in whatever spelling.
const NAME: &str = r"[A-Za-z0-9_.\-]*(?:password|passwd|passphrase|pwd|secret|token|credential|api[_.\-]?key|access[_.\-]?key|private[_.\-]?key|account[_.\-]?key|shared[_.\-]?key|client[_.\-]?key|sasl|jaas|signature|connection[_.\-]?string|cookie)[A-Za-z0-9_.\-]*";
/// Words after `AUTH` that tell how it went.
const OUTCOMES: [&str; 7] = ["failed", "failure", "failed:", "error", "error:", "required", "command"];

/// What is looked for.
pub struct Patterns {
    pem: Regex,
    url: Regex,
    userinfo: Regex,
    header: Regex,
    scheme: Regex,
    phrase: Regex,
    pair: Regex,
    flag: Regex,
    redis: Regex,
    token: Regex,
    long: Regex,
}

impl Patterns {
    /// All of them.
    ///
    /// # Errors
    /// When one is none.
    pub fn new() -> Result<Self, Error> {
        let regex = |pattern: &str| Regex::new(pattern);
        Ok(Self {
            // All that follows where its end was cut off.
            pem: regex(r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)")?,
            url: regex(r#"[A-Za-z][A-Za-z0-9+.\-]*://[^\s"\\]*"#)?,
            userinfo: regex(r#"([^\s:@/"'=,]+:)([^\s@/"']+)@([A-Za-z0-9\[][A-Za-z0-9.\-]*)"#)?,
            // To the end of the header.
            header: regex(r#"(?i)(authorization\\*["']?\s*[:=]\s*\\*["']?)([^"'\r\n\\]+)"#)?,
            scheme: regex(r"(?i)\b(bearer\s+)([A-Za-z0-9._~+/=\-]{4,})")?,
            // Without quotes a pass phrase may have spaces: it ends with the line.
            phrase: regex(
                r#"(?i)([A-Za-z0-9_.\-]*(?:password|passwd|passphrase|pwd)[A-Za-z0-9_.\-]*)(\s*[:=]\s*)([^\s"'\\(][^"(\\]*)$"#,
            )?,
            // In the manners of shells, JSON, YAML, properties and Rust's debug output.
            pair: regex(&format!(
                r#"(?i)({NAME})(\\*["']?\s*(?:=>|[:=])\s*(?:(?-i:[A-Z][A-Za-z]*)\(\s*)*)("(?:[^"\\]|\\.)*"|\\+"(?:[^"\\]|\\+[^"\\])*\\+"|'[^']*'|[^\s,;}}\])&"'\\]+)"#
            ))?,
            flag: regex(&format!(r#"(?i)(--?{NAME})(\s+)("[^"]*"|'[^']*'|[^\s\-"']\S*)"#))?,
            redis: regex(r#"\b(requirepass|masterauth|AUTH)(["']?\s+["']?)([^\s"']+)((?:["']?\s+["']?[^\s"']+)?)"#)?,
            // A web token, and the name of a key at Amazon.
            token: regex(
                r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
            )?,
            // What may be a key in base 64.
            long: regex(r"[A-Za-z0-9+/_=\-]{40,}")?,
        })
    }

    /// A text without private keys; they have many lines.
    pub fn without_keys<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.pem.replace_all(text, MASK)
    }

    /// A line without secrets, each of which is told to `learn`.
    pub fn line(&self, line: &str, learn: &mut dyn FnMut(&str)) -> String {
        let line = self.url.replace_all(line, |found: &Captures<'_>| url(&found[0], learn));
        let line = self.userinfo.replace_all(&line, |found: &Captures<'_>| {
            // An image with its digest looks like it.
            if ["sha256", "sha512"].contains(&&found[3]) || &found[2] == MASK {
                return found[0].to_owned();
            }
            learn(&found[2]);
            format!("{}{MASK}@{}", &found[1], &found[3])
        });
        let line = self.header.replace_all(&line, |found: &Captures<'_>| {
            found[2].split_whitespace().for_each(&mut *learn);
            format!("{}{MASK}", &found[1])
        });
        let line = self.scheme.replace_all(&line, |found: &Captures<'_>| {
            learn(&found[2]);
            format!("{}{MASK}", &found[1])
        });
        let line = self.phrase.replace_all(&line, |found: &Captures<'_>| named(found, learn));
        let line = self.pair.replace_all(&line, |found: &Captures<'_>| named(found, learn));
        let line = self.flag.replace_all(&line, |found: &Captures<'_>| named(found, learn));
        let line = self.redis.replace_all(&line, |found: &Captures<'_>| {
            if OUTCOMES.contains(&&found[3]) {
                return found[0].to_owned();
            }
            learn(&found[3]);
            found[4].split(['"', '\'', ' ']).for_each(&mut *learn);
            format!("{}{}{MASK}", &found[1], &found[2])
        });
        let line = self.token.replace_all(&line, |found: &Captures<'_>| {
            learn(&found[0]);
            MASK
        });
        let line = self.long.replace_all(&line, |found: &Captures<'_>| {
            if !is_random(&found[0]) {
                return found[0].to_owned();
            }
            learn(&found[0]);
            MASK.to_owned()
        });
        line.into_owned()
    }
}

/// A name, what stands between, and the secret.
fn named(found: &Captures<'_>, learn: &mut dyn FnMut(&str)) -> String {
    let secret = found[3].trim_matches(['"', '\'', '\\']);
    if secret.is_empty() || secret == MASK || !is_secret(&found[1]) {
        return found[0].to_owned();
    }
    learn(secret);
    // The first word of a phrase may be all of it, the rest being another thing.
    secret.split([' ', ',', ';']).take(1).for_each(learn);
    format!("{}{}{MASK}", &found[1], &found[2])
}

/// A URL without who asks, and without what it asks for: object stores are signed there.
fn url(url: &str, learn: &mut dyn FnMut(&str)) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (userinfo, rest) = rest.rsplit_once('@').map_or((None, rest), |(userinfo, rest)| (Some(userinfo), rest));
    let userinfo = userinfo.map_or(String::new(), |userinfo| {
        // A name alone may be a token; with a password, that is the secret.
        learn(userinfo.split_once(':').map_or(userinfo, |(_, password)| password));
        format!("{MASK}@")
    });
    let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}://{userinfo}{rest}") };
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if is_secret(key) || key == "sig" {
            learn(value);
        }
    }
    format!("{scheme}://{userinfo}{place}?{MASK}")
}

/// Whether a long word may be a key: digits, small and capital letters, as digests in hexadecimal and names of objects are not.
fn is_random(word: &str) -> bool {
    let has = |sort: fn(&char) -> bool| word.chars().any(|c| sort(&c));
    has(char::is_ascii_digit) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn masked(line: &str) -> String {
        Patterns::new().unwrap().line(line, &mut |_| {})
    }

    #[test]
    fn secrets_are_masked_in_whatever_manner_they_are_written() {
        for line in [
            "cannot reach redis://default:hunter2@redis:6379/0",
            "cannot reach rediss://hunter2@redis",
            "redis://:hun'ter2/hunter2@redis:6379",
            "got https://lake.example/a/b?sv=2&sig=hunter2 with 403",
            "sasl.password=hunter2",
            "password: correct horse hunter2",
            r#"INFO {"password":"a\"hunter2","x":1}"#,
            r#"INFO "{\"password\":\"hunter2\",\"x\":1}""#,
            r#"Config { password: Some("hunter2"), user: "joe" }"#,
            r#"Config { token: Some(Token("hunter2")) }"#,
            "AWS_SECRET_ACCESS_KEY='hunter2 hunter2'",
            "featuremill --redis-password hunter2 --x",
            r#"sasl.jaas.config=x required username="joe" password="hunter2";"#,
            "Authorization: Basic hunter2hunter2==",
            "curl -H 'Authorization: Bearer hunter2' x",
            "sent Bearer hunter2.hunter2",
            "requirepass hunter2",
            r#"1700 [0 127.0.0.1] "AUTH" "joe" "hunter2""#,
            "joe:hunter2@redis:6379 is away",
            "error: password: hunter2",
            "api-key => hunter2, x",
        ] {
            let masked = masked(line);
            assert!(!masked.contains("hunter2") && masked.contains(MASK), "{line}\n{masked}");
        }
    }

    #[test]
    fn what_looks_like_a_key_is_masked_by_itself() {
        for key in [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqb2UifQ.abc_def",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY0",
        ] {
            assert_eq!(masked(&format!("saw {key} here")), format!("saw {MASK} here"));
        }
    }

    #[test]
    fn everything_else_stays() {
        for line in [
            "featuremill@sha256:9b1c07de429b1c07de429b1c07de429b1c07de429b1c07de429b1c07de429b1c",
            "registry.example:5000/featuremill:v9@sha256:9b1c07de42",
            "reads s3://lake/shop/clicks up to offset 12, partition=3 topic=clickstream",
            r#"feature_freshness_seconds_bucket{feature_view="clicks",layer="stream",le="0.5"} 12"#,
            "AUTH failed",
            "kafka:9092,kafka-2:9092",
            "secretName: redis",
        ] {
            assert_eq!(masked(line), line);
        }
    }

    #[test]
    fn what_is_masked_is_learned() {
        let mut learned = Vec::new();
        let mut learn = |secret: &str| learned.push(secret.to_owned());
        Patterns::new().unwrap().line("redis://joe:p%40ss@redis token=abcdef", &mut learn);
        assert_eq!(learned, ["p%40ss", "abcdef", "abcdef"]);
    }
}
