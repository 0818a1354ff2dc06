//! `Variance`, `Stddev`, `Skew` and `Kurtosis`: exact rationals of power sums, rounded once.

use num_bigint::BigInt;

use super::big_sum::round_ratio;
use super::power_sums::{PowerSums, unsigned};
use super::tally::{Tallied, Tally, Way};
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, Setting, Slice, State, Sweeper, accept,
};
use crate::error::Result;
use crate::value::{DataType, NAN, Value};

/// One of the aggregates of central moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// `Variance`.
    Variance,
    /// `Stddev`.
    Stddev,
    /// `Skew`.
    Skew,
    /// `Kurtosis`.
    Kurtosis,
}

const SAMPLE: &str = "sample";
const POPULATION: &str = "population";

const PARAMETERS: &[Parameter] = &[Parameter {
    name: "kind",
    kind: Kind::Choice(&[SAMPLE, POPULATION]),
    absent: Absent::Takes(Setting::Choice(SAMPLE)),
}];

impl Moment {
    fn central<const N: usize>(self, call: &Call, finish: Finish<N>) -> Tallied<Central<N>> {
        let of = if call.settings.chose("kind", POPULATION) { Of::Population } else { Of::Sample };
        Tallied(Central { sums: PowerSums::new(call.of), of, finish })
    }
}

impl Aggregate for Moment {
    fn name(&self) -> &'static str {
        match self {
            Moment::Variance => "variance",
            Moment::Stddev => "stddev",
            Moment::Skew => "skew",
            Moment::Kurtosis => "kurtosis",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])?;
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        match self {
            Moment::Variance => Box::new(self.central(call, variance)),
            Moment::Stddev => Box::new(self.central(call, stddev)),
            Moment::Skew => Box::new(self.central(call, skew)),
            Moment::Kurtosis => Box::new(self.central(call, kurtosis)),
        }
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        match self {
            Moment::Variance => Box::new(self.central(call, variance)),
            Moment::Stddev => Box::new(self.central(call, stddev)),
            Moment::Skew => Box::new(self.central(call, skew)),
            Moment::Kurtosis => Box::new(self.central(call, kurtosis)),
        }
    }
}

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Sample,
    Population,
}

/// The value for sums in units of a power of two; `None` where it is not defined.
type Finish<const N: usize> = fn(&[BigInt; N], i32, u64, Of) -> Option<f64>;

#[derive(Clone, Debug)]
struct Central<const N: usize> {
    sums: PowerSums<N>,
    of: Of,
    finish: Finish<N>,
}

impl<const N: usize> Tally for Central<N> {
    fn fresh(&self) -> Self {
        Central { sums: PowerSums::new(self.sums.data_type), ..*self }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        self.sums.take(slice, mask, way);
    }

    fn merge(&mut self, later: &Self) {
        self.sums.merge(&later.sums);
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.sums.count == 0 {
            return Outcome::Nothing;
        }
        if self.sums.special().is_some() {
            return Outcome::Value(Value::Float(NAN));
        }
        let (sums, unit) = self.sums.scaled();
        let value = (self.finish)(&sums, unit, self.sums.count, self.of);
        Outcome::Value(value.map_or(Value::Null, Value::Float))
    }

    fn heap_bytes(&self) -> usize {
        self.sums.heap_bytes()
    }
}

/// The sum of the squared distances from the mean, `n` times.
fn squares(n: u64, one: &BigInt, two: &BigInt) -> BigInt {
    n * two - one * one
}

fn variance([one, two]: &[BigInt; 2], unit: i32, n: u64, of: Of) -> Option<f64> {
    let less = match of {
        Of::Sample => n.checked_sub(1).filter(|less| *less > 0)?,
        Of::Population => n,
    };
    let denominator = BigInt::from(n) * less;
    Some(round_ratio(&squares(n, one, two), unsigned(&denominator), 2 * i64::from(unit)))
}

fn stddev(sums: &[BigInt; 2], unit: i32, n: u64, of: Of) -> Option<f64> {
    variance(sums, unit, n, of).map(f64::sqrt)
}

/// The square of the skewness is a rational: rounded once, then its root, then the sign.
fn skew([one, two, three]: &[BigInt; 3], _: i32, n: u64, of: Of) -> Option<f64> {
    let squares = squares(n, one, two);
    let cubes = n * (n * three - 3 * one * two) + 2 * one * one * one;
    let (mut numerator, mut denominator) = (&cubes * &cubes, &squares * &squares * &squares);
    if of == Of::Sample {
        let less = n.checked_sub(2).filter(|less| *less > 0)?;
        numerator *= BigInt::from(n) * (n - 1);
        denominator *= BigInt::from(less) * less;
    }
    if squares == BigInt::ZERO {
        return None;
    }
    let root = round_ratio(&numerator, unsigned(&denominator), 0).sqrt();
    Some(if cubes < BigInt::ZERO { -root + 0.0 } else { root })
}

/// In excess of the normal distribution's.
fn kurtosis([one, two, three, four]: &[BigInt; 4], _: i32, n: u64, of: Of) -> Option<f64> {
    let squares = squares(n, one, two);
    let fourths = n * (n * (n * four - 4 * one * three) + 6 * one * one * two) - 3 * one * one * one * one;
    let mut denominator = &squares * &squares;
    let mut numerator = fourths - 3 * &denominator;
    if of == Of::Sample {
        let less = n.checked_sub(3).filter(|less| *less > 0)?;
        numerator = (n - 1) * (BigInt::from(n + 1) * numerator + 6 * &denominator);
        denominator *= BigInt::from(n - 2) * less;
    }
    if squares == BigInt::ZERO {
        return None;
    }
    Some(round_ratio(&numerator, unsigned(&denominator), 0))
}
