//! Which keys name a secret. Pure.

use serde_json::Value;

/// Words of which one in a key says that its value is secret, whatever stands between its letters.
const SECRET: [&str; 19] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "accountkey",
    "sharedkey",
    "clientkey",
    "authorization",
    "sasl",
    "jaas",
    "signature",
    "connectionstring",
    "cookie",
];

/// Keys with such a word whose values only say where a secret is, or how long something holds.
const REFERENCES: [&str; 10] = [
    "secretref",
    "secretname",
    "secretkeyref",
    "secretkey",
    "imagepullsecrets",
    "featuremilldevsecrets",
    "automountserviceaccounttoken",
    "serviceaccounttoken",
    "tokenexpirationseconds",
    "continuetoken",
];

/// Whether the value of a key, flag, variable or header is secret.
pub fn is_secret(key: &str) -> bool {
    let key = flat(key);
    !REFERENCES[..].contains(&key.as_str()) && SECRET.iter().any(|word| key.contains(word))
}

/// Whether a key that looks secret holds only a reference in this place: `secret` of a volume does, `secret` with a text does not.
pub fn is_harmless(key: &str, value: &Value) -> bool {
    let key = flat(key);
    REFERENCES[..].contains(&key.as_str())
        || (["secret", "secrets"].contains(&key.as_str())
            && ["secretName", "name"].iter().any(|name| value.get(name).is_some()))
}

fn flat(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_known_however_they_are_written() {
        for key in [
            "sasl.password",
            "AWS_SECRET_ACCESS_KEY",
            "--redis-password",
            "apiKey",
            "X-Amz-Security-Token",
            "requirePwd",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["name", "revision", "partitionKey", "imagePullSecrets", "secretRef", "keys"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn a_secret_volume_is_a_reference_and_a_secret_text_is_not() {
        assert!(is_harmless("secret", &json!({"secretName": "redis"})));
        assert!(!is_harmless("secret", &json!("hunter2")) && !is_harmless("secret", &json!({"a": "hunter2"})));
    }
}
