//! Python's arithmetic on single numbers; `None` where Python raises or an int leaves 64 bits.

use std::cmp::Ordering;

/// Ints of at most this magnitude are exact as floats.
const EXACT_MAX: u64 = 1 << 53;

/// 2^63 as a float: the first float above every int.
const INT_LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// `a // b`.
#[inline]
pub(super) fn floor_div_int(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let remainder = a.wrapping_rem(b);
    Some(if remainder != 0 && (remainder < 0) != (b < 0) { quotient - 1 } else { quotient })
}

/// `a % b`.
#[inline]
pub(super) fn floor_mod_int(a: i64, b: i64) -> Option<i64> {
    if b == 0 {
        return None;
    }
    let remainder = a.wrapping_rem(b);
    Some(if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder })
}

/// `a / b`, rounded once to nearest, ties to even.
#[inline]
pub(super) fn true_div_int(a: i64, b: i64) -> Option<f64> {
    if b == 0 {
        return None;
    }
    let (x, y) = (a.unsigned_abs(), b.unsigned_abs());
    if x <= EXACT_MAX && y <= EXACT_MAX {
        return Some(a as f64 / b as f64 + 0.0);
    }
    let quotient = divide_rounded(x, y);
    Some(if (a < 0) != (b < 0) && quotient != 0.0 { -quotient } else { quotient })
}

/// `x / y` correctly rounded, by an integer quotient of at least 56 bits whose last bit is sticky.
fn divide_rounded(x: u64, y: u64) -> f64 {
    if x == 0 {
        return 0.0;
    }
    let bits = |v: u64| 64 - v.leading_zeros();
    let shift = (56 + bits(y)).saturating_sub(bits(x));
    let scaled = u128::from(x) << shift;
    let (quotient, remainder) = (scaled / u128::from(y), scaled % u128::from(y));
    let sticky = quotient | u128::from(remainder != 0);
    // The conversion rounds once; dividing by a power of two is exact: the exponent stays far from its limits.
    sticky as f64 / (1u128 << shift) as f64
}

/// `a // b` for `b != 0`, as CPython computes it.
#[inline]
pub(super) fn floor_div_float(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder != 0.0 && (b < 0.0) != (remainder < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0.0;
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// `a % b` for `b != 0`, as CPython computes it.
#[inline]
pub(super) fn floor_mod_float(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder != 0.0 && (b < 0.0) != (remainder < 0.0) { remainder + b } else { remainder }
}

/// The exact order of an int and a float; `None` for NaN.
#[inline]
pub(super) fn compare_int_float(i: i64, f: f64) -> Option<Ordering> {
    if f.is_nan() {
        return None;
    }
    if f >= INT_LIMIT {
        return Some(Ordering::Less);
    }
    if f < -INT_LIMIT {
        return Some(Ordering::Greater);
    }
    let whole = f.trunc();
    i.cmp(&(whole as i64)).then(0.0.partial_cmp(&(f - whole)).unwrap_or(Ordering::Equal)).into()
}

/// The float equal to `i`, if there is one.
pub(super) fn int_as_exact_float(i: i64) -> Option<f64> {
    (i.unsigned_abs() <= EXACT_MAX).then_some(i as f64)
}

/// The int equal to `f`, if there is one.
pub(super) fn float_as_exact_int(f: f64) -> Option<i64> {
    (f.trunc() == f && (-INT_LIMIT..INT_LIMIT).contains(&f)).then_some(f as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::canonical;

    #[test]
    fn numbers_are_what_cpython_gives() {
        let float = |text: &str| f64::from_bits(u64::from_str_radix(text, 16).unwrap());
        let int = |text: &str| text.parse::<i64>().unwrap();
        let bits = |v: f64| format!("{:016x}", canonical(v).to_bits());
        let mut rows = 0;
        for line in include_str!("python_numbers.txt").lines().filter(|l| !l.starts_with('#')) {
            let w: Vec<_> = line.split(' ').collect();
            match w[0] {
                "int" => {
                    let (a, b) = (int(w[1]), int(w[2]));
                    assert_eq!(floor_div_int(a, b), Some(int(w[3])), "{line}");
                    assert_eq!(floor_mod_int(a, b), Some(int(w[4])), "{line}");
                    assert_eq!(bits(true_div_int(a, b).unwrap()), w[5], "{line}");
                }
                "float" => {
                    let (a, b) = (float(w[1]), float(w[2]));
                    assert_eq!(bits(floor_div_float(a, b)), w[3], "{line}");
                    assert_eq!(bits(floor_mod_float(a, b)), w[4], "{line}");
                    assert_eq!(bits(a / b), w[5], "{line}");
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

    #[test]
    fn what_raises_in_python_is_none() {
        assert_eq!(floor_div_int(i64::MIN, -1), None);
        assert_eq!(floor_mod_int(i64::MIN, -1), Some(0));
        assert_eq!(true_div_int(i64::MIN, -1), Some(INT_LIMIT));
        for a in [0, 1, i64::MIN] {
            assert_eq!((floor_div_int(a, 0), floor_mod_int(a, 0), true_div_int(a, 0)), (None, None, None));
        }
    }

    #[test]
    fn only_exact_constants_change_their_type() {
        assert_eq!(float_as_exact_int(2.5), None);
        assert_eq!(float_as_exact_int(INT_LIMIT), None);
        assert_eq!(float_as_exact_int(-INT_LIMIT), Some(i64::MIN));
        assert_eq!(float_as_exact_int(f64::NAN), None);
        assert_eq!(int_as_exact_float((1 << 53) + 1), None);
    }
}
