//! Laws of parts: identity, commutativity, associativity, insertion as a merge, and bytes that tell equal states apart
//! from others; and the two sketches and the rounding by themselves.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use arrow::datatypes::i256;
use num_bigint::BigInt;
use proptest::prelude::*;

use super::codec::{Cursor, put_packed, put_varint, unzigzag, zigzag};
use super::column::{self, Slot};
use super::ratio::{nearest, nearest_wide};
use super::*;
use crate::value::ValueType;

const SLOT: Slot = Slot { start: 0, end: 1_000 };

type Seen = (i64, Scalar);

fn parts() -> impl Strategy<Value = (Part, BoxedStrategy<Vec<Seen>>)> {
    let ints = prop_oneof![3 => -9_i64..9, 1 => any::<i64>()].prop_map(Scalar::Int64).boxed();
    let doubles = prop_oneof![3 => (-900_i32..900).prop_map(|c| f64::from(c) / 100.0), 1 => any::<f64>()]
        .prop_filter_map("finite", |x| ValueRef::Double(x).canonical().map(ValueRef::to_scalar))
        .boxed();
    let decimals = any::<i64>().prop_map(|x| Scalar::Decimal((i128::from(x) * 1_000_000_007).into())).boxed();
    let texts = "[ab]{0,3}".prop_map(|x| Scalar::String(x.into())).boxed();
    let decimal = ValueType::Decimal { precision: 28, scale: 3 };
    let numeric = [Kind::Sum, Kind::Squares, Kind::Quantiles];
    let any_kind = [
        Kind::Count,
        Kind::Min,
        Kind::Max,
        Kind::Distinct,
        Kind::First,
        Kind::Last,
        Kind::LastK(3),
        Kind::TopK(2),
        Kind::Earliest,
        Kind::Latest,
    ];
    let mut out = Vec::new();
    for (value_type, values, number) in [
        (ValueType::Int64, ints, true),
        (ValueType::Double, doubles, true),
        (decimal, decimals, true),
        (ValueType::String, texts, false),
    ] {
        for kind in any_kind.iter().chain(numeric.iter().filter(|_| number)) {
            let part = Part { kind: *kind, value_type: Some(value_type.clone()) };
            out.push((part, prop::collection::vec((0_i64..1_000, values.clone()), 0..12).boxed()));
        }
    }
    prop::sample::select(out)
}

fn cases() -> impl Strategy<Value = (Part, [Vec<Seen>; 3])> {
    parts().prop_flat_map(|(part, seen)| (Just(part), [seen.clone(), seen.clone(), seen]))
}

fn state(part: &Part, seen: &[Seen]) -> State {
    let mut state = State::Empty;
    for (time, value) in seen {
        part.insert(&mut state, *time, Some(value.get()));
    }
    state
}

fn merged(part: &Part, a: &State, b: &State) -> State {
    let mut out = a.clone();
    part.merge(&mut out, b);
    out
}

/// A column of any part, counts too.
fn put(out: &mut Vec<u8>, part: &Part, slots: &[Slot], states: &[&State]) {
    if part.kind != Kind::Count {
        return column::put(out, part, slots, states);
    }
    let count = |state: &&State| if let State::Count(count) = state { *count } else { 0 };
    column::put_counts(out, states.iter().map(count));
}

fn take(from: &mut Cursor<'_>, part: &Part, slots: &[Slot]) -> Result<Vec<State>, Malformed> {
    if part.kind != Kind::Count {
        return column::take(from, part, slots);
    }
    Ok(column::take_counts(from, slots.len())?.into_iter().map(State::Count).collect())
}

fn bytes(part: &Part, state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    if !state.is_empty() {
        put(&mut out, part, &[SLOT], &[state]);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_a_commutative_monoid((part, [a, b, c]) in cases()) {
        let [x, y, z] = [&a, &b, &c].map(|seen| state(&part, seen));
        let all: Vec<Seen> = [c, a, b].concat();
        let expected = state(&part, &all);
        let left = merged(&part, &merged(&part, &x, &y), &z);
        let right = merged(&part, &x, &merged(&part, &y, &z));
        let back = merged(&part, &merged(&part, &z, &y), &x);
        for got in [&left, &right, &back] {
            prop_assert_eq!(got, &expected);
            prop_assert_eq!(bytes(&part, got), bytes(&part, &expected));
        }
        let mut absorbed = y.clone();
        part.absorb(&mut absorbed, merged(&part, &x, &z));
        prop_assert_eq!(&absorbed, &expected);
        prop_assert_eq!(merged(&part, &x, &State::Empty), x.clone());
        prop_assert_eq!(merged(&part, &State::Empty, &x), x);
    }

    #[test]
    fn columns_round_trip((part, seen) in cases()) {
        let states: Vec<State> = seen.iter().map(|s| state(&part, s)).filter(|s| !s.is_empty()).collect();
        let refs: Vec<&State> = states.iter().collect();
        let slots = vec![SLOT; states.len()];
        let mut out = Vec::new();
        put(&mut out, &part, &slots, &refs);
        let mut from = Cursor::new(&out);
        let back = take(&mut from, &part, &slots).unwrap();
        from.end().unwrap();
        prop_assert_eq!(back, states);
        for cut in 0..out.len() {
            let mut from = Cursor::new(&out[..cut]);
            prop_assert!(take(&mut from, &part, &slots).is_err());
        }
    }

    #[test]
    fn one_double_has_the_bytes_of_its_sum(x in any::<f64>().prop_filter("finite", |x| x.is_finite()), digits in -5_000_000_i32..5_000_000) {
        let part = Part { kind: Kind::Sum, value_type: Some(ValueType::Double) };
        for x in [x + 0.0, f64::from(digits) / 100.0, f64::from(digits) / 1e6] {
            let (mut alone, mut sum) = (Vec::new(), Vec::new());
            column::put_double(&mut alone, x);
            column::put_number(&mut sum, &part, &State::Sum(Dyadic::double(x)));
            prop_assert_eq!(alone, sum);
        }
    }

    #[test]
    fn integers_round_trip(x in any::<i128>(), y in any::<u128>(), width in 0_u32..=64, many in prop::collection::vec(any::<u64>(), 0..20)) {
        prop_assert_eq!(unzigzag(zigzag(x)), x);
        let mut out = Vec::new();
        put_varint(&mut out, y);
        prop_assert_eq!(Cursor::new(&out).varint(), Ok(y));
        let many: Vec<u64> = many.into_iter().map(|v| if width == 0 { 0 } else { v >> (64 - width) }).collect();
        let mut out = Vec::new();
        put_packed(&mut out, width, many.iter().copied());
        prop_assert_eq!(Cursor::new(&out).packed(width, many.len()).unwrap().collect::<Vec<_>>(), many);
    }

    #[test]
    fn division_rounds_as_ieee_754_does(a in any::<i32>(), b in any::<i32>(), e in -1_100_i64..1_000) {
        let (x, y) = (f64::from(a), f64::from(b));
        let got = nearest(&a.into(), &b.into(), 0);
        prop_assert_eq!(got, (b != 0).then(|| x / y + 0.0));
        // A power of two takes nothing away until the result is subnormal, and `scalbn` rounds that once.
        let scaled = libm::scalbn(x, e as i32) + 0.0;
        prop_assert_eq!(nearest(&a.into(), &BigInt::from(1), e), scaled.is_finite().then_some(scaled));
    }

    #[test]
    fn wide_numbers_round_as_big_ones_do(
        a in any::<i128>(), b in any::<i128>(), by in 0_u32..128, d in 1_u64..1 << 62, cut in 0_u32..62, e in -1_300_i64..1_200,
    ) {
        let (b, d) = (b >> by, d >> cut);
        let product = i256::from_i128(a).checked_mul(i256::from_i128(b)).unwrap();
        let big = BigInt::from(a) * b;
        prop_assert_eq!(nearest_wide(product, d, e), nearest(&big, &d.into(), e));
    }

    #[test]
    fn averages_and_deviations_are_the_same_of_big_and_small_sums(
        xs in prop::collection::vec(prop_oneof![any::<i32>().prop_map(|x| f64::from(x) / 100.0), any::<f64>().prop_filter("finite", |x| x.is_finite())], 2..20),
    ) {
        let (mut sum, mut squares) = (Dyadic::ZERO, Dyadic::ZERO);
        for x in &xs {
            sum.add(&Dyadic::double(*x));
            squares.add(&Dyadic::double_squared(*x));
        }
        let big = |sum: &Dyadic| State::Sum(Dyadic::Big(Box::new(sum.big())));
        let n = State::Count(xs.len() as u64);
        for function in [Function::Sum, Function::Avg, Function::Variance, Function::StdDev] {
            let of = |sum: &State, squares: &State| {
                let parts: &[&State] = match function {
                    Function::Sum => &[sum],
                    Function::Avg => &[&n, sum],
                    _ => &[&n, sum, squares],
                };
                finalize(&function, parts, Some(&ValueType::Double), &ValueType::Double)
            };
            let small = of(&State::Sum(sum.clone()), &State::Sum(squares.clone()));
            prop_assert_eq!(small, of(&big(&sum), &big(&squares)));
        }
    }

    #[test]
    fn sums_of_doubles_are_those_of_rationals(xs in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 0..20)) {
        let mut sum = Dyadic::ZERO;
        let mut expected = BigInt::ZERO;
        for x in xs {
            sum.add(&Dyadic::double(x));
            let (bits, negative) = (x.abs().to_bits(), x < 0.0);
            let size = match bits >> 52 {
                0 => BigInt::from(bits),
                e => BigInt::from(bits & ((1 << 52) - 1) | 1 << 52) << (e - 1),
            };
            expected += if negative { -size } else { size };
        }
        let (m, e) = sum.parts();
        prop_assert_eq!(m << usize::try_from(e + if e == 0 && expected == BigInt::ZERO { 0 } else { 1_074 }).unwrap(), expected);
    }
}

#[test]
fn hyperloglog_is_within_its_error_over_its_range() {
    let mut set = Distinct::EMPTY;
    let mut worst: f64 = 0.0;
    for n in 1..=200_000_i64 {
        set.insert(super::distinct::hash(ValueRef::Int64(n)));
        if n <= 256 {
            assert_eq!(set.estimate(), n);
        } else if n % 97 == 0 {
            worst = worst.max((set.estimate() - n).abs() as f64 / n as f64);
        }
    }
    // The standard error is 1.04/√4096 = 1.6 %.
    assert!(worst < 0.05, "{worst}");
}

#[test]
fn sets_promote_by_their_size_alone() {
    let hashes: Vec<u64> = (0..300).map(|n| super::distinct::hash(ValueRef::Int64(n))).collect();
    let of = |hashes: &[u64]| {
        let mut set = Distinct::EMPTY;
        for h in hashes {
            set.insert(*h);
        }
        set
    };
    let whole = of(&hashes);
    assert!(matches!(whole, Distinct::Registers(_)));
    assert!(matches!(of(&hashes[..256]), Distinct::Exact(_)));
    for cut in [1, 44, 150, 256, 299] {
        let mut a = of(&hashes[..cut]);
        a.merge(&of(&hashes[cut / 2..]));
        assert_eq!(a, whole);
    }
}

/// The hash is in every lane: it may never change.
#[test]
fn hashes_are_fixed() {
    let hash = super::distinct::hash;
    assert_eq!(hash(ValueRef::String("")), 0x2d06_8005_38d3_94c2);
    assert_eq!(hash(ValueRef::Int64(1)), hash(ValueRef::Timestamp(1)));
    assert_ne!(hash(ValueRef::Int64(1)), hash(ValueRef::Decimal(1)));
}

#[test]
fn quantiles_are_within_one_percent_from_the_smallest_to_the_largest_double() {
    let sizes = (-307..=308).map(|e| 10_f64.powi(e) * 1.234).chain([f64::MAX, f64::MIN_POSITIVE]);
    for x in sizes.flat_map(|x| [x, -x]) {
        let mut sketch = Quantiles::default();
        sketch.insert(x);
        let got = sketch.value(0.5).unwrap();
        assert!((got - x).abs() <= x.abs() * ACCURATE, "{x} reads {got}");
    }
    let mut sketch = Quantiles::default();
    (-500..=500).for_each(|x| sketch.insert(f64::from(x)));
    for (q, x) in [(0.0, -500.0_f64), (0.25, -250.0), (0.5, 0.0), (0.75, 250.0), (1.0, 500.0)] {
        let got = sketch.value(q).unwrap();
        assert!((got - x).abs() <= x.abs() * ACCURATE, "{q} reads {got}");
    }
}

const ACCURATE: f64 = super::quantiles::ACCURACY * (1.0 + 1e-9);
