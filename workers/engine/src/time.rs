//! The arithmetic of event time: tile bounds, hops, window bounds and ladders.
//!
//! All times are milliseconds since the epoch and may be negative; all rounding is towards the past (`floor`) or the
//! future (`ceil`), never towards zero. Nothing overflows: results saturate, and events beyond [`TIME_LIMIT`] are not
//! kept by any lane.

use crate::plan::{Ladder, Plan, Rung, TimePolicy, Window};

/// The tile sizes, each a divisor of the next: 1s, 10s, 1m, 5m, 15m, 1h, 6h, 1d.
pub const LADDER: [i64; 8] = [1_000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000];

/// The largest distance from the epoch, in milliseconds, of an event that a lane takes (about 142,000 years). The rule
/// on record time keeps real events far within it; the limit makes every sum of times below safe from overflow.
pub const TIME_LIMIT: i64 = 1 << 52;

/// The largest multiple of `step` that is not above `t`. `step` must be positive.
#[must_use]
pub fn floor(t: i64, step: i64) -> i64 {
    t.saturating_sub(t.rem_euclid(step))
}

/// The smallest multiple of `step` that is not below `t`. `step` must be positive.
#[must_use]
pub fn ceil(t: i64, step: i64) -> i64 {
    match t.rem_euclid(step) {
        0 => t,
        over => t.saturating_add(step - over),
    }
}

/// The hop of a sliding window of `length_ms` that names none: the largest step of [`LADDER`] not above a sixtieth of it.
/// `None` below one minute: such a window needs its hop given.
#[must_use]
pub fn default_hop(length_ms: i64) -> Option<i64> {
    LADDER.into_iter().rfind(|step| *step <= length_ms / 60)
}

/// The hop of a tumbling window: the largest step of [`LADDER`] that divides its length. `None` if none does.
#[must_use]
pub fn tumbling_hop(length_ms: i64) -> Option<i64> {
    LADDER.into_iter().rfind(|step| length_ms >= *step && length_ms % *step == 0)
}

/// The half-open slice `[start, end)` of event time that `window` covers when it is read at `t`. A start of `None` is the
/// beginning of time. Tumbling windows are aligned to the epoch.
#[must_use]
pub fn window_bounds(window: &Window, policy: &TimePolicy, t: i64) -> (Option<i64>, i64) {
    match *window {
        Window::Sliding { length_ms, hop_ms } => {
            (Some(floor(t.saturating_sub(length_ms), hop_ms)), ceil(t, policy.finest_tile_ms))
        }
        Window::Tumbling { length_ms, .. } => {
            let end = floor(t, length_ms);
            (Some(end.saturating_sub(length_ms)), end)
        }
        Window::Lifetime => (None, ceil(t, policy.finest_tile_ms)),
    }
}

/// The ladder of an aggregate that is read over `windows`.
///
/// Rung 0 is the view's finest tile, so that any window's end can be met; it is kept for lateness + future + one tile.
/// Each window adds its hop, kept until no read at `t ≥ newest − lateness − future` can start that far back: W + hop for
/// a sliding window, 2W for a tumbling one, plus lateness and future. Rungs that a finer one outlives are left out.
///
/// `horizon` is [`horizon_rung`] in a Lambda and `None` elsewhere. Only a ladder that keeps a tile for all time needs it:
/// a window's start is never below its last rung, so that its tiles from a horizon on are whole anyway.
#[must_use]
pub fn build_ladder(windows: &[Window], policy: &TimePolicy, horizon: Option<Rung>) -> Ladder {
    let slack = policy.allowed_lateness_ms.saturating_add(policy.max_future_ms);
    let finest = Rung { tile_ms: policy.finest_tile_ms, keep_ms: slack.saturating_add(policy.finest_tile_ms) };
    let mut wanted = vec![finest];
    for window in windows {
        let (tile_ms, reach) = match *window {
            Window::Sliding { length_ms, hop_ms } => (hop_ms, length_ms.saturating_add(hop_ms)),
            Window::Tumbling { length_ms, hop_ms } => (hop_ms, length_ms.saturating_mul(2)),
            Window::Lifetime => continue,
        };
        wanted.push(Rung { tile_ms, keep_ms: reach.saturating_add(slack) });
    }
    let forever = windows.contains(&Window::Lifetime);
    wanted.extend(horizon.filter(|_| forever));
    // Of one tile size the longest-kept comes first, and whatever does not outlive a finer rung is redundant.
    wanted.sort_by_key(|rung| (rung.tile_ms, std::cmp::Reverse(rung.keep_ms)));
    let mut rungs: Vec<Rung> = Vec::new();
    for rung in wanted {
        if rungs.last().is_none_or(|finer| rung.tile_ms > finer.tile_ms && rung.keep_ms > finer.keep_ms) {
            rungs.push(rung);
        }
    }
    Ladder { rungs, forever }
}

/// The rung that keeps a Lambda's lifetime tiles apart until no horizon can lie in them: `hops` are of all its windows.
///
/// Its tile is the plan's coarsest hop, or a sixtieth of `max_age_ms` by the rule of hops if that is longer, so that a long
/// age does not keep thousands of tiles. It is kept for the horizon's age, lateness, future and one tile. While no event is
/// more than `max_age_ms + maxFuture` behind a horizon, the tile of all time thus ends at that horizon or before.
#[must_use]
pub fn horizon_rung(hops: impl IntoIterator<Item = i64>, policy: &TimePolicy, max_age_ms: i64) -> Rung {
    let coarsest = hops.into_iter().fold(policy.finest_tile_ms, i64::max);
    let tile_ms = default_hop(max_age_ms).unwrap_or(LADDER[0]).max(coarsest);
    let slack = policy.allowed_lateness_ms.saturating_add(policy.max_future_ms);
    Rung { tile_ms, keep_ms: max_age_ms.saturating_add(slack).saturating_add(tile_ms) }
}

/// The length that horizons are multiples of: the largest tile of any ladder of the plan. All other tiles divide it, so
/// no tile straddles a horizon.
#[must_use]
pub fn coarsest_hop(plan: &Plan) -> i64 {
    let tiles = plan.aggregates.iter().flat_map(|a| &a.ladder.rungs).map(|rung| rung.tile_ms);
    tiles.fold(plan.time.finest_tile_ms, i64::max)
}

/// The horizon of a batch run whose source holds every event before `completeness_ms`, but for what may yet be late.
#[must_use]
pub fn horizon(plan: &Plan, completeness_ms: i64) -> i64 {
    floor(completeness_ms.saturating_sub(plan.time.allowed_lateness_ms), coarsest_hop(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: i64 = 60_000;
    const H: i64 = 60 * M;
    const D: i64 = 24 * H;

    fn policy() -> TimePolicy {
        TimePolicy { allowed_lateness_ms: 4 * H, max_future_ms: 5 * M, retention_ms: None, finest_tile_ms: M }
    }

    #[test]
    fn floor_and_ceil_round_towards_past_and_future_on_both_sides_of_the_epoch() {
        assert_eq!((floor(-1, 10), floor(-10, 10), floor(19, 10)), (-10, -10, 10));
        assert_eq!((ceil(-1, 10), ceil(-10, 10), ceil(11, 10)), (0, -10, 20));
        assert_eq!(floor(i64::MIN + 3, D), i64::MIN);
        assert_eq!(ceil(i64::MAX - 3, D), i64::MAX);
    }

    #[test]
    fn every_step_divides_the_next() {
        assert!(LADDER.windows(2).all(|w| w[1] % w[0] == 0));
    }

    #[test]
    fn hops_follow_the_sixtieth_rule() {
        assert_eq!(default_hop(H), Some(M));
        assert_eq!(default_hop(D), Some(15 * M));
        assert_eq!(default_hop(7 * D), Some(H));
        assert_eq!(default_hop(30 * D), Some(6 * H));
        assert_eq!(default_hop(90 * D), Some(D));
        assert_eq!(default_hop(59_999), None);
        assert_eq!((tumbling_hop(90 * M), tumbling_hop(7 * D), tumbling_hop(1_500)), (Some(15 * M), Some(D), None));
    }

    #[test]
    fn bounds_are_half_open_and_never_short() {
        let sliding = Window::Sliding { length_ms: H, hop_ms: M };
        assert_eq!(window_bounds(&sliding, &policy(), 2 * H + 1), (Some(H), 2 * H + M));
        assert_eq!(window_bounds(&sliding, &policy(), 2 * H), (Some(H), 2 * H));
        let tumbling = Window::Tumbling { length_ms: H, hop_ms: H };
        assert_eq!(window_bounds(&tumbling, &policy(), 2 * H), (Some(H), 2 * H));
        assert_eq!(window_bounds(&tumbling, &policy(), 2 * H - 1), (Some(0), H));
        assert_eq!(window_bounds(&Window::Lifetime, &policy(), -1), (None, 0));
    }

    #[test]
    fn ladder_of_the_four_usual_windows() {
        let windows: Vec<_> = [H, D, 7 * D, 30 * D]
            .map(|w| Window::Sliding { length_ms: w, hop_ms: default_hop(w).unwrap_or(M) })
            .to_vec();
        let ladder = build_ladder(&windows, &policy(), None);
        let slack = 4 * H + 5 * M;
        let rung = |tile_ms, keep_ms| Rung { tile_ms, keep_ms };
        assert_eq!(
            ladder.rungs,
            [
                rung(M, H + M + slack),
                rung(15 * M, D + 15 * M + slack),
                rung(H, 7 * D + H + slack),
                rung(6 * H, 30 * D + 6 * H + slack)
            ]
        );
        assert!(!ladder.forever);
    }

    #[test]
    fn a_rung_that_a_finer_one_outlives_is_left_out() {
        let windows = [
            Window::Sliding { length_ms: 7 * D, hop_ms: M },
            Window::Sliding { length_ms: D, hop_ms: 15 * M },
            Window::Lifetime,
        ];
        let ladder = build_ladder(&windows, &policy(), None);
        assert_eq!(ladder.rungs.len(), 1);
        assert!(ladder.forever);
    }

    #[test]
    fn a_lambda_keeps_lifetime_tiles_apart_until_no_horizon_lies_in_them() {
        let (slack, week) = (4 * H + 5 * M, 7 * D);
        let windows = [Window::Sliding { length_ms: H, hop_ms: M }, Window::Lifetime];
        let rung = horizon_rung([M, 6 * H], &policy(), week);
        assert_eq!(rung, Rung { tile_ms: 6 * H, keep_ms: week + slack + 6 * H });
        assert_eq!(build_ladder(&windows, &policy(), Some(rung)).rungs.last(), Some(&rung));
        // Without a coarse window, a week is still no ten thousand tiles of a minute.
        assert_eq!(horizon_rung([M], &policy(), week).tile_ms, H);
        // Of a ladder that keeps nothing for all time, and of one that keeps its tiles longer, nothing changes.
        assert_eq!(build_ladder(&windows[..1], &policy(), Some(rung)), build_ladder(&windows[..1], &policy(), None));
        let month = [Window::Sliding { length_ms: 30 * D, hop_ms: 6 * H }, Window::Lifetime];
        assert_eq!(build_ladder(&month, &policy(), Some(rung)), build_ladder(&month, &policy(), None));
    }
}
