//! Long legal histories that are made illegal at random places: each must be noticed, and be
//! explained by a window that is illegal by itself.

use super::lies::{Lie, tell_lie};
use super::oracle::is_linearizable;
use super::random_history::{Mix, Recipe, legal, small_recipes, spoil};
use crate::history::{Event, EventKind, Outcome};
use crate::{Budget, Explanation, Verdict, Violation, check};

const SEEDS: u64 = 60;
const SMALL_SEEDS: u64 = 300;

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
                explains(&history, violation, &|history| !violations(history).is_empty());
            }
        }
    }
    assert!(told > 700, "{told} lies were told");
}

#[test]
fn explanations_agree_with_plain_enumeration() {
    let (mut explained, mut pinned) = (0, 0);
    for recipe in small_recipes() {
        for seed in 0..SMALL_SEEDS {
            let mut history = legal(seed, recipe);
            for time in 0..3 {
                spoil(seed * 3 + time, &mut history);
            }
            // What is said of a group is said of that group alone.
            let found = violations(&history);
            let [violation] = found.as_slice() else { continue };
            explains(&history, violation, &|history| !is_linearizable(history));
            let Explanation { legal_lines, illegal_lines, .. } = violation.explanation;
            explained += 1;
            pinned += u32::from(legal_lines + 1 == illegal_lines);
        }
    }
    assert!(explained > 1_000, "{explained} contradictions");
    assert!(pinned * 100 > explained * 97, "{pinned} of {explained} are pinned to a line");
}

/// What the explanation says holds: so many lines are legal, so many are not; and the window alone is
/// illegal where it is smallest, and legal without any one of its answers.
fn explains(history: &[Event], violation: &Violation, illegal: &dyn Fn(&[Event]) -> bool) {
    let explanation = &violation.explanation;
    let prefix = |lines: u64| without_failures(history, lines as usize);
    assert!(!illegal(&prefix(explanation.legal_lines)), "{history:#?}{violation:#?}");
    assert!(illegal(&prefix(explanation.illegal_lines)), "{history:#?}{violation:#?}");
    assert_eq!(explanation.window.iter().filter(|one| one.culprit).count(), 1, "{violation:#?}");
    if explanation.smallest {
        let answers: Vec<usize> = explanation
            .window
            .iter()
            .filter_map(|one| one.returned.map(|returned| returned.line as usize - 1))
            .collect();
        assert_eq!(answers.len(), explanation.window.len(), "{violation:#?}");
        let alone =
            |answers: &[usize]| without_failures(&with_answers(history, answers), usize::MAX);
        assert!(illegal(&alone(&answers)), "{history:#?}{violation:#?}");
        for left_out in &answers {
            let rest: Vec<usize> =
                answers.iter().copied().filter(|answer| answer != left_out).collect();
            assert!(!illegal(&alone(&rest)), "{history:#?}{violation:#?}");
        }
    }
}

/// The first lines of a history without the operations that fail, then or later: they count as
/// having had no effect from the beginning.
fn without_failures(history: &[Event], lines: usize) -> Vec<Event> {
    let fails = |at: usize| {
        let process = history[at].process;
        let next = history[at + 1..].iter().find(|event| event.process == process);
        let is_failure = |event: &Event| {
            matches!(&event.kind, EventKind::Complete { outcome: Outcome::Fail { .. } })
        };
        is_failure(&history[at])
            || matches!(&history[at].kind, EventKind::Invoke { .. }) && next.is_some_and(is_failure)
    };
    let first = 0..history.len().min(lines);
    first.filter(|at| !fails(*at)).map(|at| history[at].clone()).collect()
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
