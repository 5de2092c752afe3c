//! A small language for traces: events parted by `|` or line ends, `nodes verb arguments`.
//!
//! | event | means |
//! | --- | --- |
//! | `1,2 start vote=2:1c log=0@0;1@1 purged=3@1 applied=4@1` | they open their storage and find this |
//! | `1 stop` | it is killed |
//! | `1 vote 2:1`, `1 vote 2:1c` | it has saved a vote in term 2 for node 1; `c`: committed |
//! | `1 append 4@2 5@2` | entries 4 and 5 of term 2; `#7` another payload, `=1,2/2,3` a membership, `!8.1` request 1 of session 8 |
//! | `1 flush 5@2`, `1 truncate 3@1` or `-`, `1 purge 3@1`, `1 commit 5@2`, `1 install 5@2 s=9` | what they say |
//! | `1 apply 5@2 c=3 s=9` | it applies the entry; the digests are 3 and 9, or the index |
//!
//! Lives are counted; `1'1 flush 5@2` is an event of node 1's first life.

use std::collections::BTreeMap;

use aspen_core::NodeId;

use crate::trace::{EntryMark, Position, Recovered, StopReason, TraceEvent, TraceKind, VoteMark};

/// Three nodes; node 1 leads term 1 and has committed its first entry. The others do not know.
pub(crate) const CLUSTER: &str = "
    1,2,3 start
    1 append 0@0=1,2,3 | 1 flush 0@0
    1 vote 1:1 | 2 vote 1:1 | 1 vote 1:1c
    1 append 1@1 | 1 flush 1@1
    2,3 vote 1:1c | 2,3 append 0@0=1,2,3 1@1 | 2,3 flush 1@1
    1 commit 1@1 | 1 apply 0@0=1,2,3 | 1 apply 1@1";

/// Reads a script.
pub(crate) fn trace(script: &str) -> Vec<TraceEvent> {
    let mut lives = BTreeMap::new();
    let mut trace = Vec::new();
    for line in script.split(['|', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = kind(words[1], &words[2..]);
        for name in words[0].split(',') {
            let (node, life) =
                name.split_once('\'').map_or((name, None), |(node, life)| (node, Some(life)));
            let node = NodeId(number(node));
            let current = lives.entry(node).or_insert(0);
            *current += u32::from(words[1] == "start");
            let incarnation = life.map_or(*current, |life| number(life) as u32);
            let time_us = trace.len() as u64 * 10;
            trace.push(TraceEvent { time_us, node, incarnation, kind: kind.clone() });
        }
    }
    trace
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word}: expected a number"))
}

fn position(word: &str) -> Position {
    let (index, term) = word.split_once('@').expect("index@term");
    Position { index: number(index), term: number(term) }
}

fn vote(word: &str) -> VoteMark {
    let (term, node) = word.split_once(':').expect("term:node");
    let voted_for = NodeId(number(node.trim_end_matches('c')));
    VoteMark { term: number(term), voted_for, committed: node.ends_with('c') }
}

fn entry(word: &str) -> EntryMark {
    let (place, marks) = match word.find(['#', '=', '!']) {
        Some(at) => word.split_at(at),
        None => (word, ""),
    };
    let position = position(place);
    let mut entry = EntryMark {
        position,
        payload: 1000 * position.term + position.index,
        stamp: None,
        voters: None,
    };
    match marks.split_at_checked(1) {
        None => {}
        Some(("#", payload)) => entry.payload = number(payload),
        Some(("=", sets)) => {
            let set = |set: &str| set.split(',').map(|id| NodeId(number(id))).collect();
            entry.voters = Some(sets.split('/').map(set).collect());
        }
        Some((_, stamp)) => {
            let (session, sequence) = stamp.split_once('.').expect("session.sequence");
            entry.stamp = Some((number(session), number(sequence)));
        }
    }
    entry
}

/// The value of `name=…` among the words.
fn named<'w>(words: &[&'w str], name: &str) -> Option<&'w str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn recovered(words: &[&str]) -> Recovered {
    // Memberships have commas in them, so the entries of a found log are parted by `;`.
    let log = named(words, "log").map(|log| log.split(';').map(entry).collect());
    Recovered {
        vote: named(words, "vote").map(vote),
        purged: named(words, "purged").map(position),
        entries: log.unwrap_or_default(),
        applied: named(words, "applied").map(position),
        repaired: false,
    }
}

fn kind(verb: &str, words: &[&str]) -> TraceKind {
    let digest = |name, entry: Position| named(words, name).map_or(entry.index, number);
    match verb {
        "start" => TraceKind::Started { recovered: recovered(words) },
        "stop" => TraceKind::Stopped { reason: StopReason::Kill },
        "vote" => TraceKind::VoteSaved { vote: vote(words[0]) },
        "append" => TraceKind::Appended { entries: words.iter().map(|word| entry(word)).collect() },
        "flush" => TraceKind::Flushed { position: position(words[0]) },
        "truncate" => TraceKind::Truncated { after: (words[0] != "-").then(|| position(words[0])) },
        "purge" => TraceKind::Purged { upto: position(words[0]) },
        "commit" => TraceKind::Committed { position: position(words[0]) },
        "install" => {
            let position = position(words[0]);
            TraceKind::SnapshotInstalled { position, state: digest("s", position) }
        }
        "apply" => {
            let entry = entry(words[0]);
            let (content, state) = (digest("c", entry.position), digest("s", entry.position));
            TraceKind::Applied { entry, content, state }
        }
        _ => panic!("{verb}: no such event"),
    }
}
