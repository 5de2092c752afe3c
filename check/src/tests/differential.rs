//! The search against plain enumeration of every order, over thousands of small histories.

use crate::history::Event;

use super::oracle::is_linearizable;
use super::random_history::{Mix, Recipe, legal, small_recipes, spoil};
use crate::{Budget, Verdict, check};

const SEEDS: u64 = 2_000;

fn judge(history: &[Event]) -> bool {
    match check(history, Budget::default()).expect("the generator makes well-formed histories") {
        Verdict::Linearizable => true,
        Verdict::Illegal { violations } => {
            assert!(violations.iter().all(|violation| !violation.evidence.is_empty()));
            false
        }
        Verdict::Unknown { undecided } => panic!("a small history is decided: {undecided:?}"),
    }
}

#[test]
fn legal_histories_are_valid() {
    for recipe in small_recipes() {
        for seed in 0..SEEDS {
            let history = legal(seed, recipe);
            assert!(judge(&history), "{recipe:?}, seed {seed}: {history:#?}");
        }
    }
}

#[test]
fn spoiled_histories_get_the_verdict_of_plain_enumeration() {
    let mut verdicts = [0; 2];
    for recipe in small_recipes() {
        for seed in 0..SEEDS {
            let mut history = legal(seed, recipe);
            for time in 0..=seed % 3 {
                spoil(seed * 3 + time, &mut history);
            }
            let expected = is_linearizable(&history);
            assert_eq!(judge(&history), expected, "{recipe:?}, seed {seed}: {history:#?}");
            verdicts[usize::from(expected)] += 1;
        }
    }
    // A differential test that sees one verdict only compares nothing.
    assert!(verdicts.iter().all(|count| *count > 1_000), "illegal, legal: {verdicts:?}");
}

#[test]
fn a_long_history_is_decided_within_few_states() {
    let recipe = Recipe {
        clients: 8,
        operations: 2_000,
        groups: 4,
        keys: 8,
        values: 0,
        info_percent: 2,
        bare_percent: 0,
        mix: Mix::Everything,
    };
    for seed in 0..8 {
        let history = legal(seed, recipe);
        let budget = Budget { states_per_group: 100_000 };
        assert_eq!(check(&history, budget), Ok(Verdict::Linearizable), "seed {seed}");
    }
}
