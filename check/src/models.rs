//! The models of the history format's objects that the search's cells cannot express.

pub(crate) mod counter;
pub(crate) mod lock;
pub(crate) mod strings;
