//! A count of distinct values from the largest runs of zeros in their hashes.
//!
//! The hash is FNV-1a over the bytes of a value (numbers as 64 bits, little-endian), finished by the mixer of
//! MurmurHash3. The estimator is Ertl's improved one ("New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017, algorithm 6), which needs no table. Hash, precision and estimator are part of what a number means.

use std::collections::BTreeMap;

/// Bits of the hash that name a register.
const PRECISION: u32 = 14;
/// How many registers there are; the standard error is 1.04 divided by the root of that: 0.81 %.
const REGISTERS: usize = 1 << PRECISION;
/// The longest run that a register can have seen.
const RUN_MAX: usize = 64 - PRECISION as usize + 1;

/// The hash of the bytes of a value.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// The register of a hash, and the run that it has seen in it.
fn place(hash: u64) -> (usize, u8) {
    let run = (hash << PRECISION).leading_zeros().min(64 - PRECISION) + 1;
    ((hash >> (64 - PRECISION)) as usize, run as u8)
}

/// The registers: the same for the same set of values.
#[derive(Clone, Debug)]
pub(super) struct Sketch(Box<[u8]>);

impl Default for Sketch {
    fn default() -> Self {
        Sketch(vec![0; REGISTERS].into_boxed_slice())
    }
}

impl Sketch {
    pub(super) fn add(&mut self, hash: u64) {
        let (register, run) = place(hash);
        if let Some(longest) = self.0.get_mut(register) {
            *longest = run.max(*longest);
        }
    }

    pub(super) fn merge(&mut self, other: &Sketch) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own = *other.max(own));
    }

    pub(super) fn estimate(&self) -> f64 {
        let mut registers = [0; RUN_MAX + 1];
        for run in &self.0 {
            if let Some(count) = registers.get_mut(usize::from(*run)) {
                *count += 1;
            }
        }
        estimate(&registers)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

/// A sketch of a set that values also leave.
#[derive(Debug)]
pub(super) struct SlidingSketch {
    registers: Box<[u8]>,
    /// How many registers have seen each run.
    seen: [u32; RUN_MAX + 1],
    /// How many values there are by register and run.
    values: BTreeMap<(u16, u8), u32>,
}

impl Default for SlidingSketch {
    fn default() -> Self {
        let mut seen = [0; RUN_MAX + 1];
        seen[0] = REGISTERS as u32;
        SlidingSketch { registers: vec![0; REGISTERS].into_boxed_slice(), seen, values: BTreeMap::new() }
    }
}

impl SlidingSketch {
    pub(super) fn add(&mut self, hash: u64) {
        let (register, run) = place(hash);
        *self.values.entry((register as u16, run)).or_default() += 1;
        if self.registers.get(register).is_some_and(|longest| run > *longest) {
            self.set(register, run);
        }
    }

    pub(super) fn remove(&mut self, hash: u64) {
        let (register, run) = place(hash);
        let key = register as u16;
        let Some(count) = self.values.get_mut(&(key, run)) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.values.remove(&(key, run));
        if self.registers.get(register) == Some(&run) {
            let next = self.values.range((key, 0)..(key, run)).next_back().map_or(0, |((_, run), _)| *run);
            self.set(register, next);
        }
    }

    fn set(&mut self, register: usize, run: u8) {
        let Some(longest) = self.registers.get_mut(register) else { return };
        let before = std::mem::replace(longest, run);
        if let Some(count) = self.seen.get_mut(usize::from(before)) {
            *count -= 1;
        }
        if let Some(count) = self.seen.get_mut(usize::from(run)) {
            *count += 1;
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        estimate(&self.seen)
    }
}

/// The number of distinct values when so many registers have seen each run.
fn estimate(registers: &[u32; RUN_MAX + 1]) -> f64 {
    let all = REGISTERS as f64;
    let [none, some @ .., longest] = registers;
    let mut sum = all * tau(1.0 - f64::from(*longest) / all);
    for count in some.iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += all * sigma(f64::from(*none) / all);
    // 1 / (2 ln 2)
    0.721_347_520_444_481_7 * all * all / sum
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum <= before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_within_four_standard_errors() {
        let (mut sketch, mut sliding) = (Sketch::default(), SlidingSketch::default());
        let mut count = 0u64;
        for wanted in [1_100u64, 5_000, 40_000, 300_000] {
            while count < wanted {
                sketch.add(hash(&count.to_le_bytes()));
                sliding.add(hash(&count.to_le_bytes()));
                count += 1;
            }
            let error = (sketch.estimate() - wanted as f64).abs() / wanted as f64;
            assert!(error < 0.0325, "{wanted}: {error}");
            assert_eq!(sketch.estimate().to_bits(), sliding.estimate().to_bits());
        }
        let mut fewer = Sketch::default();
        (290_000..300_000u64).for_each(|value| fewer.add(hash(&value.to_le_bytes())));
        (0..290_000u64).for_each(|value| sliding.remove(hash(&value.to_le_bytes())));
        assert_eq!(fewer.estimate().to_bits(), sliding.estimate().to_bits());
    }
}
