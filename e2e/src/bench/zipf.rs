//! Zipf-distributed ranks, by rejection-inversion (Hörmann and Derflinger, 1996), and the random numbers under them.
//! Both are ours so that a seed means the same events for ever.

/// A stream of random bits that is the same on every machine (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform below `bound`, which is far below 2^64, so that the bias does not show.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Ranks 1 to `n`, of which rank `k` has a probability proportional to `k^-s`; `s` is not 1.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: f64,
    s: f64,
    low: f64,
    high: f64,
    sure: f64,
}

impl Zipf {
    /// Over `n` ranks, at least one.
    pub fn new(n: u64, s: f64) -> Self {
        let mut zipf = Self { n: n as f64, s, low: 0.0, high: 0.0, sure: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.n + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// A rank.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1 and n")]
    pub fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.high + random.unit() * (self.low - self.high);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.sure || u >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.s * x.ln()).exp()
    }

    /// The integral of the weight, up to a constant.
    fn integral(&self, x: f64) -> f64 {
        ((1.0 - self.s) * x.ln()).exp_m1() / (1.0 - self.s)
    }

    fn inverse(&self, y: f64) -> f64 {
        (((1.0 - self.s) * y).max(-1.0).ln_1p() / (1.0 - self.s)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_possible_truncation)]
    fn ranks_come_as_often_as_their_weights_say() {
        let (zipf, mut random) = (Zipf::new(1_000, 1.05), Random(7));
        let mut seen = vec![0_u32; 1_001];
        for _ in 0..200_000 {
            seen[zipf.rank(&mut random) as usize] += 1;
        }
        let total: f64 = (1..=1_000).map(|k| f64::from(k).powf(-1.05)).sum();
        for rank in [1, 2, 3, 10, 100] {
            let expected = 200_000.0 * (rank as f64).powf(-1.05) / total;
            let off = (f64::from(seen[rank]) - expected).abs();
            assert!(off < 5.0 * expected.sqrt(), "rank {rank}: {} instead of {expected}", seen[rank]);
        }
        assert_eq!(seen[0], 0);
    }
}
