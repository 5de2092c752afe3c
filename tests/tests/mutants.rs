//! Planted bugs are found, by the property that is meant to find them, and the clean tree stays
//! silent on the same seeds.
//!
//! Each is found within a few seeds here; how often over two hundred is what
//! `aspen-sim sweep --seeds 0..200 --chaos K --mutant M --keep-going` says. The planted
//! nondeterminism is the business of `verify`, and of the command line's tests in `sim`.

use aspen_sim::mutants::Mutant;
use aspen_sim::schedule::Schedule;
use aspen_tests::simulated_runs::{carry_out, scenario, side_by_side, violated};

struct Plant {
    mutant: Mutant,
    chaos: &'static str,
    property: &'static str,
    /// In how many of the first [`SEEDS`] it must be found at least; measured, with room.
    found_min: usize,
}

const SEEDS: u64 = 12;

const PLANTS: [Plant; 6] = [
    Plant { mutant: Mutant::ForgetVote, chaos: "crash", property: "vote-monotonic", found_min: 4 },
    Plant { mutant: Mutant::AckBeforeSync, chaos: "crash", property: "durable-log", found_min: 2 },
    Plant {
        mutant: Mutant::SkipReadIndex,
        chaos: "partition",
        property: "linearizability",
        found_min: 1,
    },
    Plant {
        mutant: Mutant::ConfirmAlone,
        chaos: "partition",
        property: "linearizability",
        found_min: 1,
    },
    Plant {
        mutant: Mutant::ApplyTwice,
        chaos: "network",
        property: "session-exactly-once",
        found_min: 2,
    },
    Plant {
        mutant: Mutant::KeepConflict,
        chaos: "partition",
        property: "state-machine-safety",
        found_min: 2,
    },
];

#[test]
fn every_mutant_is_found_by_its_property_and_the_clean_tree_is_silent() {
    let plans: Vec<(&Plant, u64)> =
        PLANTS.iter().flat_map(|plant| (0..SEEDS).map(move |seed| (plant, seed))).collect();
    let found = side_by_side(&plans, |(plant, seed)| {
        let schedule = Schedule::generate(*seed, &scenario(plant.chaos));
        let run = carry_out(&schedule, Some(plant.mutant));
        violated(&run.verdict).contains(&plant.property)
    });
    for (number, plant) in PLANTS.iter().enumerate() {
        let seeds = &found[number * SEEDS as usize..][..SEEDS as usize];
        let times = seeds.iter().filter(|found| **found).count();
        assert!(
            times >= plant.found_min,
            "{} was found by {} in {times} of {SEEDS} seeds of {}, expected {}; \
             aspen-sim sweep --seeds 0..{SEEDS} --chaos {} --mutant {} --keep-going",
            plant.mutant,
            plant.property,
            plant.chaos,
            plant.found_min,
            plant.chaos,
            plant.mutant,
        );
    }
    let chaos = ["none", "partition", "crash"];
    let clean: Vec<(&str, u64)> =
        chaos.iter().flat_map(|chaos| (0..SEEDS).map(move |seed| (*chaos, seed))).collect();
    side_by_side(&clean, |(chaos, seed)| {
        let run = carry_out(&Schedule::generate(*seed, &scenario(chaos)), None);
        let violated = violated(&run.verdict);
        let replay = format!("aspen-sim run --seed {seed} --chaos {chaos}");
        assert!(violated.is_empty(), "the clean tree violates {violated:?}; {replay}");
    });
}

#[test]
fn a_summary_names_the_property_that_finds_it() {
    for plant in &PLANTS {
        let summary = plant.mutant.summary();
        let expected = format!("found by {}", plant.property);
        assert!(summary.ends_with(&expected), "{}: {summary}", plant.mutant);
    }
    assert_eq!(PLANTS.len() + 1, Mutant::ALL.len(), "leak-state is the one that is not here");
}
