//! What was measured, and how it is told.

use std::collections::BTreeSet;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

use crate::disk::SyncLatency;
use crate::{Kind, Latency};

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) sync_before: SyncLatency,
    pub(crate) sync_after: SyncLatency,
    pub(crate) etcd: Vec<Measured>,
    pub(crate) aspen: Vec<Measured>,
}

/// What came of one load.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) clients: u64,
    pub(crate) per_second: f64,
    pub(crate) latency: Latency,
    /// CPU time of all three servers for each operation.
    pub(crate) server_cpu_us: f64,
    /// CPU time of the load generator for each operation.
    pub(crate) client_cpu_us: f64,
    /// Resident memory of the largest server after the load.
    pub(crate) memory_mib: f64,
}

/// A column of the table.
struct Figure {
    name: &'static str,
    digits: usize,
    of: fn(&Measured) -> f64,
}

const FIGURES: [Figure; 6] = [
    Figure { name: "a second", digits: 0, of: |one| one.per_second },
    Figure { name: "p50 ms", digits: 2, of: |one| one.latency.p50 as f64 / 1000.0 },
    Figure { name: "p99 ms", digits: 2, of: |one| one.latency.p99 as f64 / 1000.0 },
    Figure { name: "server CPU µs/op", digits: 0, of: |one| one.server_cpu_us },
    Figure { name: "client CPU µs/op", digits: 0, of: |one| one.client_cpu_us },
    Figure { name: "memory MiB", digits: 0, of: |one| one.memory_mib },
];

impl Report {
    /// Medians of the rounds: etcd, Aspen, and Aspen's share of etcd's.
    pub(crate) fn print(&self) {
        let loads: BTreeSet<_> = self.etcd.iter().map(|one| (one.kind, one.clients)).collect();
        let mut table = Table::new();
        let names = FIGURES.map(|figure| figure.name);
        table.load_style(ASCII_MARKDOWN).set_header(["load", "clients"].into_iter().chain(names));
        for (kind, clients) in loads {
            let mut row = vec![format!("{kind:?}").to_lowercase(), clients.to_string()];
            for Figure { digits, of, .. } in FIGURES {
                let median_of = |all: &[Measured]| {
                    let same = |one: &&Measured| one.kind == kind && one.clients == clients;
                    median(all.iter().filter(same).map(of).collect())
                };
                let (etcd, aspen) = (median_of(&self.etcd), median_of(&self.aspen));
                let ratio = aspen / etcd;
                row.push(format!("{etcd:.digits$} → {aspen:.digits$} ({ratio:.2})"));
            }
            table.add_row(row);
        }
        println!("etcd → Aspen (Aspen / etcd), medians of the rounds\n\n{table}\n");
        for (when, sync) in [("before", self.sync_before), ("after", self.sync_after)] {
            let SyncLatency { p50_us, p99_us } = sync;
            println!("fdatasync of 4 KiB, {when}: p50 {p50_us} µs, p99 {p99_us} µs");
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
