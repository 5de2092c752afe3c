//! How records and rows look on the disk.
//!
//! A **record** is a value of ours: a version byte, then postcard. A **sealed** row is eight bytes
//! of checksum over its key and its value, then the value. redb does not notice bit rot when it
//! reads, so every row carries its own witness.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::digest::RowHash;

/// The version that this build writes, and the only one that it reads.
const VERSION: u8 = 1;

/// How many bytes a seal adds to a value.
pub(crate) const SEAL_BYTES: usize = 8;

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is not even a version byte.
    #[error("the record is empty")]
    Empty,
    /// Another build wrote it.
    #[error("version {0} is not known to this build, which knows {VERSION}")]
    Version(u8),
    /// What follows the version byte is not what it should be.
    #[error("{0}")]
    Malformed(#[from] postcard::Error),
    /// The record ended and bytes were left over.
    #[error("{0} bytes follow the record")]
    Trailing(usize),
}

/// Encodes a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    append_record(Vec::with_capacity(64), record)
}

/// Decodes a record.
///
/// # Errors
/// [`DecodeError`], when the bytes are not exactly one record of this version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let (record, rest) = postcard::take_from_bytes(body)?;
    if rest.is_empty() { Ok(record) } else { Err(DecodeError::Trailing(rest.len())) }
}

/// Encodes a record and seals it under `key`, in one buffer.
pub(crate) fn seal_record<T: Serialize>(key: &[u8], record: &T) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(128);
    sealed.extend_from_slice(&[0; SEAL_BYTES]);
    let mut sealed = append_record(sealed, record);
    let checksum = RowHash::of(key, &sealed[SEAL_BYTES..]).checksum();
    sealed[..SEAL_BYTES].copy_from_slice(&checksum);
    sealed
}

/// Seals a value whose hash is known.
pub(crate) fn seal_hashed(value: &[u8], hash: RowHash) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL_BYTES + value.len());
    sealed.extend_from_slice(&hash.checksum());
    sealed.extend_from_slice(value);
    sealed
}

/// Opens a sealed row: its value and its hash, or nothing if the checksum does not fit.
pub(crate) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<(&'a [u8], RowHash)> {
    let (checksum, value) = sealed.split_at_checked(SEAL_BYTES)?;
    let hash = RowHash::of(key, value);
    (hash.checksum() == checksum).then_some((value, hash))
}

fn append_record<T: Serialize>(mut buffer: Vec<u8>, record: &T) -> Vec<u8> {
    buffer.push(VERSION);
    postcard::to_extend(record, buffer).expect("a Vec takes every record that serde can walk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_anything_else_is_refused() {
        let record = (7_u64, "text".to_owned());
        let bytes = encode(&record);
        assert_eq!(decode::<(u64, String)>(&bytes), Ok(record));
        assert_eq!(decode::<u64>(&[]), Err(DecodeError::Empty));
        assert_eq!(decode::<u64>(&[9, 0]), Err(DecodeError::Version(9)));
        assert_eq!(decode::<u64>(&[VERSION, 1, 1]), Err(DecodeError::Trailing(1)));
        assert!(matches!(decode::<u64>(&[VERSION]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_row_is_noticed() {
        let sealed = seal_record(b"key", &"value");
        assert!(unseal(b"key", &sealed).is_some());
        assert!(unseal(b"kex", &sealed).is_none(), "a row under another key");
        for bit in 0..sealed.len() * 8 {
            let mut rotten = sealed.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"key", &rotten).is_none(), "bit {bit}");
        }
        assert!(unseal(b"key", &sealed[..SEAL_BYTES - 1]).is_none(), "too short for a seal");
    }
}
