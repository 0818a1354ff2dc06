//! Decimal numbers: an integer of up to 38 digits and where its point is.

use std::fmt;

use super::DECIMAL_DIGITS_MAX;

/// The integer of a decimal number: its value times ten to the power of its scale. It is kept in two words, so that a
/// value takes no more room than one of any other type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unscaled {
    high: i64,
    low: u64,
}

impl Unscaled {
    /// `value`, whatever its scale is.
    pub const fn new(value: i128) -> Unscaled {
        Unscaled { high: (value >> 64) as i64, low: value as u64 }
    }

    /// The integer.
    pub const fn get(self) -> i128 {
        (self.high as i128) << 64 | self.low as i128
    }
}

/// The least integer with more than 38 digits.
const LIMIT: i128 = 10i128.pow(DECIMAL_DIGITS_MAX as u32);

/// So many decimal digits survive a float.
const FLOAT_DIGITS: usize = 15;
/// A float beyond this has more digits before the point.
const FLOAT_MAX: f64 = 1e15;

/// Whether `unscaled` has at most 38 digits.
pub const fn is_decimal(unscaled: i128) -> bool {
    -LIMIT < unscaled && unscaled < LIMIT
}

/// `unscaled` digits with the scale `from` as one with the scale `to`; `None` if it has other digits than zeros beyond
/// that, or more than 38.
pub fn rescaled(unscaled: i128, from: u8, to: u8) -> Option<i128> {
    let factor = 10i128.checked_pow(u32::from(from.abs_diff(to)))?;
    let moved = match from <= to {
        true => unscaled.checked_mul(factor)?,
        false if unscaled % factor == 0 => unscaled / factor,
        false => return None,
    };
    is_decimal(moved).then_some(moved)
}

/// `unscaled` digits with the scale `from` as the nearest with the scale `to`, half to even; `None` if those are more
/// than 38.
pub fn rounded(unscaled: i128, from: u8, to: u8) -> Option<i128> {
    if from <= to {
        return rescaled(unscaled, from, to);
    }
    let unit = 10i128.checked_pow(u32::from(from - to))?;
    let (below, rest) = (unscaled.div_euclid(unit), unscaled.rem_euclid(unit));
    let above = unit - rest;
    Some(if rest > above || (rest == above && below % 2 != 0) { below + 1 } else { below })
}

/// Why a text is no decimal number of the scale that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalFault {
    /// It is not a number.
    Malformed,
    /// It has more digits after the point, other than zeros.
    TooFine,
    /// It has more than 38 digits.
    TooLong,
    /// It is a float with more than 15 digits, before the point or in all: others may have been meant.
    Unsure,
}

impl DecimalFault {
    /// What is wrong, after what came.
    pub fn describe(self, scale: u8) -> String {
        match self {
            DecimalFault::Malformed => "which is not a decimal number".into(),
            DecimalFault::TooFine => format!("which has more than {scale} digits after the point"),
            DecimalFault::TooLong => format!("which has more than {DECIMAL_DIGITS_MAX} digits"),
            DecimalFault::Unsure => {
                format!("of which a float keeps {FLOAT_DIGITS} digits; send it as a text")
            }
        }
    }
}

/// Reads `-12.30`, `1e3` or `.5` as an integer of `scale`, exactly.
///
/// # Errors
/// What is wrong with it; nothing is ever rounded.
pub fn parse_decimal(text: &str, scale: u8) -> Result<i128, DecimalFault> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i32>().map_err(|_| DecimalFault::Malformed)?)
        }
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return Err(DecimalFault::Malformed);
    }
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Ok(0);
    }
    // The number is `trimmed` times ten to the power of `power`, and what is asked for ten to the `scale` times that.
    let zeros = (significant.len() - trimmed.len()) as i64;
    let power = i64::from(exponent) - fraction.len() as i64 + zeros + i64::from(scale);
    if power < 0 {
        return Err(DecimalFault::TooFine);
    }
    if trimmed.len() as i64 + power > i64::from(DECIMAL_DIGITS_MAX) {
        return Err(DecimalFault::TooLong);
    }
    let mantissa: i128 = trimmed.parse().map_err(|_| DecimalFault::TooLong)?;
    let unscaled = mantissa * 10i128.pow(power as u32);
    Ok(if negative { -unscaled } else { unscaled })
}

/// Reads a float as the decimal number that it is written as, if that has at most 15 digits, zeros before the point
/// among them: those survive a float. JSON readers make floats of ints beyond int64.
///
/// # Errors
/// As [`parse_decimal`]; with more digits what was meant is lost.
pub fn float_as_decimal(float: f64, scale: u8) -> Result<i128, DecimalFault> {
    if !float.is_finite() {
        return Err(DecimalFault::Malformed);
    }
    if float.abs() > FLOAT_MAX {
        return Err(DecimalFault::Unsure);
    }
    let unscaled = parse_decimal(&format!("{float:e}"), scale)?;
    let digits = unscaled.unsigned_abs().to_string();
    match digits.trim_end_matches('0').len() {
        0..=FLOAT_DIGITS => Ok(unscaled),
        _ => Err(DecimalFault::Unsure),
    }
}

/// The float next to the decimal number, ties to even.
pub fn decimal_as_float(unscaled: i128, scale: u8) -> f64 {
    // Reading decimal digits is correctly rounded, whatever their number.
    format!("{unscaled}e-{scale}").parse().unwrap_or(f64::NAN)
}

/// Shows a decimal number with all digits of its scale.
pub struct ShownDecimal(pub i128, pub u8);

impl fmt::Display for ShownDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShownDecimal(unscaled, scale) = *self;
        let sign = if unscaled < 0 { "-" } else { "" };
        let width = usize::from(scale) + 1;
        let digits = format!("{:0width$}", unscaled.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
        match scale {
            0 => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_exactly_or_refused() {
        let read = |text: &str| parse_decimal(text, 2);
        for (text, unscaled) in [
            ("0", 0),
            ("-0.00", 0),
            ("1", 100),
            ("-12.3", -1230),
            ("+.5", 50),
            ("7.", 700),
            ("1e3", 100_000),
            ("1.2300e0", 123),
            ("12300e-4", 123),
            ("0.010000000000000000000000000000000000000000000", 1),
        ] {
            assert_eq!(read(text), Ok(unscaled), "{text}");
        }
        assert_eq!(read("1.234"), Err(DecimalFault::TooFine));
        assert_eq!(read("1e-9999"), Err(DecimalFault::TooFine));
        assert_eq!(read("1e40"), Err(DecimalFault::TooLong));
        assert_eq!(read(&"9".repeat(36)), Ok((10i128.pow(36) - 1) * 100));
        assert_eq!(read(&"9".repeat(37)), Err(DecimalFault::TooLong));
        for text in ["", ".", "-", "1.2.3", "12a", "NaN", "1e", "1_000", "é"] {
            assert_eq!(read(text), Err(DecimalFault::Malformed), "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_they_are_written() {
        assert_eq!(float_as_decimal(12.34, 2), Ok(1234));
        assert_eq!(float_as_decimal(0.1, 2), Ok(10));
        assert_eq!(float_as_decimal(-1e15, 0), Ok(-1_000_000_000_000_000));
        assert_eq!(float_as_decimal(0.1 + 0.2, 2), Err(DecimalFault::TooFine));
        assert_eq!(float_as_decimal(1_234_567_890_123_456.8, 2), Err(DecimalFault::Unsure));
        assert_eq!(float_as_decimal(12_345_678_901_234.56, 2), Err(DecimalFault::Unsure));
        assert_eq!(float_as_decimal(-1e20, 2), Err(DecimalFault::Unsure));
        assert_eq!(float_as_decimal(f64::INFINITY, 2), Err(DecimalFault::Malformed));
    }

    #[test]
    fn shown_decimals_are_read_again() {
        for unscaled in [0, 1, -1, 99, -100, 12_345, i128::from(i64::MAX), -(10i128.pow(38) - 1)] {
            for scale in [0, 1, 2, 5, 38] {
                let text = ShownDecimal(unscaled, scale).to_string();
                assert_eq!(parse_decimal(&text, scale), Ok(unscaled), "{text}");
                assert_eq!(Unscaled::new(unscaled).get(), unscaled);
            }
        }
        assert_eq!(ShownDecimal(-5, 2).to_string(), "-0.05");
        assert_eq!(ShownDecimal(1230, 2).to_string(), "12.30");
        assert!(
            Unscaled::new(-1) < Unscaled::new(0) && Unscaled::new(1 << 64) > Unscaled::new(i64::MAX.into())
        );
    }

    #[test]
    fn scales_change_without_loss_only() {
        assert_eq!(rescaled(123, 2, 4), Some(12_300));
        assert_eq!(rescaled(12_300, 4, 2), Some(123));
        assert_eq!(rescaled(12_301, 4, 2), None);
        assert_eq!(rescaled(10i128.pow(37), 0, 1), None);
        for (unscaled, nearest) in
            [(149, 1), (150, 2), (250, 2), (251, 3), (-150, -2), (-250, -2), (-251, -3), (-50, 0)]
        {
            assert_eq!(rounded(unscaled, 2, 0), Some(nearest), "{unscaled}");
        }
        assert_eq!(rounded(10i128.pow(38) - 1, 38, 0), Some(1));
        assert_eq!(rounded(10i128.pow(37), 0, 1), None);
    }
}
