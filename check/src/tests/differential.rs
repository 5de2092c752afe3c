//! The search against plain enumeration of every order, over thousands of small histories.

use std::collections::BTreeMap;

use crate::history::{Event, Text};

use super::random_history::{Mix, Recipe, apply, legal, spoil};
use crate::calls::{Call, pair};
use crate::{Budget, Verdict, check};

const SEEDS: u64 = 2_000;

const SMALL: Recipe = Recipe {
    clients: 4,
    operations: 8,
    groups: 1,
    keys: 1,
    values: 0,
    info_percent: 10,
    mix: Mix::Everything,
};

const RECIPES: [Recipe; 8] = [
    Recipe { clients: 3, operations: 7, ..SMALL },
    Recipe { clients: 3, operations: 7, keys: 2, values: 2, info_percent: 20, ..SMALL },
    Recipe { keys: 2, info_percent: 30, ..SMALL },
    Recipe { clients: 2, groups: 2, keys: 2, values: 3, info_percent: 15, ..SMALL },
    Recipe { clients: 5, operations: 7, keys: 3, values: 1, info_percent: 5, ..SMALL },
    Recipe { mix: Mix::Register, ..SMALL },
    Recipe { mix: Mix::Compare, values: 2, ..SMALL },
    Recipe { mix: Mix::Delete, ..SMALL },
];

/// Whether some order of the calls, which respects real time, gives every answer.
fn enumerate(left: &mut Vec<Call<'_>>, data: &BTreeMap<Text, Text>) -> bool {
    if left.iter().all(|call| call.returned.is_none()) {
        return true;
    }
    for at in 0..left.len() {
        let call = left[at];
        let ends = left.iter().filter_map(|other| other.returned);
        if ends.clone().any(|end| end.event < call.invoked) {
            continue;
        }
        let mut after = data.clone();
        let answer = apply(&mut after, call.operation);
        if call.returned.is_some_and(|end| *end.answer != answer) {
            continue;
        }
        left.remove(at);
        let found = enumerate(left, &after);
        left.insert(at, call);
        if found {
            return true;
        }
    }
    false
}

fn oracle(history: &[Event]) -> bool {
    let mut calls = pair(history).expect("the generator makes well-formed histories");
    enumerate(&mut calls, &BTreeMap::new())
}

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
    for recipe in RECIPES {
        for seed in 0..SEEDS {
            let history = legal(seed, recipe);
            assert!(judge(&history), "{recipe:?}, seed {seed}: {history:#?}");
        }
    }
}

#[test]
fn spoiled_histories_get_the_verdict_of_plain_enumeration() {
    let mut verdicts = [0; 2];
    for recipe in RECIPES {
        for seed in 0..SEEDS {
            let mut history = legal(seed, recipe);
            for time in 0..=seed % 3 {
                spoil(seed * 3 + time, &mut history);
            }
            let expected = oracle(&history);
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
        mix: Mix::Everything,
    };
    for seed in 0..8 {
        let history = legal(seed, recipe);
        let budget = Budget { states_per_group: 100_000 };
        assert_eq!(check(&history, budget), Ok(Verdict::Linearizable), "seed {seed}");
    }
}
