//! Where spans are sent and which: by the variables that OpenTelemetry defines. Nothing is sent unless one names a collector. Pure.

use thiserror::Error;

use super::sampler::Sampler;

/// The variables that operator-made pods are given as the operator has them. Headers are not: they may be secret.
pub const HANDED_ON: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// Where spans are sent and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The collector's URL for spans.
    pub url: String,
    /// Which.
    pub sampler: Sampler,
    /// What every request says.
    pub headers: Vec<(String, String)>,
    /// What this process is.
    pub resource: Vec<(String, String)>,
}

/// A variable that says what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} is {value:?}: {fix}")]
pub struct ConfigError {
    name: &'static str,
    value: String,
    fix: &'static str,
}

impl Config {
    /// By the variables that `of` knows; `program` is what this process is called. None if nothing is to be sent.
    ///
    /// # Errors
    /// [`ConfigError`], which names the variable.
    pub fn from(of: impl Fn(&str) -> Option<String>, program: &str) -> Result<Option<Self>, ConfigError> {
        let of = |name: &str| of(name).filter(|value| !value.trim().is_empty());
        let either = |one: &'static str, other: &'static str| {
            of(one).map(|v| (one, v)).or_else(|| of(other).map(|v| (other, v)))
        };
        let off = of("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if off || of("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none") {
            return Ok(None);
        }
        let whole = of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url));
        let base = of("OTEL_EXPORTER_OTLP_ENDPOINT")
            .map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", url.trim_end_matches('/'))));
        let Some((name, url)) = whole.or(base) else { return Ok(None) };
        if !url.starts_with("http://") {
            let fix = "spans are sent over http:// alone; name a collector of the cluster or an agent, such as http://otel-collector:4318";
            return Err(ConfigError { name, value: url, fix });
        }
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some((name, value)) = protocol.filter(|(_, value)| value != "http/json") {
            let fix = "spans are sent as http/json, which collectors take where they take http/protobuf; leave it out";
            return Err(ConfigError { name, value, fix });
        }
        let sampler = Sampler::from(of("OTEL_TRACES_SAMPLER").as_deref(), of("OTEL_TRACES_SAMPLER_ARG").as_deref());
        let sampler = sampler.map_err(|(name, value, fix)| ConfigError { name, value, fix })?;
        let headers = either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let mut resource = vec![
            ("service.name".to_owned(), of("OTEL_SERVICE_NAME").unwrap_or_else(|| program.to_owned())),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        resource.extend(of("HOSTNAME").map(|name| ("service.instance.id".to_owned(), name)));
        let named = of("OTEL_RESOURCE_ATTRIBUTES").map(|text| pairs(&text)).unwrap_or_default();
        let named = named.into_iter().filter(|(key, _)| key != "service.name" || of("OTEL_SERVICE_NAME").is_none());
        for (key, value) in named {
            resource.retain(|(known, _)| *known != key);
            resource.push((key, value));
        }
        let headers = headers.map(|(_, text)| pairs(&text)).unwrap_or_default();
        Ok(Some(Self { url, sampler, headers, resource }))
    }
}

/// `key=value,key=value`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Option<Config>, String> {
        let of = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::from(of, "featuremill-serve").map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        assert_eq!(config(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")]), Ok(None));
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        for off in
            [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]
        {
            assert_eq!(config(&[off, named]), Ok(None), "{off:?}");
        }
        let config = config(&[named, ("HOSTNAME", "pod-1")]).unwrap().unwrap();
        assert_eq!((config.url.as_str(), config.sampler), ("http://collector:4318/v1/traces", Sampler::default()));
        assert_eq!(config.resource[0], ("service.name".to_owned(), "featuremill-serve".to_owned()));
        assert_eq!(config.resource[2], ("service.instance.id".to_owned(), "pod-1".to_owned()));
    }

    #[test]
    fn what_is_said_of_traces_alone_wins() {
        let config = config(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/mine"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, c=d=e"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=none,team=shop"),
            ("OTEL_SERVICE_NAME", "mine"),
        ]);
        let config = config.unwrap().unwrap();
        assert_eq!(config.url, "http://traces:4318/mine");
        assert_eq!(config.headers, [("a", "b"), ("c", "d=e")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let of =
            |key: &str| config.resource.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        assert_eq!((of("service.name"), of("team")), (vec!["mine"], vec!["shop"]));
    }

    #[test]
    fn what_cannot_be_done_is_said_with_its_variable() {
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variable, words) in [
            (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector"), "http:// alone"),
            (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), "http/json"),
            (("OTEL_TRACES_SAMPLER", "sometimes"), "parentbased_traceidratio"),
            (("OTEL_TRACES_SAMPLER_ARG", "2"), "between 0 and 1"),
        ] {
            let error = config(&[named, variable]).unwrap_err();
            assert!(error.starts_with(variable.0) && error.contains(words), "{error}");
        }
    }
}
