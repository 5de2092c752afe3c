//! The real network under the laws that every transport must keep: two endpoints on loopback.

use std::future::Future;

use aspen_tests::iroh_network::{IrohWorld, LONG_IDLE_TIMEOUT};
use aspen_transport_iroh::TokioRuntime;
use openraft_rt::AsyncRuntime;

fn run<L: Future<Output = ()>>(law: impl Fn(IrohWorld) -> L) {
    TokioRuntime::new(2).block_on(async { law(IrohWorld::new(LONG_IDLE_TIMEOUT)).await });
}

aspen_tests::transport_laws!(run);
