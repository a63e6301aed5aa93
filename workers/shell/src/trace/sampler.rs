//! Which traces are sent: OpenTelemetry's samplers, so that all who take part in a trace decide alike. Pure.

/// Two to the 63rd: OpenTelemetry compares that many bits of a trace's id.
const BITS: f64 = 9_223_372_036_854_775_808.0;

/// What is wrong: the variable, its value, and what to write.
type Wrong = (&'static str, String, &'static str);

/// Which traces are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the caller's decision holds, where there is a caller.
    heeds_caller: bool,
    /// The share of all others, from 0 to 1.
    share: f64,
}

/// All, but for those that the caller does not send: OpenTelemetry's own default.
impl Default for Sampler {
    fn default() -> Self {
        Self { heeds_caller: true, share: 1.0 }
    }
}

impl Sampler {
    /// By its name and argument.
    pub(super) fn from(name: Option<&str>, argument: Option<&str>) -> Result<Self, Wrong> {
        let share = match argument.map(str::trim) {
            None => 1.0,
            Some(text) => match text.parse() {
                Ok(share) if (0.0..=1.0).contains(&share) => share,
                _ => return Err(("OTEL_TRACES_SAMPLER_ARG", text.to_owned(), "it is a share between 0 and 1")),
            },
        };
        let Some(name) = name else { return Ok(Self { share, ..Self::default() }) };
        let (heeds_caller, sort) = name.strip_prefix("parentbased_").map_or((false, name), |sort| (true, sort));
        let share = match sort {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => share,
            _ => {
                let fix = "known are always_on, always_off and traceidratio, and parentbased_traceidratio and the like";
                return Err(("OTEL_TRACES_SAMPLER", name.to_owned(), fix));
            }
        };
        Ok(Self { heeds_caller, share })
    }

    /// Whether a trace is sent; `caller` is what the caller does, if there is one.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of 2^63 fits, and is not negative"
    )]
    pub fn samples(self, trace_id: u128, caller: Option<bool>) -> bool {
        match caller {
            Some(sampled) if self.heeds_caller => sampled,
            // The lower half of the id, as OpenTelemetry's own samplers do.
            _ => (trace_id as u64 >> 1) < (self.share * BITS) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_share_that_is_asked_for_is_sent() {
        let quarter = Sampler::from(Some("traceidratio"), Some("0.25")).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let sent = (0..10_000).filter(|_| quarter.samples(random.u128(..), None)).count();
        assert!((2_300..2_700).contains(&sent), "{sent}");
        assert!(
            quarter.samples(0xffff << 64, Some(false)) && !quarter.samples(u128::MAX, Some(true)),
            "no caller is heeded"
        );
        let [all, none] = ["always_on", "always_off"].map(|name| Sampler::from(Some(name), None).unwrap());
        assert!(all.samples(u128::MAX, None) && !none.samples(1, None));
    }

    #[test]
    fn the_callers_decision_holds_where_it_should() {
        let none = Sampler::from(Some("parentbased_always_off"), None).unwrap();
        assert!(none.samples(1, Some(true)) && !none.samples(1, Some(false)) && !none.samples(1, None));
        assert!(Sampler::default().samples(u128::MAX, None) && !Sampler::default().samples(1, Some(false)));
    }
}
