//! Hand-built histories, and the comparison with plain enumeration.

mod differential;
mod hand_built;
mod random_history;
