//! Traces built by hand that each invariant must accept or reject, and the verdict as a whole.

mod accepted;
mod rejected;
mod script;

use super::{Budget, PROPERTIES, invariants, judge};
use crate::verdict::Verdict;
use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};

#[test]
fn the_list_of_properties_is_what_is_checked() {
    let listed: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
    let checked = invariants();
    let names = checked.iter().map(|invariant| invariant.property().name);
    let checked: Vec<&str> = std::iter::once("linearizability").chain(names).collect();
    assert_eq!(listed, checked);
}

fn read_of_nothing(value: Option<&str>) -> Vec<Event> {
    let key = Text::new("a");
    let answer = Answer::Value { value: value.map(Text::new) };
    let kinds = [
        EventKind::Invoke { operation: Operation::Get { key } },
        EventKind::Complete { outcome: Outcome::Ok { answer } },
    ];
    let event = |(at, kind)| Event { time_us: at as u64, process: Process(1), kind };
    kinds.into_iter().enumerate().map(event).collect()
}

#[test]
fn a_verdict_joins_history_and_trace() {
    let sound = script::trace(script::CLUSTER);
    let broken = script::trace(&format!("{}|2 vote 1:3c", script::CLUSTER));
    let names = |verdict: Verdict| match verdict {
        Verdict::Invalid { violations } => {
            violations.into_iter().map(|violation| violation.property).collect()
        }
        Verdict::Valid | Verdict::Unknown { .. } => Vec::new(),
    };
    let judge = |value, trace| judge(&read_of_nothing(value), trace, Budget::default()).unwrap();
    assert_eq!(judge(None, &sound), Verdict::Valid);
    assert_eq!(names(judge(None, &broken)), ["election-safety"]);
    assert_eq!(names(judge(Some("x"), &sound)), ["linearizability"]);
    assert_eq!(names(judge(Some("x"), &broken)), ["linearizability", "election-safety"]);
}
