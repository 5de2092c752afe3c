//! Long legal histories that are made illegal at random places: each must be noticed, and be
//! explained by a window that is illegal by itself.

use super::lies::{Lie, tell_lie};
use super::random_history::{Mix, Recipe, legal};
use crate::history::{Event, EventKind, Outcome};
use crate::{Budget, Verdict, Violation, check};

const SEEDS: u64 = 60;

const LONG: Recipe = Recipe {
    clients: 6,
    operations: 300,
    groups: 3,
    keys: 1,
    values: 0,
    info_percent: 3,
    bare_percent: 0,
    mix: Mix::Everything,
};

pub(super) fn recipes() -> [Recipe; 7] {
    [
        Recipe { mix: Mix::Register, ..LONG },
        Recipe { mix: Mix::Compare, ..LONG },
        Recipe { mix: Mix::Delete, bare_percent: 30, ..LONG },
        Recipe { groups: 2, keys: 3, ..LONG },
        Recipe { mix: Mix::Append, operations: 200, ..LONG },
        Recipe { mix: Mix::Counter, info_percent: 0, ..LONG },
        Recipe { mix: Mix::Lock, ..LONG },
    ]
}

fn violations(history: &[Event]) -> Vec<Violation> {
    match check(history, Budget::default()) {
        Ok(Verdict::Illegal { violations }) => violations,
        _ => Vec::new(),
    }
}

#[test]
fn every_lie_is_noticed_and_explained() {
    let mut told = 0;
    for recipe in recipes() {
        for seed in 0..SEEDS {
            let honest = legal(seed, recipe);
            assert_eq!(check(&honest, Budget::default()), Ok(Verdict::Linearizable));
            for lie in [Lie::NeverWritten, Lie::NotYetWritten, Lie::Overwritten] {
                let mut history = honest.clone();
                if !tell_lie(seed, lie, &mut history) {
                    continue;
                }
                told += 1;
                let found = violations(&history);
                let [violation] = found.as_slice() else {
                    panic!("{recipe:?}, seed {seed}, {lie:?}: {found:#?}")
                };
                explains(&history, violation);
            }
        }
    }
    assert!(told > 700, "{told} lies were told");
}

/// What the explanation says holds: so many lines are legal, one more is not; and the window alone
/// is illegal where it is smallest.
fn explains(history: &[Event], violation: &Violation) {
    let explanation = &violation.explanation;
    let (legal, illegal) = (explanation.legal_lines as usize, explanation.illegal_lines as usize);
    assert_eq!(violations(&history[..legal]), [], "{violation:#?}");
    assert!(!violations(&history[..illegal]).is_empty(), "{violation:#?}");
    assert_eq!(explanation.window.iter().filter(|one| one.culprit).count(), 1, "{violation:#?}");
    if explanation.smallest {
        let answers: Vec<usize> = explanation
            .window
            .iter()
            .filter_map(|one| one.returned.map(|returned| returned.line as usize - 1))
            .collect();
        assert!(!violations(&with_answers(history, &answers)).is_empty(), "{violation:#?}");
    }
}

/// The history with these answers alone; the other operations have none, in place of their
/// completions, and their clients go on under new numbers.
fn with_answers(history: &[Event], answers: &[usize]) -> Vec<Event> {
    let mut kept = Vec::new();
    let mut next = 1_000_000;
    let mut now = std::collections::BTreeMap::new();
    for (place, event) in history.iter().enumerate() {
        let mut event = event.clone();
        let named = event.process;
        event.process = *now.entry(named).or_insert(named);
        let answered = matches!(&event.kind, EventKind::Complete { outcome: Outcome::Ok { .. } });
        if answered && !answers.contains(&place) {
            next += 1;
            now.insert(named, crate::history::Process(next));
            continue;
        }
        kept.push(event);
    }
    kept
}
