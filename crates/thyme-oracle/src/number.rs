//! Numbers as Python has them (api, section 1), and the exact sum.

use std::cmp::Ordering;

/// `a // b` and `a % b` of ints: the quotient floors, the remainder has the sign of `b`. `None` for a
/// zero divisor.
pub fn floor_divide(a: i64, b: i64) -> Option<(i128, i128)> {
    let (a, b) = (i128::from(a), i128::from(b));
    if b == 0 {
        return None;
    }
    let (quotient, remainder) = (a / b, a % b);
    if remainder != 0 && (remainder < 0) != (b < 0) {
        return Some((quotient - 1, remainder + b));
    }
    Some((quotient, remainder))
}

/// `a / b` of ints, rounded once: written out as a decimal and read as a float. `None` for a zero divisor.
pub fn divide(a: i64, b: i64) -> Option<f64> {
    if b == 0 {
        return None;
    }
    let (x, y) = (u128::from(a.unsigned_abs()), u128::from(b.unsigned_abs()));
    // Half-way points between two floats of this size have fewer than 130 decimals, so a last digit that
    // says whether anything follows is enough to round as the whole expansion would.
    let mut text = format!("{}.", x / y);
    let mut rest = x % y;
    for _ in 0..130 {
        rest *= 10;
        text.push(char::from(b'0' + (rest / y) as u8));
        rest %= y;
    }
    text.push(if rest > 0 { '1' } else { '0' });
    let quotient: f64 = text.parse().ok()?;
    Some(if quotient != 0.0 && (a < 0) != (b < 0) { -quotient } else { quotient })
}

/// `a // b` and `a % b` of floats, step by step as `float_divmod` of CPython does it. `None` for a zero divisor.
pub fn floor_divide_floats(a: f64, b: f64) -> Option<(f64, f64)> {
    if b == 0.0 {
        return None;
    }
    let mut remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder != 0.0 {
        if (b < 0.0) != (remainder < 0.0) {
            remainder += b;
            quotient -= 1.0;
        }
    } else {
        remainder = 0.0;
    }
    if quotient != 0.0 {
        let floor = quotient.floor();
        quotient = if quotient - floor > 0.5 { floor + 1.0 } else { floor };
    } else {
        quotient = 0.0;
    }
    Some((quotient, remainder))
}

/// The exact order of an int and a float; `None` for NaN.
pub fn compare_int_float(i: i64, f: f64) -> Option<Ordering> {
    if f.is_nan() {
        return None;
    }
    let fraction = if f > f.floor() { Ordering::Less } else { Ordering::Equal };
    // A float too large for i128 becomes its limit, which no int64 reaches.
    Some(i128::from(i).cmp(&(f.floor() as i128)).then(fraction))
}

/// The exact real sum rounded once to nearest even; NaN and infinities are summed as a set.
pub fn exact_sum(values: &[f64]) -> f64 {
    let has = |wanted: f64| values.contains(&wanted);
    match (values.iter().any(|v| v.is_nan()), has(f64::INFINITY), has(f64::NEG_INFINITY)) {
        (true, _, _) | (_, true, true) => return f64::from_bits(0x7ff8_0000_0000_0000),
        (_, true, _) => return f64::INFINITY,
        (_, _, true) => return f64::NEG_INFINITY,
        _ => {}
    }
    // `counts[i]` says how often 2^(i - 1074) was added, less how often it was subtracted.
    let mut counts = vec![0i64; 2200];
    for v in values {
        let (field, fraction) = (v.to_bits() >> 52 & 0x7ff, v.to_bits() & ((1 << 52) - 1));
        let (mantissa, lowest) =
            if field == 0 { (fraction, 0) } else { (fraction + (1 << 52), field as usize - 1) };
        for i in 0..53 {
            let sign = if v.is_sign_negative() { -1 } else { 1 };
            counts[lowest + i] += sign * (mantissa >> i & 1) as i64;
        }
    }
    let negative = binary(&mut counts);
    if negative {
        counts.iter_mut().for_each(|count| *count = -*count);
        binary(&mut counts);
    }
    let Some(top) = counts.iter().rposition(|bit| *bit == 1) else { return 0.0 };
    let lowest = top.saturating_sub(52);
    let mut kept = counts[lowest..=top].iter().rev().fold(0u64, |all, bit| all * 2 + *bit as u64);
    let (half, below) = match lowest {
        0 => (false, false),
        n => (counts[n - 1] == 1, counts[..n - 1].contains(&1)),
    };
    if half && (below || kept % 2 == 1) {
        kept += 1;
    }
    // Each step is exact: the result is `kept` of at most 53 bits at a place a float can have.
    let mut rounded = kept as f64;
    (lowest..1074).for_each(|_| rounded /= 2.0);
    (1074..lowest).for_each(|_| rounded *= 2.0);
    if negative { -rounded } else { rounded }
}

/// Carries until every count is 0 or 1; says whether the number is negative, which leaves it in two's complement.
fn binary(counts: &mut [i64]) -> bool {
    let mut carry = 0;
    for count in counts {
        let all = *count + carry;
        *count = all.rem_euclid(2);
        carry = all.div_euclid(2);
    }
    carry < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use thyme_core::value::canonical;

    #[test]
    fn numbers_are_what_cpython_gives() {
        let float = |text: &str| f64::from_bits(u64::from_str_radix(text, 16).unwrap());
        let int = |text: &str| text.parse::<i64>().unwrap();
        let bits = |v: f64| format!("{:016x}", canonical(v).to_bits());
        let mut rows = 0;
        let table = include_str!("../../thyme-core/src/expr/python_numbers.txt");
        for line in table.lines().filter(|l| !l.starts_with('#')) {
            let w: Vec<_> = line.split(' ').collect();
            match w[0] {
                "int" => {
                    let (a, b) = (int(w[1]), int(w[2]));
                    let expected = (i128::from(int(w[3])), i128::from(int(w[4])));
                    assert_eq!(floor_divide(a, b), Some(expected), "{line}");
                    assert_eq!(bits(divide(a, b).unwrap()), w[5], "{line}");
                }
                "float" => {
                    let (quotient, remainder) = floor_divide_floats(float(w[1]), float(w[2])).unwrap();
                    assert_eq!((bits(quotient), bits(remainder)), (w[3].into(), w[4].into()), "{line}");
                }
                _ => {
                    let sign = match compare_int_float(int(w[1]), float(w[2])) {
                        Some(Ordering::Less) => "<",
                        Some(Ordering::Equal) => "=",
                        Some(Ordering::Greater) => ">",
                        None => "!",
                    };
                    assert_eq!(sign, w[3], "{line}");
                }
            }
            rows += 1;
        }
        assert!(rows > 500);
    }
}
