//! The hash table of this crate: always the same hashes, and never iterated over.

use hashbrown::HashMap;

/// A table under keys that are looked up, and in no order.
pub(crate) type Table<K, V> = HashMap<K, V, foldhash::fast::FixedState>;
