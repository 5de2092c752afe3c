//! What no correct cluster does: each story breaks the property that it names, and no other.

use super::script::{CLUSTER, trace};
use crate::checks::check_trace;

const LOG: &str = "log=0@0=1,2,3;1@1";

fn each(property: &str, stories: &[(&str, &str)]) {
    for (story, script) in stories {
        let script = format!("{CLUSTER}|{}", script.replace("LOG", LOG));
        let violations = check_trace(&trace(&script));
        let found: Vec<&str> = violations.iter().map(|one| one.property.as_str()).collect();
        let expected: Vec<&str> = property.split(' ').collect();
        assert_eq!(found, expected, "{story}: {violations:#?}");
        for violation in &violations {
            assert!(!violation.evidence.is_empty() && !violation.source.is_empty(), "{story}");
            let ordered = violation.evidence.is_sorted_by_key(|evidence| evidence.time_us);
            assert!(ordered, "{story}: {violation:#?}");
        }
    }
}

#[test]
fn election_safety() {
    each(
        "election-safety",
        &[
            ("two leaders in one term", "2 vote 1:3c"),
            ("a second leader found at a start", "2 stop|2 start vote=1:2c LOG"),
            ("two votes in one term", "3 vote 2:2|3 vote 2:3"),
            (
                "two votes in one term, with a restart between",
                "3 vote 2:2|3 stop|3 start vote=2:1 LOG",
            ),
        ],
    );
    each(
        "vote-monotonic election-safety",
        &[(
            "a vote forgotten, and given to another",
            "3 vote 2:2|3 stop|3 start vote=1:1c LOG|3 vote 2:3",
        )],
    );
}

#[test]
fn vote_monotonic() {
    each(
        "vote-monotonic",
        &[
            ("a vote in a lower term", "3 vote 3:2|3 vote 2:2"),
            ("a leader forgotten within its term", "3 vote 1:1"),
            ("a restart without the vote", "3 stop|3 start LOG"),
            ("a restart with an older vote", "3 vote 2:2|3 stop|3 start vote=1:1c LOG"),
        ],
    );
}

#[test]
fn log_matching() {
    each(
        "log-matching",
        &[
            ("two payloads of one entry", "1 append 2@1|2 append 2@1#7"),
            ("one entry after different ones", "1 append 2@1 3@2|2 append 2@2 3@2"),
            ("an append that leaves a gap", "2 append 3@1"),
            ("a batch with a hole", "2 append 2@1 4@1"),
        ],
    );
}

#[test]
fn leader_completeness() {
    each(
        "leader-completeness",
        &[
            (
                "a leader without a committed entry",
                "1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|3 vote 2:3|2 vote 2:3|3 vote 2:3c",
            ),
            (
                "the commit shows after the election",
                "1,2 append 2@1|1,2 flush 2@1|3 vote 2:3|2 vote 2:3|3 vote 2:3c|1 commit 2@1",
            ),
            (
                "a leader with a longer log that has another entry there",
                "1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|3 append 2@0 3@0|3 vote 2:3|3 vote 2:3c",
            ),
        ],
    );
}

#[test]
fn state_machine_safety() {
    each(
        "state-machine-safety",
        &[
            ("an entry applied with another payload", "2 apply 0@0|2 apply 1@1#7"),
            (
                "an entry skipped",
                "2 apply 0@0|1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|2 apply 2@1",
            ),
            ("the first entry skipped", "2 apply 1@1"),
            ("an entry reported committed that is not in the log", "4 start|4 commit 1@1"),
            (
                "another entry committed at the index",
                "1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|3 append 2@0|3 commit 2@0",
            ),
            ("a state machine found with another entry", "4 start applied=1@0"),
            ("a snapshot of another entry", "4 start|4 install 1@0"),
        ],
    );
}

#[test]
fn quorum_commit() {
    each(
        "quorum-commit",
        &[
            ("a commit without followers", "1 append 2@1|1 flush 2@1|1 commit 2@1"),
            ("a commit before the followers' flush", "1,2 append 2@1|1 flush 2@1|1 commit 2@1"),
            ("an application without a quorum", "1 append 2@1|1 flush 2@1|1 apply 2@1"),
            (
                "a commit that counts a node outside of the membership",
                "4 start|4 append 0@0=1,2,3 1@1 2@1|4 flush 2@1|1 append 2@1|1 flush 2@1|1 commit 2@1",
            ),
            (
                "a joint membership committed by the old quorum alone",
                "1,2 append 2@1=1,2,3/1,4,5|1,2 flush 2@1|1 commit 2@1",
            ),
            (
                "a commit that counts a conflicting entry",
                "1 append 2@1|1 flush 2@1|2 append 2@0|2 flush 2@0|1 commit 2@1",
            ),
            (
                "a commit that counts an entry lost with its machine",
                "1,2 append 2@1|1 flush 2@1|2 stop|2 start vote=1:1c LOG|1 commit 2@1",
            ),
            (
                "an entry of an earlier term committed by counting it (the paper's figure 8)",
                "3 vote 2:3|2 vote 2:3|3 vote 2:3c|1 append 2@1|1 flush 2@1
                 1 vote 3:1|2 vote 3:1|1 vote 3:1c|2 vote 3:1c|1 append 3@3|1 flush 3@3
                 2 append 2@1|2 flush 2@1|1 commit 2@1",
            ),
            ("a snapshot beyond what is committed", "4 start|4 install 2@1"),
            ("half of an even membership", "1,2 append 2@1=1,2,3,4|1,2 flush 2@1|1 commit 2@1"),
        ],
    );
}

#[test]
fn committed_immutable() {
    each(
        "committed-immutable",
        &[
            ("a node truncates what it knows to be committed", "1 truncate 0@0"),
            ("a node truncates what it has applied", "2 apply 0@0|2 apply 1@1|2 truncate 0@0"),
            ("a node truncates everything", "1 truncate -"),
            ("a follower of this term's leader truncates its commit", "2 truncate 0@0"),
            (
                "a follower of a later leader truncates an earlier commit",
                "2 vote 2:2|3 vote 2:2|2 vote 2:2c|3 vote 2:2c|3 truncate 0@0",
            ),
            ("a node overwrites what is committed", "1 append 1@2"),
        ],
    );
}

#[test]
fn commit_and_apply_monotonic() {
    each(
        "commit-monotonic",
        &[("a commit goes back", "1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|1 commit 1@1")],
    );
    each(
        "apply-monotonic",
        &[
            ("an entry applied twice in one life", "1 apply 1@1"),
            (
                "an entry applied again after a restart that had it",
                "1 stop|1 start vote=1:1c LOG applied=1@1|1 apply 1@1",
            ),
            ("a snapshot that goes back", "1 install 0@0"),
        ],
    );
}

#[test]
fn durable_log() {
    each(
        "durable-log",
        &[
            ("a flushed entry is lost", "2 append 2@1|2 flush 2@1|2 stop|2 start vote=1:1c LOG"),
            ("the log is lost", "2 stop|2 start vote=1:1c"),
            (
                "a flushed entry is another one",
                "2 append 2@1|2 flush 2@1|2 stop|2 start vote=1:1c LOG;2@0",
            ),
            (
                "a flushed entry is lost under a new vote that has no leader",
                "2 append 2@1|2 flush 2@1|2 vote 2:3|2 stop|2 start vote=2:3 LOG",
            ),
            (
                "a committed entry is lost under a new leader",
                "1,2 append 2@1|1,2 flush 2@1|1 commit 2@1|1 vote 2:1|3 vote 2:1|1 vote 2:1c|2 vote 2:1c
                 2 stop|2 start vote=2:1c LOG",
            ),
            (
                "a leader loses entries of an earlier term",
                "3 append 2@1|3 flush 2@1|3 vote 2:3|2 vote 2:3|3 vote 2:3c|3 stop|3 start vote=2:3c LOG",
            ),
            ("an entry found that was never appended", "2 stop|2 start vote=1:1c LOG;2@1"),
            (
                "a truncated entry is back, and what was appended in its place had been durable",
                "2 append 2@0|2 truncate 1@1|2 append 2@1|2 flush 2@1|2 stop|2 start vote=1:1c LOG;2@0",
            ),
            (
                "a truncated entry is back, and a vote had been saved after the truncation",
                "2 append 2@0|2 truncate 1@1|2 vote 2:3|2 stop|2 start vote=2:3 LOG;2@0",
            ),
            (
                "a durable entry is lost in front of a truncation",
                "2 append 2@0 3@0|2 flush 2@0|2 truncate 2@0|2 append 3@1|2 stop|2 start vote=1:1c LOG",
            ),
            (
                "an entry is lost without a truncation",
                "1 append 2@1 3@1|1 flush 3@1
                 2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2|2 flush 2@2
                 1 vote 2:2c|1 stop|1 start vote=2:2c LOG applied=1@1",
            ),
            ("a log that begins too late", "2 stop|2 start vote=1:1c log=1@1 applied=0@0"),
            ("a purge of what is not applied", "2 purge 1@1"),
            ("a purge found of what is not applied", "1 stop|1 start vote=1:1c purged=1@1 applied=0@0"),
            (
                "what was found once is lost at the next start",
                "2 append 2@1|2 stop|2 start vote=1:1c LOG;2@1|2 stop|2 start vote=1:1c LOG",
            ),
            ("an installed snapshot is lost", "4 start|4 install 1@1|4 stop|4 start"),
        ],
    );
}

#[test]
fn session_exactly_once() {
    each(
        "session-exactly-once",
        &[(
            "a repeated request changes the data again",
            "1,2 append 2@1!8.1 3@1!8.1|1,2 flush 3@1|1 commit 3@1|1 apply 2@1!8.1 c=7|1 apply 3@1!8.1 c=9",
        )],
    );
}

#[test]
fn replica_digest() {
    each(
        "replica-digest",
        &[
            ("two replicas differ", "2 apply 0@0|2 apply 1@1 s=77"),
            ("a life differs from the one before", "1 stop|1 start vote=1:1c LOG|1 apply 0@0 s=77"),
            ("a snapshot differs", "4 start|4 install 1@1 s=77"),
        ],
    );
}
