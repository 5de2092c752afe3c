//! Keys and values: short ones lie in the operation itself.
//!
//! A long history is read from memory in one go, and compared and hashed key by key and value by
//! value, so what counts is how small this is, and that short texts are compared as words. Crates
//! with short strings hold UTF-8 only, or are a third larger and compare by a call.

use std::cmp::Ordering;
use std::fmt::{Debug, Display, Formatter};
use std::hash::{Hash, Hasher};

use serde::Serialize;

/// Bytes that a history writes as a string: UTF-8 as it is, anything else as `base16:` and hex.
///
/// Short ones, and most keys and values of a test are short, lie in the operation itself, so that
/// reading a history allocates nothing for them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Bytes<Box<[u8]>>);

/// A text whose bytes, if it is long, are another one's.
pub(crate) type TextRef<'t> = Bytes<&'t [u8]>;

/// How many bytes a short text has at most.
const SHORT: usize = 22;

/// What is short is never long, and zero behind its end, so equal texts have equal fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bytes<L> {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(L),
}

impl<L: AsRef<[u8]>> Bytes<L> {
    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Bytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes.as_ref(),
        }
    }
}

impl Text {
    /// The text of a string.
    pub fn new(text: &str) -> Self {
        Self::from(text.as_bytes())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it begins with another text.
    pub fn starts_with(&self, prefix: &Text) -> bool {
        self.as_bytes().starts_with(prefix.as_bytes())
    }

    /// The same text, with the bytes of this one.
    pub(crate) fn by_ref(&self) -> TextRef<'_> {
        match &self.0 {
            Bytes::Short { len, bytes } => Bytes::Short { len: *len, bytes: *bytes },
            Bytes::Long(bytes) => Bytes::Long(bytes),
        }
    }
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self(Bytes::Short { len: text.len() as u8, bytes })
            }
            None => Self(Bytes::Long(text.into())),
        }
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<L: AsRef<[u8]>> Hash for Bytes<L> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Bytes::Short { len, bytes } => {
                let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
                // Texts of different lengths may hash alike; they still are not equal.
                state.write_u64(word(0) ^ (u64::from(*len) << 56));
                if *len > 8 {
                    state.write_u64(word(8));
                }
                if *len > 16 {
                    state.write_u64(word(SHORT - 8));
                }
            }
            Bytes::Long(bytes) => bytes.as_ref().hash(state),
        }
    }
}

/// What begins with this is no UTF-8, or begins with this itself.
pub(super) const BASE16: &str = "base16:";

impl<L: AsRef<[u8]>> Display for Bytes<L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(self.as_bytes()) {
            Ok(text) if !text.starts_with(BASE16) => f.write_str(text),
            _ => {
                f.write_str(BASE16)?;
                self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl<L: AsRef<[u8]>> Debug for Bytes<L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Debug for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::Table;

    #[test]
    fn texts_of_every_length_are_themselves() {
        let mut numbers: Table<Text, usize> = Table::default();
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).map(|byte: u8| byte.wrapping_mul(7)).collect();
            let text = Text::from(bytes.as_slice());
            assert_eq!(text.as_bytes(), bytes);
            assert_eq!(numbers.insert(text.clone(), bytes.len()), None);
            let zero = Text::from([bytes.as_slice(), &[0]].concat().as_slice());
            assert!(text != zero && text < zero && zero.starts_with(&text));
        }
        for (text, len) in &numbers {
            assert_eq!(text.as_bytes().len(), *len);
            assert_eq!(numbers.get(text), Some(len));
        }
    }

    #[test]
    fn a_text_is_small() {
        assert_eq!(size_of::<Text>(), 24);
        assert_eq!(size_of::<Option<Text>>(), 24);
    }
}
