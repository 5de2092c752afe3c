//! A schedule decides a run to the last byte: alone, beside another run, from its artifact.
//!
//! What another process makes of the same seeds is held by the command line's tests in `sim`,
//! which have the binary; `aspen-sim verify` does all of this over as many seeds as one likes.

use aspen_sim::artifact::Artifact;
use aspen_sim::schedule::Schedule;
use aspen_tests::simulated_runs::{CHAOS, carry_out, scenario, side_by_side};

const SEEDS: u64 = 3;

#[test]
fn a_run_is_the_same_alone_and_beside_others_and_from_its_artifact() {
    let plans: Vec<(&str, u64)> =
        CHAOS.iter().flat_map(|chaos| (0..SEEDS).map(move |seed| (*chaos, seed))).collect();
    let first = side_by_side(&plans, |(chaos, seed)| {
        let schedule = Schedule::generate(*seed, &scenario(chaos));
        let run = carry_out(&schedule, None);
        assert!(run.recording.coverage.operations_ok > 100, "{chaos} seed {seed} did nothing");
        serde_json::to_string(&Artifact::new(&schedule, None, &run)).unwrap()
    });
    let artifacts: Vec<Artifact> =
        first.iter().map(|text| serde_json::from_str(text).unwrap()).collect();

    // From the text of its artifact, and in another order, so beside other runs than before.
    let backwards: Vec<&Artifact> = artifacts.iter().rev().collect();
    let replayed =
        side_by_side(&backwards, |artifact| carry_out(&artifact.schedule, None).recording.digest);
    for (artifact, digest) in backwards.iter().zip(replayed) {
        assert_eq!(digest, artifact.digest, "replay of {}", artifact.command);
    }
    // Alone: one seed of each kind, for it takes a core to itself.
    for artifact in artifacts.iter().filter(|artifact| artifact.seed == 0) {
        let digest = carry_out(&artifact.schedule, None).recording.digest;
        assert_eq!(digest, artifact.digest, "alone: {}", artifact.command);
    }
}

#[test]
fn the_digest_sees_the_executor_and_the_seed() {
    let schedule = Schedule::generate(0, &scenario("partition"));
    let other_executor = Schedule { executor_seed: schedule.executor_seed + 1, ..schedule.clone() };
    let other_seed = Schedule::generate(1, &scenario("partition"));
    let digests = side_by_side(&[schedule, other_executor, other_seed], |schedule| {
        carry_out(schedule, None).recording.digest
    });
    assert_ne!(digests[0], digests[1], "two executor seeds, one digest");
    assert_ne!(digests[0], digests[2], "two seeds, one digest");
}
