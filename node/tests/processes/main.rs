//! Real processes of `aspen-node`, alone and as clusters: each module is about one side of them.
//!
//! One program for all, because every one more would be compiled and linked by itself.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

mod backup;
mod cluster;
mod discovery;
mod disk_full;
mod examples;
mod harness;
mod members;
mod metrics;
mod namespaces;
mod relay;
mod settings;
mod strangers;
mod trial;
