//! Digests of sets of rows that can be kept up to date row by row.
//!
//! Every row has a 128-bit hash; a set's digest is the wrapping sum of its rows' hashes. So a
//! change costs one subtraction and one addition, the order of changes does not matter, and the
//! digest can be recomputed from the rows alone. It finds accidents and our own bugs; it is no
//! defence against somebody who chooses rows to collide.

use serde::{Deserialize, Serialize};

/// The hash of one row: the first 16 bytes of blake3 over the key's length, the key, the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHash(u128);

impl RowHash {
    /// Hashes one row.
    pub fn of(key: &[u8], value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u32).to_le_bytes()).update(key).update(value);
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_le_bytes(first))
    }

    /// The first 8 bytes, which are stored beside each row and checked when it is read.
    pub fn checksum(self) -> [u8; 8] {
        (self.0 as u64).to_le_bytes()
    }
}

/// The digest of a set of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowsDigest(u128);

impl RowsDigest {
    /// Adds a row to the set.
    pub fn insert(&mut self, row: RowHash) {
        self.0 = self.0.wrapping_add(row.0);
    }

    /// Takes a row out of the set.
    pub fn remove(&mut self, row: RowHash) {
        self.0 = self.0.wrapping_sub(row.0);
    }

    /// The digest in 64 bits, as traces and artifacts carry it.
    pub fn short(self) -> u64 {
        (self.0 as u64) ^ ((self.0 >> 64) as u64)
    }

    /// All 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

/// What a state machine holds after an entry, in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Of the keys and values.
    pub content: u64,
    /// Of everything: keys and values, sessions and log time.
    pub state: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_set_does_not_depend_on_the_order_of_changes() {
        let (one, two) = (RowHash::of(b"a", b"1"), RowHash::of(b"b", b"2"));
        let mut left = RowsDigest::default();
        left.insert(one);
        left.insert(two);
        let mut right = RowsDigest::default();
        right.insert(two);
        right.insert(one);
        assert_eq!(left, right);
        right.remove(two);
        assert_ne!(left, right);
        right.remove(one);
        assert_eq!(right, RowsDigest::default());
    }

    #[test]
    fn where_the_key_ends_is_part_of_the_hash() {
        assert_ne!(RowHash::of(b"ab", b"c"), RowHash::of(b"a", b"bc"));
    }
}
