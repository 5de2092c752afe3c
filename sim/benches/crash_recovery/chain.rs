//! The cycles, in chains: each chain has a disk of its own and is an isolated run of the simulator,
//! so that a panic is data and one chain leaves nothing behind for the next.

use aspen_sim::disk::{DiskConfig, Lie, SimDisk};
use aspen_transport_sim::run_isolated;
use aspen_transport_sim::streams::stream;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::report::{Failed, Failing, Report};

/// Most cycles on one disk, before a fresh one is taken.
const CYCLES_PER_DISK_MAX: u64 = 30;

/// Runs `cycles` cycles. A cycle gets the disk and what it must hold, crashes and recovers it, and
/// gives back what it holds then. After a cycle that goes wrong, its disk is given up.
pub(crate) fn run<M, C>(cycles: u64, seed: u64, lying_disk: bool, cycle: C) -> Report
where
    M: Default,
    C: AsyncFn(&SimDisk, M, &mut ChaCha8Rng, &mut Report) -> Result<M, Failed> + Copy + Send,
{
    let mut report = Report::default();
    let mut chain = 0;
    while report.cycles < cycles {
        let mut random = stream(seed, "crash and recover", &[chain]);
        let length = random.random_range(1..=CYCLES_PER_DISK_MAX).min(cycles - report.cycles);
        let run_seed = seed.wrapping_mul(1_000_003).wrapping_add(chain);
        match run_isolated(run_seed, move || run_chain(length, random, lying_disk, cycle)) {
            Ok((part, failed)) => {
                report.add(part);
                if let Some((failing, note)) = failed {
                    report.fail(failing, format!("disk {chain}, {note}"));
                }
            }
            Err(panic) => {
                report.cycles += 1;
                report.fail(Failing::Wrong, format!("disk {chain}: {panic}"));
            }
        }
        chain += 1;
    }
    report
}

async fn run_chain<M, C>(
    length: u64,
    mut random: ChaCha8Rng,
    lying_disk: bool,
    cycle: C,
) -> (Report, Option<Failed>)
where
    M: Default,
    C: AsyncFn(&SimDisk, M, &mut ChaCha8Rng, &mut Report) -> Result<M, Failed>,
{
    let mut report = Report::default();
    let disk = SimDisk::new(DiskConfig { seed: random.random(), ..DiskConfig::default() });
    if lying_disk {
        disk.lie(Some(Lie { one_in: 2, seed: random.random() }));
    }
    let (mut held, mut failed) = (M::default(), None);
    for at in 0..length {
        report.cycles += 1;
        match cycle(&disk, held, &mut random, &mut report).await {
            Ok(recovered) => held = recovered,
            Err((failing, note)) => {
                failed = Some((failing, format!("cycle {at}: {note}")));
                break;
            }
        }
    }
    report.add_disk(&disk.counters());
    (report, failed)
}
