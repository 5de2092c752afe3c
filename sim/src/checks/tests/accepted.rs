//! What a correct cluster may do, however odd it looks.

use super::script::{CLUSTER, trace};
use crate::checks::check_trace;

const LOG: &str = "log=0@0=1,2,3;1@1";

fn each(stories: &[(&str, &str)]) {
    for (story, script) in stories {
        let script = format!("{CLUSTER}|{}", script.replace("LOG", LOG));
        let violations = check_trace(&trace(&script));
        assert!(violations.is_empty(), "{story}: {violations:#?}");
    }
}

#[test]
fn votes() {
    each(&[
        ("a quiet cluster", ""),
        (
            "a candidate stores the vote of the rival that won",
            "2 vote 2:2|3 vote 2:3|1 vote 2:3|3 vote 2:3c|2 vote 2:3c",
        ),
        ("a vote is saved twice", "2 vote 2:2|2 vote 2:2"),
        ("a restart finds the vote", "2 vote 2:2|2 stop|2 start vote=2:2 LOG"),
        (
            "a crash falls between saving and reporting a vote",
            "2 stop|2 start vote=2:3 LOG|2 vote 2:3",
        ),
        (
            "a late leader stores its vote when the next one has committed an entry that it lacked",
            "1 append 2@1|1 flush 2@1
             2 vote 2:2|3 vote 2:2
             1 vote 3:1|3 vote 3:1|1 vote 3:1c
             1 append 3@3|1 flush 3@3|3 vote 3:1c|3 append 2@1 3@3|3 flush 3@3|1 commit 3@3
             2 vote 2:2c",
        ),
        (
            "a leader is elected with entries that are not flushed",
            "2 append 2@1|2 vote 2:2|3 vote 2:2|2 vote 2:2c",
        ),
        (
            "node 2's first life reports after its end",
            "2 stop|2 start vote=1:1c LOG|2'1 vote 9:9c|2'1 flush 1@1",
        ),
    ]);
}

#[test]
fn truncations() {
    each(&[
        (
            "a new leader replaces what was flushed and not committed",
            "1 append 2@1 3@1|1 flush 3@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2|2 flush 2@2
             1 vote 2:2c|1 truncate 1@1|1 append 2@2|1 flush 2@2|2 commit 2@2",
        ),
        (
            "a flush of the old tail is reported after its truncation",
            "1 append 2@1 3@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2|2 flush 2@2
             1 vote 2:2c|1 truncate 1@1|1 append 2@2|1 flush 3@1|1 flush 2@1|1 stop|1 start vote=2:2c LOG applied=1@1",
        ),
        (
            "a crash falls in front of a truncation and what came with it",
            "1 append 2@1 3@1|1 flush 3@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2|2 flush 2@2
             1 vote 2:2c|1 truncate 1@1|1 append 2@2|1 stop|1 start vote=2:2c LOG;2@1;3@1 applied=1@1",
        ),
        (
            "a crash falls behind the first of two truncations",
            "1 append 2@1 3@1|1 flush 3@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2 3@2|2 flush 2@2
             1 vote 2:2c|1 truncate 1@1|1 append 2@2 3@2|1 truncate 2@2|1 append 3@2
             1 stop|1 start vote=2:2c LOG;2@2;3@2 applied=1@1",
        ),
        (
            "a snapshot covers a committed entry that is truncated together with its install",
            "1 append 2@1 3@1|1 flush 3@1|2 append 2@1|2 flush 2@1|1 commit 2@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 3@2|2 flush 3@2|3 append 2@1 3@2|3 flush 3@2|2 commit 3@2
             1 stop|1 start vote=1:1c LOG;2@1;3@1 applied=1@1
             1 vote 2:2c|1 install 3@2|1 truncate 3@2|1 purge 3@2|1 append 4@2",
        ),
        (
            "a crash falls behind an install and what it made the log lose",
            "1 append 2@1 3@1 4@1|1 flush 4@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2 3@2|2 flush 3@2|3 append 2@2 3@2|3 flush 3@2|2 commit 3@2
             1 vote 2:2c|1 stop|1 start vote=2:2c LOG applied=3@2",
        ),
        (
            "a stalled node truncates for an old leader what a newer one has committed by then",
            "1 append 2@1|1 flush 2@1|2 append 2@1|2 flush 2@1
             3 vote 2:3|2 vote 2:3|3 vote 2:3c|3 append 2@2
             2 vote 2:3c
             4,5 start|1 vote 3:1|4 vote 3:1|1 vote 3:1c|1 append 3@3=1,4,5|1 flush 3@3
             4,5 append 0@0=1,2,3 1@1 2@1 3@3=1,4,5|4,5 flush 3@3|1 commit 3@3
             2 truncate 1@1",
        ),
        (
            "an uncommitted membership is truncated and its predecessor is in force again",
            "1 append 2@1=1,2,3/1,4,5|1 flush 2@1
             2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 append 2@2|2 flush 2@2
             1 vote 2:2c|1 truncate 1@1|1 append 2@2|1 flush 2@2|2 commit 2@2",
        ),
    ]);
}

#[test]
fn durability() {
    each(&[
        (
            "one flush covers several appends",
            "1 append 2@1|1 append 3@1|1 append 4@1|2 append 2@1 3@1|2 append 4@1|1 flush 4@1|2 flush 4@1|1 commit 4@1",
        ),
        (
            "a follower applies what it has not flushed itself",
            "1,3 append 2@1|1,3 flush 2@1|1 commit 2@1|2 append 2@1|2 commit 2@1|2 apply 0@0|2 apply 1@1|2 apply 2@1",
        ),
        (
            "entries survive that were not acknowledged",
            "2 append 2@1 3@1|2 stop|2 start vote=1:1c LOG;2@1;3@1",
        ),
        (
            "some entries survive that were not acknowledged",
            "2 append 2@1 3@1|2 stop|2 start vote=1:1c LOG;2@1|2 append 3@1",
        ),
        (
            "what was found at a start counts as durable",
            "1,2 append 2@1|1 flush 2@1|2 stop|2 start vote=1:1c LOG;2@1|1 commit 2@1",
        ),
        (
            "a node that is down still holds its entries",
            "1,2 append 2@1|1,2 flush 2@1|2 stop|1 commit 2@1",
        ),
        (
            "a purge removes what is applied",
            "1 purge 0@0|1 stop|1 start vote=1:1c log=1@1 purged=0@0 applied=1@1|1 append 2@1",
        ),
        (
            "a purge was under way in the crash",
            "1 stop|1 start vote=1:1c purged=1@1 applied=1@1|1 append 2@1",
        ),
        (
            "a purge did not survive the crash",
            "1 purge 1@1|1 stop|1 start vote=1:1c LOG applied=1@1|1 append 2@1",
        ),
        (
            "what was applied is applied again after a restart",
            "1 stop|1 start vote=1:1c LOG applied=0@0|1 apply 1@1|1 commit 1@1",
        ),
        (
            "the state machine on disk lags far behind",
            "1 stop|1 start vote=1:1c LOG|1 apply 0@0|1 apply 1@1",
        ),
    ]);
}

#[test]
fn commits() {
    each(&[
        ("a commit is repeated", "1 commit 1@1|2 commit 1@1"),
        (
            "a follower is the first to show a commit, and its leader is gone",
            "1,2 append 2@1|1,2 flush 2@1|1 stop|2 commit 2@1",
        ),
        (
            "an entry of an earlier term is committed through one of the leader's own",
            "1 append 2@1|1 flush 2@1
             1 vote 2:1|2 vote 2:1|1 vote 2:1c|1 append 3@2|1 flush 3@2
             2 vote 2:1c|2 append 2@1 3@2|2 flush 3@2|2 commit 2@1|1 commit 3@2",
        ),
        (
            "a leader shows what it was told as a follower",
            "1,2 append 2@1|1,2 flush 2@1|2 vote 2:2|3 vote 2:2|2 vote 2:2c|2 commit 2@1|2 append 3@2",
        ),
        (
            "a joint membership is committed by both quorums, its successor by its own",
            "4,5 start|1 append 2@1=1,2,3/1,4,5|1 flush 2@1|4 append 0@0=1,2,3 1@1 2@1=1,2,3/1,4,5|4 flush 2@1
             2 append 2@1=1,2,3/1,4,5|2 flush 2@1|1 commit 2@1
             1,4 append 3@1=1,4,5|1,4 flush 3@1|1 commit 3@1",
        ),
        (
            "an entry before an uncommitted membership is committed by the newer quorum",
            "4 start|4 append 0@0=1,2,3 1@1|1,2,4 append 2@1=1,2,3/1,4,5|1,2,4 flush 2@1
             1 commit 2@1|1 append 3@1|1 append 4@1=1,4,5|1 flush 4@1|4 append 3@1|4 flush 3@1|1 commit 3@1",
        )
    ]);
}

#[test]
fn snapshots() {
    each(&[
        (
            "an empty node gets a snapshot and goes on behind it",
            "4 start|4 vote 1:1c|4 install 1@1|4 purge 1@1|4 append 2@1|4 flush 2@1",
        ),
        (
            "the log begins anew behind a snapshot before it is purged",
            "4 start|4 vote 1:1c|4 append 0@0=1,2,3|4 install 1@1|4 append 2@1|4 flush 2@1|4 purge 1@1",
        ),
        (
            "a leftover below a snapshot differs from what is committed, and a crash keeps it",
            "4 start|4 append 0@0=4|4 flush 0@0|4 vote 1:1c|4 stop
             4 start vote=1:1c log=0@0=4|4 install 1@1|4 stop
             4 start vote=1:1c log=0@0=4 applied=1@1|4 purge 1@1|4 append 2@1",
        ),
        (
            "a snapshot counts for the quorum, and its membership is in force",
            "1 append 2@1=1,2,3/1,2,4|1,2 flush 1@1|2 append 2@1=1,2,3/1,2,4|1,2 flush 2@1|1 commit 2@1
             1,2 append 3@1=1,2,4|1,2 flush 3@1|1 commit 3@1|1 apply 2@1|1 apply 3@1
             4 start|4 vote 1:1c|4 install 3@1|4 purge 3@1
             1,4 append 4@1|1,4 flush 4@1|4 commit 4@1",
        ),
        (
            "a leader whose log begins behind a snapshot is complete",
            "1 purge 1@1|1 vote 2:1|2 vote 2:1|1 vote 2:1c|1 append 2@2",
        ),
    ]);
}

#[test]
fn sessions_and_digests() {
    each(&[
        (
            "a repeated request leaves the data as it is",
            "1,2 append 2@1!8.1 3@1!8.1|1,2 flush 3@1|1 commit 3@1|1 apply 2@1!8.1 c=7|1 apply 3@1!8.1 c=7",
        ),
        (
            "every replica applies a request once",
            "1,2 append 2@1!8.1|1,2 flush 2@1|1 commit 2@1|1 apply 2@1!8.1 c=7|2 apply 0@0|2 apply 1@1|2 apply 2@1!8.1 c=7",
        ),
        (
            "a later request of the session changes the data",
            "1,2 append 2@1!8.1 3@1!8.2|1,2 flush 3@1|1 commit 3@1|1 apply 2@1!8.1 c=7|1 apply 3@1!8.2 c=9",
        ),
    ]);
}
