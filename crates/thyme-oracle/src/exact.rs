//! Exact fractions, and the float nearest to one.

use std::cmp::Ordering;

use num_bigint::BigInt;
use thyme_core::Value;

/// `numerator / denominator`; the denominator is positive.
#[derive(Clone, Debug)]
pub struct Fraction {
    numerator: BigInt,
    denominator: BigInt,
}

impl Fraction {
    /// The quotient of two integers. A zero denominator is taken for one.
    pub fn new(numerator: BigInt, denominator: BigInt) -> Fraction {
        match denominator.cmp(&BigInt::ZERO) {
            Ordering::Less => Fraction { numerator: -numerator, denominator: -denominator },
            Ordering::Equal => Fraction { numerator, denominator: BigInt::from(1) },
            Ordering::Greater => Fraction { numerator, denominator },
        }
    }

    /// The exact value of an int or a finite float; `None` for anything else.
    pub fn of(value: &Value) -> Option<Fraction> {
        match value {
            Value::Int(v) => Some(Fraction::new(BigInt::from(*v), BigInt::from(1))),
            Value::Float(v) if v.is_finite() => Some(Fraction::of_float(*v)),
            _ => None,
        }
    }

    /// The exact value of a finite float.
    pub fn of_float(v: f64) -> Fraction {
        let (field, fraction) = (v.to_bits() >> 52 & 0x7ff, v.to_bits() & ((1 << 52) - 1));
        let (mantissa, places) = match field {
            0 => (fraction, -1074),
            _ => (fraction + (1 << 52), field as i64 - 1075),
        };
        let mantissa = if v < 0.0 { -BigInt::from(mantissa) } else { BigInt::from(mantissa) };
        Fraction::new(mantissa, BigInt::from(1)).times_two_to(places)
    }

    /// Times a power of two.
    pub fn times_two_to(&self, places: i64) -> Fraction {
        let mut scaled = self.clone();
        // Halving the one or doubling the other, as long as it goes: small numbers are quick.
        let zeros = match places {
            0.. => scaled.denominator.trailing_zeros().unwrap_or(0),
            _ => scaled.numerator.trailing_zeros().unwrap_or(0),
        };
        let cut = zeros.min(places.unsigned_abs());
        let rest = places.unsigned_abs() - cut;
        match places {
            0.. => {
                scaled.denominator >>= cut;
                scaled.numerator <<= rest;
            }
            _ => {
                scaled.numerator >>= cut;
                scaled.denominator <<= rest;
            }
        }
        scaled
    }

    /// The sum.
    pub fn plus(&self, other: &Fraction) -> Fraction {
        if self.denominator == other.denominator {
            return Fraction::new(&self.numerator + &other.numerator, self.denominator.clone());
        }
        let numerator = &self.numerator * &other.denominator + &other.numerator * &self.denominator;
        Fraction::new(numerator, &self.denominator * &other.denominator)
    }

    /// The product.
    pub fn times(&self, other: &Fraction) -> Fraction {
        Fraction::new(&self.numerator * &other.numerator, &self.denominator * &other.denominator)
    }

    /// The quotient; `None` for a zero divisor.
    pub fn over(&self, other: &Fraction) -> Option<Fraction> {
        (other.numerator != BigInt::ZERO).then(|| {
            Fraction::new(&self.numerator * &other.denominator, &self.denominator * &other.numerator)
        })
    }

    /// Its sign: -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.numerator.cmp(&BigInt::ZERO) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// A number that is not negative as a whole one, and the rest.
    pub fn split(&self) -> (usize, Fraction) {
        let whole = &self.numerator / &self.denominator;
        let rest = &self.numerator - &whole * &self.denominator;
        (usize::try_from(whole).unwrap_or(usize::MAX), Fraction::new(rest, self.denominator.clone()))
    }

    /// Several numbers over one denominator: their numerators, and that denominator.
    pub fn common(all: &[Fraction]) -> (Vec<BigInt>, BigInt) {
        // Denominators of floats are powers of two, so the largest is a multiple of each.
        let largest = all.iter().map(|f| f.denominator.clone()).max().unwrap_or_else(|| BigInt::from(1));
        (all.iter().map(|f| &f.numerator * (&largest / &f.denominator)).collect(), largest)
    }

    /// The nearest float, ties to even: the two floats around it are found, and compared with it.
    pub fn rounded(&self) -> f64 {
        if self.sign() < 0 {
            let positive = Fraction::new(-&self.numerator, self.denominator.clone());
            return -positive.rounded() + 0.0;
        }
        let mut low = self.about().min(f64::MAX).to_bits();
        while low > 0 && self.compare(&Fraction::of_float(f64::from_bits(low))) == Ordering::Less {
            low -= 1;
        }
        // What comes after the greatest float would be 2^1024.
        let next = |low: u64| match f64::from_bits(low + 1) {
            next if next.is_finite() => Fraction::of_float(next),
            _ => Fraction::new(BigInt::from(1) << 1024u32, BigInt::from(1)),
        };
        while low < f64::MAX.to_bits() && self.compare(&next(low)) != Ordering::Less {
            low += 1;
        }
        let both = Fraction::of_float(f64::from_bits(low)).plus(&next(low));
        match self.times_two_to(1).compare(&both) {
            Ordering::Less => f64::from_bits(low),
            Ordering::Equal => f64::from_bits(low + low % 2),
            Ordering::Greater => f64::from_bits(low + 1),
        }
    }

    /// A float that is not far away; it is not negative.
    fn about(&self) -> f64 {
        let places = 60 + self.denominator.bits() as i64 - self.numerator.bits() as i64;
        let scaled = self.times_two_to(places);
        let mut about = u64::try_from(scaled.numerator / scaled.denominator).unwrap_or(u64::MAX) as f64;
        (0..places.min(2300)).for_each(|_| about /= 2.0);
        (places..0).take(2300).for_each(|_| about *= 2.0);
        about
    }

    fn compare(&self, other: &Fraction) -> Ordering {
        (&self.numerator * &other.denominator).cmp(&(&other.numerator * &self.denominator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_round_as_their_decimals_do() {
        let ratio = |a: i64, b: i64| Fraction::new(BigInt::from(a), BigInt::from(b)).rounded();
        assert_eq!(ratio(1, 3), 1.0 / 3.0);
        assert_eq!(ratio(-2, 3), -2.0 / 3.0);
        assert_eq!(ratio((1 << 53) + 1, 1), 9007199254740992.0);
        assert_eq!(ratio((1 << 53) + 3, 1), 9007199254740996.0);
        assert_eq!(ratio(0, 7).to_bits(), 0);
        for v in [0.1, 5e-324, f64::MAX, -1e300, 2.2250738585072014e-308] {
            assert_eq!(Fraction::of_float(v).rounded(), v);
        }
        assert_eq!(Fraction::of_float(5e-324).times_two_to(-1).rounded(), 0.0);
        assert_eq!(Fraction::of_float(f64::MAX).times_two_to(1).rounded(), f64::INFINITY);
    }
}
