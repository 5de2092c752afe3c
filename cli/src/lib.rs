//! The client: a library for programs, and the commands of `aspen-cli` for people.

pub mod client;
pub mod commands;
pub mod load;

pub use client::{Client, Failure, Session};
