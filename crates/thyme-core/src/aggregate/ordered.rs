//! A multiset of integers in order, of which any place can be asked.

/// A block of more is cut in two.
const BLOCK_MAX: usize = 1024;

/// Integers in ascending order, in blocks of which none is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Ordered {
    blocks: Vec<Vec<i64>>,
    len: usize,
}

impl Ordered {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The block that a value is in, or goes into.
    fn block_of(&self, value: i64) -> usize {
        self.blocks.partition_point(|block| block.last().is_some_and(|last| *last < value))
    }

    pub(super) fn insert(&mut self, value: i64) {
        self.len += 1;
        let index = self.block_of(value).min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(vec![value]);
            return;
        };
        block.insert(block.partition_point(|v| *v < value), value);
        if block.len() > BLOCK_MAX {
            let upper = block.split_off(BLOCK_MAX / 2);
            self.blocks.insert(index + 1, upper);
        }
    }

    /// Takes one of these values out; there is one.
    pub(super) fn remove(&mut self, value: i64) {
        let index = self.block_of(value);
        let Some(block) = self.blocks.get_mut(index) else { return };
        let place = block.partition_point(|v| *v < value);
        if block.get(place) != Some(&value) {
            return;
        }
        block.remove(place);
        self.len -= 1;
        if block.is_empty() {
            self.blocks.remove(index);
        }
    }

    /// The value with so many before it.
    pub(super) fn nth(&self, mut place: usize) -> Option<i64> {
        for block in &self.blocks {
            match block.get(place) {
                Some(value) => return Some(*value),
                None => place -= block.len(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_in_order_whatever_comes_and_goes() {
        let (mut ordered, mut plain) = (Ordered::default(), Vec::new());
        let mut state = 1u64;
        for step in 0..6000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (state >> 33) as i64 % 300;
            if step % 3 == 2 && step > 4000 {
                let gone: i64 = plain.swap_remove((state >> 40) as usize % plain.len());
                ordered.remove(gone);
            } else {
                ordered.insert(value);
                plain.push(value);
            }
        }
        plain.sort_unstable();
        assert_eq!(ordered.len(), plain.len());
        assert!((0..plain.len()).all(|i| ordered.nth(i) == Some(plain[i])));
        assert_eq!(ordered.nth(plain.len()), None);
        ordered.remove(1_000_000);
        assert_eq!(ordered.len(), plain.len());
    }
}
