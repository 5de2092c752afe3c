//! Counters, locks and appends, by hand; and a model of one's own.

use super::script::{each, history, judge};
use crate::history::{Event, EventKind, Outcome, Process};
use crate::{Budget, Model, Verdict, check, check_model};

#[test]
fn counters_add_up() {
    each(
        &[
            ("a new counter is 0", "1 count c|1 = count 0"),
            ("an addition tells the count", "1 add c 2|1 = count 2|1 add c -3|1 = count -1"),
            ("a bare addition counts, too", "1 add c 2|1 = done|1 count c|1 = count 2"),
            (
                "concurrent additions in either order",
                "1 add c 1|2 add c 2|2 = count 2|1 = count 3|1 count c|1 = count 3",
            ),
            (
                "an unknown addition may take effect late",
                "1 add c 1|1 info|2 count c|2 = count 0|2 count c|2 = count 1",
            ),
            ("a counter and a key of one name", "1 add a 1|1 = count 1|1 get a|1 = -"),
        ],
        true,
    );
    each(
        &[
            ("a lost addition", "1 add c 1|1 = done|1 count c|1 = count 0"),
            ("an addition counted twice", "1 add c 1|2 count c|2 = count 2|1 = done"),
            ("two additions that saw the same", "1 add c 1|2 add c 1|1 = count 1|2 = count 1"),
            (
                "a counter that goes back",
                "1 add c 1|2 count c|2 = count 1|2 count c|2 = count 0|1 = done",
            ),
        ],
        false,
    );
}

#[test]
fn locks_exclude_and_their_tokens_rise() {
    each(
        &[
            (
                "granted, released, granted",
                "1 lock l|1 = token 3|1 unlock l 3|1 = done|2 lock l|2 = token 9",
            ),
            ("refused while it is held", "1 lock l|1 = token 1|2 lock l|2 = held"),
            (
                "an unknown release frees it",
                "1 lock l|1 = token 1|1 unlock l 1|1 info|2 lock l|2 = token 2",
            ),
            ("an unknown grant keeps others out", "1 lock l|1 info|2 lock l|2 = held"),
            ("an unknown grant that never was", "1 lock l|1 info|2 lock l|2 = token 1"),
            (
                "a grant that was heard of after all",
                "1 lock l|1 info|2 lock l|2 = held|3 unlock l 4|3 = done|2 lock l|2 = token 5",
            ),
            (
                "an unknown lease takes a token of its own",
                "1 lease l|1 info|2 lock l|2 = held|2 lock l|2 = token 2",
            ),
            (
                "a lease may run out",
                "1 lease l|1 = token 1|2 lock l|2 = token 2|1 unlock l 1|1 = stale",
            ),
            (
                "a release that came too late",
                "1 lock l|1 = token 1|1 unlock l 1|1 = done|1 unlock l 1|1 = stale",
            ),
            ("two locks", "1 lock l|1 = token 1|2 lock m|2 = token 1"),
        ],
        true,
    );
    each(
        &[
            ("granted twice", "1 lock l|1 = token 1|2 lock l|2 = token 2"),
            ("refused while it is free", "2 lock l|2 = held"),
            (
                "a token that falls",
                "1 lock l|1 = token 5|1 unlock l 5|1 = done|2 lock l|2 = token 4",
            ),
            ("a token twice", "1 lease l|1 = token 5|2 lease l|2 = token 5"),
            ("released by somebody else", "1 lock l|1 = token 5|2 unlock l 4|2 = done"),
            ("stale for its holder", "1 lock l|1 = token 5|1 unlock l 5|1 = stale"),
            (
                "a grant that was heard of has its token",
                "1 lock l|1 info|2 lock l|2 = held|3 unlock l 4|3 = done|2 lock l|2 = token 4",
            ),
            (
                "no token is left for the unknown lease",
                "1 lease l|1 info|2 lock l|2 = held|2 lock l|2 = token 1",
            ),
        ],
        false,
    );
}

#[test]
fn appends_line_up() {
    each(
        &[
            ("an append to nothing", "1 append a x|1 = done|1 get a|1 = x"),
            (
                "appends in either order",
                "1 append a x|2 append a y|1 = done|2 = done|3 get a|3 = yx",
            ),
            (
                "an append to what was set",
                "1 set a x|1 = done|1 append a y|1 = done|1 get a|1 = xy",
            ),
            (
                "an unknown append",
                "1 append a x|1 info|2 get a|2 = -|2 append a y|2 = done|2 get a|2 = yx",
            ),
            (
                "an append and a scan",
                "1 append g/a x|1 = done|2 append g/b y|3 scan g/ 9|3 = rows g/a=x|2 = done",
            ),
        ],
        true,
    );
    each(
        &[
            ("a lost append", "1 append a x|1 = done|1 append a y|1 = done|1 get a|1 = y"),
            ("an append that took effect twice", "1 append a x|1 = done|1 get a|1 = xx"),
            (
                "two readers that disagree about the order",
                "1 append a x|2 append a y|3 get a|3 = x|4 get a|4 = y|1 = done|2 = done",
            ),
        ],
        false,
    );
}

#[test]
fn a_contradiction_of_a_model_tells_what_would_have_been_possible() {
    let script = "1 add c 5|1 = count 5|2 count c|2 = count 4|1 count c|1 = count 5";
    let Verdict::Illegal { violations } = judge(&script.replace('|', "\n")) else {
        panic!("a count that nobody can have seen")
    };
    let [violation] = violations.as_slice() else { panic!("{violations:#?}") };
    assert_eq!(violation.group, "counter c");
    let explanation = &violation.explanation;
    assert_eq!((explanation.legal_lines, explanation.illegal_lines), (3, 4));
    assert_eq!(explanation.possible, ["5"]);
    // Without the answer to the addition it may not have happened, and nothing else makes 4 of 0.
    assert_eq!(explanation.window.len(), 1, "{explanation:#?}");
    assert!(explanation.smallest);
}

#[test]
fn more_operations_at_once_than_a_machine_word_has_bits() {
    for clients in [60, 100, 300] {
        // Half of them write the same value, so that a search is needed.
        let mut script = String::new();
        for client in 0..clients {
            script += &format!("{client} set a {}\n", if client % 2 == 0 { client } else { 1 });
        }
        script += "900 get a\n900 = 10\n900 get a\n900 = 1\n900 get a\n900 = 20\n";
        let stale = script.clone() + "900 get a\n900 = 10\n";
        for client in 0..clients {
            script += &format!("{client} = done\n");
        }
        assert_eq!(judge(&script), Verdict::Linearizable, "{clients} clients");
        assert!(matches!(judge(&stale), Verdict::Illegal { .. }), "{clients} clients");
    }
}

#[test]
fn a_check_stops_when_it_is_told_to() {
    let mut script = String::new();
    for process in 0..40 {
        script += &format!("{process} add c {}\n", 1_u64 << process);
    }
    // Which of them make up the sum is for a search to find out.
    script += "50 count c\n50 = count 699050999999\n";
    let mut asked = 0;
    let budget = Budget { states_per_group: 1_000_000 };
    let verdict = crate::check_until(&history(&script), budget, &mut || {
        asked += 1;
        asked == 3
    });
    let Ok(Verdict::Unknown { undecided }) = verdict else { panic!("{verdict:#?}") };
    assert_eq!(undecided[0].group, "counter c");
    assert_eq!(undecided[0].reason, "stopped before it was decided");
    assert_eq!(asked, 3);
    let Ok(Verdict::Unknown { undecided }) =
        check(&history(&script), Budget { states_per_group: 9_000 })
    else {
        panic!("a subset of 40 numbers is not found in 9,000 states")
    };
    assert_eq!(undecided[0].reason, "gave up after 9000 visited states");
}

/// Queues: `Some` puts a number into one, `None` takes the oldest one out.
struct Queues;

impl Model for Queues {
    type Operation = (&'static str, Option<u32>);
    type Answer = Option<u32>;
    type State = Vec<u32>;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(
        &self,
        state: &Vec<u32>,
        (_, put): &Self::Operation,
        answer: Option<&Option<u32>>,
    ) -> Option<Vec<u32>> {
        let mut after = state.clone();
        let taken = match put {
            Some(number) => {
                after.push(*number);
                None
            }
            None => (!after.is_empty()).then(|| after.remove(0)),
        };
        answer.is_none_or(|answer| *answer == taken).then_some(after)
    }

    fn object(&self, (queue, _): &Self::Operation) -> String {
        format!("queue {queue}")
    }

    fn describe(&self, (queue, put): &Self::Operation) -> String {
        put.map_or(format!("take from {queue}"), |number| format!("put {number} into {queue}"))
    }

    fn describe_answer(&self, answer: &Option<u32>) -> String {
        answer.map_or("nothing".to_owned(), |number| number.to_string())
    }

    fn check_answer(&self, (_, put): &Self::Operation, answer: &Option<u32>) -> Result<(), String> {
        match (put, answer) {
            (Some(_), Some(_)) => Err("a put has no answer; expected nothing".to_owned()),
            _ => Ok(()),
        }
    }
}

type QueueEvent = Event<<Queues as Model>::Operation, <Queues as Model>::Answer>;

/// Calls one after another: queue, what is put, what is answered.
fn in_turn(calls: &[(&'static str, Option<u32>, Option<u32>)]) -> Vec<QueueEvent> {
    let mut events = Vec::new();
    for (queue, put, answer) in calls {
        let time_us = events.len() as u64;
        let operation = (*queue, *put);
        let outcome = Outcome::Ok { answer: *answer };
        for kind in [EventKind::Invoke { operation }, EventKind::Complete { outcome }] {
            events.push(Event { time_us, process: Process(1), kind });
        }
    }
    events
}

#[test]
fn a_model_of_ones_own_is_judged_object_by_object() {
    let legal =
        [("a", Some(1), None), ("b", Some(2), None), ("a", None, Some(1)), ("a", None, None)];
    let verdict = check_model(&Queues, &in_turn(&legal), Budget::default());
    assert_eq!(verdict, Ok(Verdict::Linearizable));

    let crossed = [("a", Some(1), None), ("b", Some(2), None), ("a", None, Some(2))];
    let verdict = check_model(&Queues, &in_turn(&crossed), Budget::default());
    let Ok(Verdict::Illegal { violations }) = verdict else { panic!("{verdict:#?}") };
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].group, "queue a");
    assert!(violations[0].message.contains("take from a → 2"), "{violations:#?}");

    let odd = [("a", Some(1), Some(1))];
    let error = check_model(&Queues, &in_turn(&odd), Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: a put has no answer; expected nothing");
}
