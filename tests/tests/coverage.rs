//! The chaos is real: over a few seeds of each kind, everything that a run can exercise happens.
//!
//! A run whose faults did nothing proves nothing. The counters are added up; one that stays at
//! zero fails this test by its name.

use aspen_sim::coverage::Coverage;
use aspen_sim::scenario::ChaosKind;
use aspen_sim::schedule::{Fault, Schedule};
use aspen_tests::simulated_runs::{carry_out, scenario, side_by_side, violated};

/// Enough that even the rarest counter is well above one; see the floors below.
const SEEDS: u64 = 16;

fn added_up(runs: &[(ChaosKind, Coverage)], kind: Option<ChaosKind>) -> Coverage {
    let mut sum = Coverage::default();
    for (of, coverage) in runs {
        if kind.is_none_or(|kind| kind == *of) {
            sum.add(coverage);
        }
    }
    sum
}

fn effect(coverage: &Coverage, name: &str) -> u64 {
    coverage.effects.get(name).copied().unwrap_or(0)
}

#[test]
fn every_fault_fires_and_has_its_effects() {
    let plans: Vec<(ChaosKind, u64)> =
        ChaosKind::ALL.iter().flat_map(|kind| (0..SEEDS).map(move |seed| (*kind, seed))).collect();
    let runs: Vec<(ChaosKind, Coverage)> = side_by_side(&plans, |(kind, seed)| {
        let run = carry_out(&Schedule::generate(*seed, &scenario(kind.name())), None);
        let violated = violated(&run.verdict);
        let replay = format!("aspen-sim run --seed {seed} --chaos {}", kind.name());
        assert!(violated.is_empty(), "violates {violated:?}; {replay}");
        (*kind, run.recording.coverage)
    });
    let of = |kind| added_up(&runs, Some(kind));
    let all = added_up(&runs, None);

    let mut counters: Vec<(String, u64)> = Vec::new();
    for kind in ChaosKind::ALL {
        let coverage = of(kind);
        for name in Fault::names(kind) {
            let fired = coverage.faults.get(*name).copied().unwrap_or(0);
            counters.push((format!("{}: fault {name}", kind.name()), fired));
        }
    }
    let (partition, network) = (of(ChaosKind::Partition), of(ChaosKind::Network));
    let (crash, pause, disk) = (of(ChaosKind::Crash), of(ChaosKind::Pause), of(ChaosKind::Disk));
    let named = [
        ("partition: leader changes", partition.leader_changes),
        ("partition: truncations", partition.truncations),
        ("partition: snapshots installed", partition.snapshots_installed),
        ("partition: messages cut", effect(&partition, "network.cut")),
        ("network: calls doubled", effect(&network, "network.doubled")),
        ("network: calls lost", effect(&network, "network.lost")),
        ("network: calls overtaken", effect(&network, "network.overtaken")),
        ("network: delay spikes", effect(&network, "network.spiked")),
        ("network: streams broken", effect(&network, "network.streams_broken")),
        ("network: streams stalled", effect(&network, "network.streams_stalled")),
        ("network: retransmissions", effect(&network, "network.retransmitted")),
        ("crash: leader changes", crash.leader_changes),
        ("crash: restarts", crash.restarts),
        ("crash: recoveries from disk", crash.recoveries),
        ("crash: snapshots installed", crash.snapshots_installed),
        ("crash: writes lost", effect(&crash, "disk.lost_writes")),
        ("crash: writes torn", effect(&crash, "disk.torn_writes")),
        ("crash: disks dead", effect(&crash, "disk.deaths")),
        ("pause: leader changes", pause.leader_changes),
        ("disk: leader changes", disk.leader_changes),
        ("disk: recoveries from disk", disk.recoveries),
        ("disk: slow syncs", effect(&disk, "disk.slow_syncs")),
        ("disk: read errors", effect(&disk, "disk.read_errors")),
        ("disk: write errors", effect(&disk, "disk.write_errors")),
        ("disk: sync errors", effect(&disk, "disk.sync_errors")),
        ("disk: full", effect(&disk, "disk.full_hits")),
        ("elections", all.elections),
        ("entries applied", all.entries_applied),
        ("entries committed", all.entries_committed),
        ("snapshots built", all.snapshots_built),
        ("operations unknown", all.operations_unknown),
        ("sessions expired", all.sessions_expired),
    ];
    counters.extend(named.map(|(name, count)| (name.to_owned(), count)));
    let zero: Vec<&String> =
        counters.iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
    assert!(zero.is_empty(), "never happened in {SEEDS} seeds of each kind: {zero:?}");
    assert!(all.operations_decided() > 300 * runs.len() as u64, "too few operations decided");
}
