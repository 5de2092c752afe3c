//! Histories on keys, written by hand.

use super::script::{each, history, judge};
use crate::{Budget, Explanation, Undecided, Verdict, check};

#[test]
fn histories_of_one_copy_are_accepted() {
    each(
        &[
            ("nothing happened", ""),
            ("a read sees the write before it", "1 set a x|1 = done|1 get a|1 = x"),
            ("a concurrent read may miss the write", "1 set a x|2 get a|2 = -|1 = done"),
            ("a concurrent read may see the write", "1 set a x|2 get a|2 = x|1 = done"),
            (
                "an unknown write may take effect late",
                "1 set a x|1 info|2 get a|2 = -|2 get a|2 = x",
            ),
            ("an unknown write may never take effect", "1 set a x|1 info|2 get a|2 = -"),
            ("an open write counts as unknown", "1 set a x|2 get a|2 = x|2 get a|2 = x"),
            (
                "an unknown write may take effect after a later write",
                "1 set a x|1 info|2 set a y|2 = done|2 get a|2 = y|2 get a|2 = x",
            ),
            (
                "an unknown delete may take effect late",
                "1 set a x|1 = done|1 delete a|1 info|2 get a|2 = x|2 get a|2 = -",
            ),
            ("a refused write leaves no trace", "1 set a x|1 fail|1 get a|1 = -"),
            (
                "a delete answers what it removed",
                "1 set a x|1 = done|1 delete a|1 = x|1 delete a|1 = -",
            ),
            ("a swap needs what it expects", "1 cas a - x|1 = swapped|1 cas a y z|1 = mismatch x"),
            (
                "a deleting comparison",
                "1 set a x|1 = done|1 cad a x|1 = swapped|1 cad a x|1 = mismatch -",
            ),
            (
                "of a key that stands twice the last value counts",
                "1 multi a=x a=y|1 = done|1 get a|1 = y",
            ),
            (
                "a scan's page ends at its limit",
                "1 multi g/a=1 g/b=2 g/c=3|1 = done|1 scan g/ 2|1 = rows g/a=1 g/b=2",
            ),
            (
                "a scan sees all of a multi-key write or nothing",
                "1 multi g/a=1 g/b=2|2 scan g/ 9|2 = rows|2 scan g/ 9|2 = rows g/a=1 g/b=2|1 = done",
            ),
            ("an empty page says nothing", "1 set g/a 1|1 = done|1 scan g/ 0|1 = rows"),
            ("a scan of a prefix that nobody uses", "1 set a x|1 = done|1 scan z 5|1 = rows"),
            (
                "an unknown swap explains a value",
                "1 set a x|1 = done|1 cas a x y|1 info|2 get a|2 = y",
            ),
            (
                "an unknown write under an unknown swap explains a value",
                "1 set a x|1 info|2 cas a x y|2 info|3 get a|3 = y",
            ),
        ],
        true,
    );
}

#[test]
fn histories_of_no_single_copy_are_rejected() {
    each(
        &[
            ("a stale read", "1 set a x|1 = done|1 set a y|1 = done|2 get a|2 = x"),
            ("a lost write", "1 set a x|1 = done|2 get a|2 = -"),
            ("a value from nowhere", "1 get a|1 = x"),
            ("a read that goes back", "1 set a x|2 get a|2 = x|2 get a|2 = -|1 = done"),
            ("two swaps of one value", "1 cas a - x|2 cas a - y|1 = swapped|2 = swapped"),
            ("a refused write that took effect", "1 set a x|1 fail|1 get a|1 = x"),
            (
                "an unknown write that took effect twice",
                "1 set a x|1 info|2 get a|2 = x|2 set a y|2 = done|2 get a|2 = x",
            ),
            ("a value removed twice", "1 set a x|1 = done|1 delete a|2 delete a|1 = x|2 = x"),
            (
                "half of a multi-key write",
                "1 multi g/a=1 g/b=2|1 = done|2 scan g/ 9|2 = rows g/a=1",
            ),
            (
                "a scan between the halves of two writes",
                "1 multi g/a=1 g/b=1|1 = done|1 multi g/a=2 g/b=2|2 scan g/ 9|2 = rows g/a=2 g/b=1|1 = done",
            ),
            (
                "a page longer than its limit",
                "1 multi g/a=1 g/b=2|1 = done|1 scan g/ 1|1 = rows g/a=1 g/b=2",
            ),
            ("a page that skips a row", "1 multi g/a=1 g/b=2|1 = done|1 scan g/ 1|1 = rows g/b=2"),
            ("rows out of order", "1 multi g/a=1 g/b=2|1 = done|1 scan g/ 9|1 = rows g/b=2 g/a=1"),
            (
                "a row outside of the prefix",
                "1 multi g/a=1 h/a=2|1 = done|1 scan g/ 9|1 = rows g/a=1 h/a=2",
            ),
            ("a mismatch with what was expected", "1 set a x|1 = done|1 cas a x y|1 = mismatch x"),
            ("a swap of what was not there", "1 set a x|1 = done|1 cad a y|1 = swapped"),
            (
                "two readers that disagree about the order",
                "1 set a x|2 set a y|3 get a|3 = x|3 get a|3 = y|4 get a|4 = y|4 get a|4 = x|1 = done|2 = done",
            ),
        ],
        false,
    );
}

#[test]
fn a_violation_names_the_operation_without_a_place() {
    let script = "1 set a x\n1 = done\n2 set b y\n1 set a z\n1 = done\n2 = done\n3 get a\n3 = x\n1 get a\n1 = z";
    let Verdict::Illegal { violations } = judge(script) else { panic!("a stale read") };
    let [violation] = violations.as_slice() else { panic!("{violations:#?}") };
    assert!(violation.message.ends_with(
        "up to line 8 explains the answer of process 3 get a → \"x\"; possible would have been \"z\""
    ), "{violation:#?}");
    let evidence: Vec<(u64, &str)> =
        violation.evidence.iter().map(|one| (one.time_us, one.text.as_str())).collect();
    // The key b and the reads after the stale one are no part of the story.
    assert_eq!(
        evidence,
        [
            (0, "process 1 set a = \"x\" → done (lines 1 to 2)"),
            (30, "process 1 set a = \"z\" → done (lines 4 to 5)"),
            (60, "has no place: process 3 get a → \"x\" (lines 7 to 8)"),
        ]
    );
    let Explanation { legal_lines, illegal_lines, window, smallest, possible } =
        &violation.explanation;
    assert_eq!(
        ((*legal_lines, *illegal_lines), *smallest, possible.as_slice()),
        ((7, 8), true, &["\"z\"".to_owned()][..])
    );
    assert_eq!(window.iter().map(|one| one.culprit).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn a_contradiction_may_need_the_answer_of_an_operation_that_was_open() {
    let cases = [
        // The comparison may have held until it says that it did not.
        "1 set a 1|1 = done|2 cas a 1 2|1 get a|1 = 2|2 = mismatch 3",
        // The delete may have taken effect before the get until it says that it removed nothing.
        "1 set a 1|1 = done|2 delete a|1 get a|1 = -|2 = -",
    ];
    for script in cases {
        let Verdict::Illegal { violations } = judge(&script.replace('|', "\n")) else {
            panic!("{script}")
        };
        let explanation = &violations[0].explanation;
        assert_eq!((explanation.legal_lines, explanation.illegal_lines), (5, 6), "{violations:#?}");
        assert!(explanation.smallest, "{violations:#?}");
    }
}

#[test]
fn a_spent_budget_is_unknown_and_names_the_group() {
    let mut script = String::new();
    for process in 0..12 {
        script += &format!("{process} set a v{}\n", process % 6);
    }
    script += "20 get a\n20 = v3\n20 get a\n20 = v5\n20 get a\n20 = v3";
    let budget = Budget { states_per_group: 2 };
    let verdict = check(&history(&script), budget).expect("a well-formed history");
    let (group, reason) = ("key a".to_owned(), "gave up after 2 visited states".to_owned());
    let undecided = vec![Undecided { group, reason }];
    assert_eq!(verdict, Verdict::Unknown { undecided });
}

#[test]
fn an_expensive_group_does_not_hide_a_violation() {
    let mut script = "30 get b\n30 = nowhere\n".to_owned();
    for process in 0..12 {
        script += &format!("{process} set a v{}\n", process % 6);
    }
    script += "20 get a\n20 = v3\n20 get a\n20 = v5\n20 get a\n20 = v3";
    let verdict = check(&history(&script), Budget { states_per_group: 2 });
    assert!(matches!(verdict, Ok(Verdict::Illegal { .. })), "{verdict:#?}");
}

#[test]
fn ill_formed_histories_are_errors_that_name_the_line() {
    let cases = [
        ("1 get a|1 get b", "line 2: process 1 invokes while its operation of line 1 is open"),
        ("1 = done", "line 1: process 1 completes an operation, and has none open"),
        ("1 get a|1 = -|1 = -", "line 3: process 1 completes an operation, and has none open"),
        ("1 get a|1 info|1 get a", "line 3: process 1 invokes after the unknown outcome of line 2"),
        ("1 get a|1 info|1 = -", "line 3: process 1 completes an operation, and has none open"),
        ("1 get a|1 = done", "line 2: this answer does not fit its operation, a get"),
        (
            "1 cas a - x|1 = done",
            "line 2: this answer does not fit its operation, a compare_and_set",
        ),
    ];
    for (script, expected) in cases {
        let error = check(&history(&script.replace('|', "\n")), Budget::default()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{script}: {error}");
    }
    let mut events = history("1 get a\n1 = -");
    events[0].time_us = 50;
    let error = check(&events, Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: time_us goes back from 50 to 10");
}
