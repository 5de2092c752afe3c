//! The simulated network under the laws that every transport must keep.

use std::future::Future;
use std::time::Duration;

use aspen_core::NodeId;
use aspen_tests::transport_conformance::World;
use aspen_transport_sim::{LinkLaw, Network, SimRuntime, SimTransport, run_isolated};

#[derive(Clone)]
struct SimWorld {
    network: Network,
    law: LinkLaw,
}

impl World for SimWorld {
    type Runtime = SimRuntime;
    type Transport = SimTransport;

    async fn start(&self, node: NodeId) -> SimTransport {
        self.network.endpoint(node)
    }

    async fn kill(&self, node: NodeId) {
        self.network.close(node);
    }

    async fn cut(&self, from: NodeId, to: NodeId) {
        self.network.cut(from, to);
    }

    async fn heal(&self, from: NodeId, to: NodeId) {
        self.network.heal(from, to);
    }

    fn idle_timeout(&self) -> Duration {
        Duration::from_micros(self.law.idle_timeout_us.into())
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// A healthy network, one whose delays vary wildly, and one without any delay.
fn networks() -> [LinkLaw; 3] {
    let healthy = LinkLaw::default();
    let uneven = LinkLaw {
        delay_us_min: 50,
        delay_us_max: 9_000,
        spike_ppm: 20_000,
        spike_us_max: 40_000,
        ..healthy
    };
    let instant = LinkLaw { delay_us_min: 0, delay_us_max: 0, ..healthy };
    [healthy, uneven, instant]
}

/// Runs one law on each network under several seeds.
fn run<F, L>(law: F)
where
    F: Fn(SimWorld) -> L + Copy + Send,
    L: Future<Output = ()>,
{
    for (kind, link_law) in networks().into_iter().enumerate() {
        for seed in 0..4 {
            let run = run_isolated(seed, move || {
                let network = Network::new(seed, link_law);
                law(SimWorld { network, law: link_law })
            });
            if let Err(panicked) = run {
                panic!("network {kind}, seed {seed}: {panicked}");
            }
        }
    }
}

aspen_tests::transport_laws!(run);
