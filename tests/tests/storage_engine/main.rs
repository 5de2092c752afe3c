//! The storage engine on a real file: what openraft's suite does not ask.
//!
//! Durability, restarts, group commit, snapshots between two storages, and errors that are final.
//! A crash is a copy of the folder taken while the storage runs: the copy opens as the machine
//! would open it after its process was killed.

#![allow(clippy::unwrap_used, reason = "this is a test: what cannot be unwrapped is its failure")]

mod bench;
mod failure;
mod group_commit;
mod journal;
mod model;
mod reads;
mod recovery;
mod snapshot;
mod sole_voter;
mod truncation;
