//! Hand-built histories, and the comparison with plain enumeration.

mod differential;
mod hand_built;
mod lies;
mod mutations;
mod objects;
mod oracle;
mod random_history;
mod reference;
pub(crate) mod script;
