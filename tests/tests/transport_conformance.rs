//! The simulated network under the laws that every transport must keep.

use std::future::Future;

use aspen_tests::simulated_network::SimWorld;
use aspen_transport_sim::{LinkLaw, run_isolated};

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
            let run = run_isolated(seed, move || law(SimWorld::new(seed, link_law)));
            if let Err(panicked) = run {
                panic!("network {kind}, seed {seed}: {panicked}");
            }
        }
    }
}

aspen_tests::transport_laws!(run);
