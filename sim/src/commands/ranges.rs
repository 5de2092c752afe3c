//! Ranges of seeds, shards of them, and durations, as they are written on the command line.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Seeds from the first up to, and without, the last: `0..200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedRange(pub Range<u64>);

impl FromStr for SeedRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once("..")
            .and_then(|(first, end)| Some(first.parse::<u64>().ok()?..end.parse::<u64>().ok()?));
        match ends {
            Some(range) if range.start < range.end => Ok(Self(range)),
            Some(_) => Err(format!("`{text}` holds no seed, expected A..B with A less than B")),
            None => Err(format!("`{text}` is no range of seeds, expected A..B, such as 0..200")),
        }
    }
}

impl fmt::Display for SeedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.0.start, self.0.end)
    }
}

/// One of several equal parts of a range: `1/4` is the first of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: u64,
    count: u64,
}

impl Shard {
    /// The whole range.
    pub const WHOLE: Shard = Shard { number: 1, count: 1 };

    /// The seeds of this part. The parts of a range are disjoint and make it up.
    pub fn seeds(self, range: &SeedRange) -> impl Iterator<Item = u64> + use<> {
        let first = range.0.start + (self.number - 1);
        (first..range.0.end).step_by(self.count as usize)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, count)| {
            Some(Shard { number: number.parse().ok()?, count: count.parse().ok()? })
        });
        match parts {
            Some(shard) if (1..=shard.count).contains(&shard.number) => Ok(shard),
            _ => Err(format!("`{text}` is no shard, expected I/N with I from 1 to N, such as 1/4")),
        }
    }
}

/// A seed.
pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no seed, expected a number from 0 to {}", u64::MAX))
}

/// A duration with its unit, in milliseconds.
pub(super) fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        _ => None,
    };
    let ms = factor.and_then(|factor| digits.parse::<u64>().ok()?.checked_mul(factor));
    ms.ok_or_else(|| format!("`{text}` is no duration, expected a number with ms, s or min"))
}
