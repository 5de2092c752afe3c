//! What the checks cost: a history of 2,000 operations, and a trace of about 50,000 events.

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use aspen_sim::checks::{Budget, check_trace, linearizability};
use aspen_sim::trace::{EntryMark, Position, Recovered, TraceEvent, TraceKind, VoteMark};
use aspen_sim::verdict::Verdict;
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../src/checks/linearizability/tests/random_history.rs"]
#[allow(dead_code, reason = "the benchmark needs the legal histories only")]
mod random_history;

use random_history::{Recipe, legal};

const NODES: u64 = 5;

fn history(c: &mut Criterion) {
    let recipe =
        Recipe { clients: 8, operations: 2_000, groups: 4, keys: 8, values: 0, info_percent: 1 };
    for (name, recipe) in [
        ("2000 operations, 4 groups", recipe),
        ("2000 operations, 1 group", Recipe { groups: 1, ..recipe }),
        ("2000 operations, 1 key", Recipe { groups: 1, keys: 1, ..recipe }),
        ("600 operations, 4 groups", Recipe { operations: 600, ..recipe }),
    ] {
        let history = legal(7, recipe);
        c.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = linearizability::check(&history, Budget::default());
                assert_eq!(verdict, Ok(Verdict::Valid));
            });
        });
    }
}

/// The entry at an index: first the membership, then requests of one session.
fn entry(index: u64) -> EntryMark {
    let position = Position { index, term: u64::from(index > 0) };
    let voters = (index == 0).then(|| vec![(1..=NODES).map(NodeId).collect()]);
    EntryMark { position, payload: index, stamp: Some((1, index)), voters }
}

/// A leader that commits `entries` entries one by one, with the messages that this takes.
fn cluster_trace(entries: u64) -> Vec<TraceEvent> {
    let mut trace = Vec::new();
    let mut push = |node: u64, kind| {
        let time_us = trace.len() as u64;
        trace.push(TraceEvent { time_us, node: NodeId(node), incarnation: 1, kind });
    };
    for node in 1..=NODES {
        push(node, TraceKind::Started { recovered: Recovered::default() });
        let vote = VoteMark { term: 1, voted_for: NodeId(1), committed: true };
        push(node, TraceKind::VoteSaved { vote });
    }
    for index in 0..entries {
        let entry = entry(index);
        let position = entry.position;
        for node in 1..=NODES {
            for lane in [Lane::Control, Lane::Replication] {
                let message = format!("append {index}");
                push(1, TraceKind::Sent { to: NodeId(node), lane, message: message.clone() });
                push(1, TraceKind::Delivered { to: NodeId(node), lane, message });
            }
            push(node, TraceKind::Appended { entries: vec![entry.clone()] });
            push(node, TraceKind::Flushed { position });
        }
        // The first entry is of no leader's term, so it is committed through the second.
        if index == 0 {
            continue;
        }
        for node in 1..=NODES {
            push(node, TraceKind::Committed { position });
            let first = if index == 1 { 0 } else { index };
            for index in first..=index {
                let entry = self::entry(index);
                push(node, TraceKind::Applied { entry, content: index, state: index });
            }
        }
    }
    trace
}

fn trace(c: &mut Criterion) {
    let trace = cluster_trace(1_250);
    c.bench_function(&format!("trace of {} events", trace.len()), |bencher| {
        bencher.iter(|| assert_eq!(check_trace(&trace), []));
    });
}

criterion_group!(benches, history, trace);
criterion_main!(benches);
