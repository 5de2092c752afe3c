//! What the checks of a trace cost: about 50,000 events.

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use aspen_sim::checks::check_trace;
use aspen_sim::trace::{EntryMark, Position, Recovered, TraceEvent, TraceKind, VoteMark};
use criterion::{Criterion, criterion_group, criterion_main};

const NODES: u64 = 5;

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

criterion_group!(benches, trace);
criterion_main!(benches);
