//! Choices that a seed makes: the same seed over the same log makes the same ones.

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Choice(u64);

/// Mixes the bits of a word (the finaliser of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Where a key stands among all others under a seed.
pub(crate) fn rank(seed: u64, key: &[u8]) -> u64 {
    let chunks =
        key.chunks(8).map(|chunk| chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte)));
    chunks.fold(mix(seed ^ key.len() as u64), |all, word| mix(all.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word))
}

impl Choice {
    pub fn new(seed: u64) -> Choice {
        Choice(mix(seed))
    }

    /// Below `limit`; 0 when there is nothing to choose from.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        if limit == 0 { 0 } else { (mix(self.0) % limit as u64) as usize }
    }

    /// One of them.
    pub fn of<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
