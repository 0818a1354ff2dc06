//! Rows of bits.

/// Moves the bits from `index` on up by one and puts `bit` at `index`.
pub(crate) fn insert_bit(bits: &mut [u64], index: usize, bit: bool) {
    let mut carry = u64::from(bit);
    let mut low = (1u64 << (index % 64)) - 1;
    for word in bits.iter_mut().skip(index / 64) {
        let top = *word >> 63;
        // In the first word the new bit goes to its place, in all others the carried one goes to the bottom.
        *word = (*word & low) | ((*word & !low) << 1) | (carry * (low + 1));
        carry = top;
        low = 0;
    }
}

/// Whether bit `index` is set.
pub(crate) fn bit(bits: &[u64], index: usize) -> bool {
    bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_bits_stand_where_a_vector_has_them() {
        let mut bits = [0u64; 4];
        let mut expected: Vec<bool> = Vec::new();
        for i in 0..256usize {
            let index = (i * 7919) % (i + 1);
            let value = (i * 31) % 3 == 0;
            expected.insert(index, value);
            insert_bit(&mut bits, index, value);
        }
        let found: Vec<bool> = (0..256).map(|i| bit(&bits, i)).collect();
        assert_eq!(found, expected);
    }
}
