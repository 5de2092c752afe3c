//! Named streams of random numbers: one per purpose, so that no purpose disturbs another.
//!
//! A stream is a function of a seed, a name and some numbers (which node, which incarnation,
//! which link). Drawing more from one leaves every other as it was, which is what lets a shrunk
//! schedule stay close to the schedule that it came from.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Separates these keys from every other use of the hash.
const CONTEXT: &str = "aspen 2025 named random stream";

/// The stream of `seed` called `name`, with `numbers` to tell instances of it apart.
///
/// ```
/// use aspen_transport_sim::streams::stream;
/// use rand::Rng;
///
/// let first = stream(7, "election", &[1, 1]).next_u64();
/// assert_eq!(first, stream(7, "election", &[1, 1]).next_u64());
/// assert_ne!(first, stream(7, "election", &[1, 2]).next_u64());
/// ```
pub fn stream(seed: u64, name: &str, numbers: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&seed.to_le_bytes());
    // The length keeps ("a", [b'b', ..]) and ("ab", [..]) apart.
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
