//! Secrets that were recognised where they stand, to be masked wherever else they stand. Pure.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use percent_encoding::percent_decode_str;

use super::MASK;

/// Shorter ones would be found in everything.
const SHORTEST: usize = 4;
/// Shorter ones are masked only where they stand by themselves.
const SHORT: usize = 8;
/// Words that stand in place of a secret, and in many other places.
const WORDS: [&str; 12] = [
    "true",
    "false",
    "null",
    "none",
    "some",
    "default",
    "featuremill",
    "plain",
    "redacted",
    "required",
    "basic",
    "bearer",
];

/// What was recognised so far.
pub struct Learned {
    secrets: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Learned {
    /// Nothing yet; what is named like an object is none: the word would be gone from the whole bundle.
    pub fn besides(names: impl IntoIterator<Item = String>) -> Self {
        Self { secrets: BTreeSet::new(), names: names.into_iter().collect() }
    }

    /// A secret, as it was read, and as it is meant if it is part of a URL.
    pub fn learn(&mut self, secret: &str) {
        let decoded = percent_decode_str(secret).decode_utf8_lossy().into_owned();
        for secret in [secret.trim(), decoded.trim()] {
            let word = WORDS.contains(&secret.to_ascii_lowercase().as_str()) || self.names.contains(secret);
            if secret.len() >= SHORTEST && !word && !secret.contains(MASK) && !MASK.contains(secret) {
                self.secrets.insert(secret.to_owned());
                // A text in JSON is written with escapes.
                let written = serde_json::Value::from(secret).to_string();
                self.secrets.insert(written[1..written.len() - 1].to_owned());
            }
        }
    }

    /// What masks all of them.
    pub fn everywhere(&self) -> Everywhere {
        let secrets: Vec<String> = self.secrets.iter().cloned().collect();
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&secrets);
        Everywhere { finder: finder.map_err(|_| secrets) }
    }
}

/// Masks secrets wherever they stand.
pub struct Everywhere {
    /// All at once; one after the other should they be too many for that.
    finder: Result<AhoCorasick, Vec<String>>,
}

impl Everywhere {
    /// A text without them.
    pub fn mask(&self, text: &str) -> String {
        let finder = match &self.finder {
            Ok(finder) => finder,
            Err(secrets) => return secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK)),
        };
        let (mut masked, mut from) = (String::with_capacity(text.len()), 0);
        for found in finder.find_iter(text) {
            let part_of_a_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let secret = &text[found.range()];
            let apart = !part_of_a_word(text[..found.start()].chars().next_back())
                && !part_of_a_word(text[found.end()..].chars().next());
            if apart || (secret.len() >= SHORT && !secret.bytes().all(|byte| byte.is_ascii_digit())) {
                masked.push_str(&text[from..found.start()]);
                masked.push_str(MASK);
                from = found.end();
            }
        }
        masked.push_str(&text[from..]);
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secret: &str, text: &str) -> String {
        let mut learned = Learned::besides(["redis".to_owned()]);
        learned.learn(secret);
        learned.everywhere().mask(text)
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands() {
        assert_eq!(masked("hunter2hunter2", "xhunter2hunter2x hunter2hunter2"), "x<masked>x <masked>");
        assert_eq!(masked("p%40ss-w%3Ard", "p@ss-w:rd and p%40ss-w%3Ard"), "<masked> and <masked>");
        assert_eq!(masked("pa\"ss\"word", r#"{"m":"pa\"ss\"word"}"#), r#"{"m":"<masked>"}"#);
    }

    #[test]
    fn what_is_short_or_a_number_is_masked_by_itself_only() {
        assert_eq!(masked("pass1", "pass1 compass1 pass12"), "<masked> compass1 pass12");
        assert_eq!(masked("123456789012", "at 123456789012, not 91234567890121"), "at <masked>, not 91234567890121");
        assert_eq!(masked("abc", "abc"), "abc");
    }

    #[test]
    fn names_and_words_are_not_taken_from_a_bundle() {
        assert_eq!(masked("redis", "redis at redis"), "redis at redis");
        assert_eq!(masked("None", "None"), "None");
    }
}
