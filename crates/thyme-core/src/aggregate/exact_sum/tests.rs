use proptest::prelude::*;

use super::*;
use crate::value::canonical;

/// The sum by counting bits: bit `i` of `bits` counts 2^(i - 1074).
fn reference(values: &[f64]) -> f64 {
    let any = |p: fn(&f64) -> bool| values.iter().any(p);
    let (nan, plus, minus) =
        (any(|v| v.is_nan()), any(|v| *v == f64::INFINITY), any(|v| *v == f64::NEG_INFINITY));
    if nan || (plus && minus) {
        return NAN;
    }
    if plus || minus {
        return if plus { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    let mut bits = vec![0i64; 2300];
    for v in values {
        let (field, fraction) = ((v.to_bits() >> 52) & 0x7ff, v.to_bits() & ((1 << 52) - 1));
        let (mantissa, from) =
            if field == 0 { (fraction, 0) } else { (fraction | 1 << 52, field as usize - 1) };
        for bit in 0..53 {
            bits[from + bit] += (mantissa >> bit & 1) as i64 * if *v < 0.0 { -1 } else { 1 };
        }
    }
    let carried = |bits: &[i64]| {
        let mut carry = 0;
        let bits: Vec<i64> = bits
            .iter()
            .map(|b| {
                let total = b + carry;
                carry = total.div_euclid(2);
                total.rem_euclid(2)
            })
            .collect();
        (bits, carry < 0)
    };
    let (mut done, negative) = carried(&bits);
    if negative {
        done = carried(&bits.iter().map(|b| -b).collect::<Vec<_>>()).0;
    }
    let Some(top) = done.iter().rposition(|b| *b == 1) else { return 0.0 };
    let last = top.saturating_sub(52);
    let mut kept = done[last..=top].iter().rev().fold(0u64, |all, b| all << 1 | *b as u64);
    let half = last > 0 && done[last - 1] == 1;
    let below = last > 1 && done[..last - 1].contains(&1);
    kept += u64::from(half && (below || kept & 1 == 1));
    let mut value = kept as f64;
    for _ in last..1074 {
        value /= 2.0;
    }
    for _ in 1074..last {
        value *= 2.0;
    }
    if negative { -value } else { value }
}

fn sum_of(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    sum.add_all(&values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    sum
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

#[test]
fn cases_where_floats_go_wrong() {
    let max = f64::MAX;
    let tiny = 5e-324;
    let cases: &[(&[f64], f64)] = &[
        (&[], 0.0),
        (&[0.1; 10], 1.0),
        (&[1e308, 1e308, -1e308], 1e308),
        (&[max, max], f64::INFINITY),
        (&[-max, -max], f64::NEG_INFINITY),
        (&[max, max, -max, -max], 0.0),
        // Half of the last bit of the greatest float: a tie that rounds away to infinity; anything less does not.
        (&[max, 9.979_201_547_673_6e291], f64::INFINITY),
        (&[max, 9.979_201_547_673_6e291, -tiny], max),
        (&[1e300, 1.0, -1e300], 1.0),
        (&[1e300, 1e-300, -1e300], 1e-300),
        (&[1.0, 1.1102230246251565e-16], 1.0),
        (&[1.0, 1.1102230246251565e-16, tiny], 1.0000000000000002),
        (&[1.0000000000000002, 1.1102230246251565e-16], 1.0000000000000004),
        (&[1.0000000000000002, 1.1102230246251565e-16, -tiny], 1.0000000000000002),
        (&[tiny, tiny, tiny], 1.5e-323),
        (&[f64::MIN_POSITIVE, -tiny], 2.225073858507201e-308),
        (&[2.225073858507201e-308, tiny], f64::MIN_POSITIVE),
        (&[0.0, 0.0, 3.5, 0.0], 3.5),
        (&[1.0, f64::INFINITY], f64::INFINITY),
        (&[f64::NEG_INFINITY, max], f64::NEG_INFINITY),
    ];
    for (values, expected) in cases {
        assert!(same(sum_of(values).round(), *expected), "{values:?}: {}", sum_of(values).round());
        assert!(same(reference(values), *expected), "the reference on {values:?}: {}", reference(values));
    }
    for values in [&[NAN, 1.0][..], &[f64::INFINITY, f64::NEG_INFINITY]] {
        assert!(sum_of(values).round().is_nan());
    }
}

#[test]
fn what_is_removed_leaves_no_trace() {
    let mut sum = sum_of(&[0.1, f64::INFINITY, NAN, 1e300, 5e-324]);
    for v in [NAN, f64::INFINITY, 1e300, 5e-324] {
        sum.subtract(v);
    }
    assert_eq!(sum.round(), 0.1);
    sum.subtract(0.1);
    assert!(same(sum.round(), 0.0));
}

#[test]
fn digits_carry_before_they_overflow() {
    let mut sum = ExactSum::default();
    sum.add(1e290);
    sum.add(-1.0);
    for _ in 0..40 {
        let twin = sum.clone();
        sum.merge(&twin);
    }
    let n = (1u64 << 40) as f64;
    assert_eq!(sum.round(), reference(&[1e290 * n, -n]));
    sum.add(-1e290 * n);
    assert_eq!(sum.round(), -n);
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| canonical(f64::from_bits(bits))).prop_filter("finite", |v| v.is_finite()),
        4 => (-1000i32..1000).prop_map(|cents| canonical(f64::from(cents) / 100.0)),
        2 => (any::<i64>(), -60i32..60).prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
        1 => (0u64..1 << 53).prop_map(f64::from_bits),
        1 => prop::sample::select(vec![f64::MAX, -f64::MAX, 5e-324, -5e-324, f64::MIN_POSITIVE, 0.0, 1.0, -1.0]),
    ]
}

fn special() -> impl Strategy<Value = f64> {
    prop_oneof![8 => float(), 1 => prop::sample::select(vec![NAN, f64::INFINITY, f64::NEG_INFINITY])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_sum_is_the_exact_one_rounded_once(values in prop::collection::vec(float(), 0..40)) {
        prop_assert!(same(sum_of(&values).round(), reference(&values)));
        let mut single = ExactSum::default();
        values.iter().for_each(|v| single.add(*v));
        prop_assert!(same(single.round(), reference(&values)));
    }

    #[test]
    fn sums_that_nearly_cancel_are_exact(values in prop::collection::vec(float(), 0..20), more in float()) {
        let mut all: Vec<f64> = values.iter().rev().map(|v| -v).collect();
        all.push(more);
        all.extend(values);
        prop_assert!(same(sum_of(&all).round(), canonical(more)));
    }

    #[test]
    fn merging_is_adding_and_removing_undoes_it(
        a in prop::collection::vec(special(), 0..30),
        b in prop::collection::vec(special(), 0..30),
        c in prop::collection::vec(special(), 0..30),
    ) {
        let all: Vec<f64> = a.iter().chain(&b).chain(&c).copied().collect();
        let mut merged = sum_of(&b);
        merged.merge(&sum_of(&c));
        let mut other = sum_of(&a);
        other.merge(&merged);
        prop_assert!(same(other.round(), reference(&all)));
        other.subtract_all(&b.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        a.iter().for_each(|v| other.subtract(*v));
        prop_assert!(same(other.round(), reference(&c)));
    }

    #[test]
    fn a_long_block_of_like_exponents_is_exact(
        values in prop::collection::vec((any::<i64>(), 0i32..70), 200..300), cut in 0i32..70,
    ) {
        let values: Vec<f64> = values.iter().map(|(m, e)| *m as f64 * 2f64.powi(e % (cut + 1))).collect();
        prop_assert!(same(sum_of(&values).round(), reference(&values)));
    }
}
