//! What was measured, and how it is told.

use std::collections::{BTreeMap, BTreeSet};

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
    /// By what their streams are.
    pub(crate) floors: BTreeMap<&'static str, Vec<Measured>>,
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
                let [etcd, aspen] =
                    [&self.etcd, &self.aspen].map(|all| median_of(all, kind, clients, of));
                let ratio = aspen / etcd;
                row.push(format!("{etcd:.digits$} → {aspen:.digits$} ({ratio:.2})"));
            }
            table.add_row(row);
        }
        println!("etcd → Aspen (Aspen / etcd), medians of the rounds\n\n{table}\n");
        if !self.floors.is_empty() {
            self.print_floors();
        }
        for (when, sync) in [("before", self.sync_before), ("after", self.sync_after)] {
            let SyncLatency { p50_us, p99_us } = sync;
            println!("fdatasync of 4 KiB, {when}: p50 {p50_us} µs, p99 {p99_us} µs");
        }
    }

    /// What one client's operations cost at least, as shares of etcd's.
    fn print_floors(&self) {
        let mut table = Table::new();
        let names = FIGURES.map(|figure| figure.name);
        table.load_style(ASCII_MARKDOWN).set_header(["load", "of"].into_iter().chain(names));
        let floors = self.floors.iter().map(|(over, all)| (format!("floor over {over}"), all));
        let all: Vec<_> = [("Aspen".to_owned(), &self.aspen)].into_iter().chain(floors).collect();
        let kinds: BTreeSet<_> = self.etcd.iter().map(|one| one.kind).collect();
        for kind in kinds {
            for (name, measured) in &all {
                let mut row = vec![format!("{kind:?}").to_lowercase(), name.clone()];
                for Figure { digits, of, .. } in FIGURES {
                    let [etcd, one] =
                        [&self.etcd, *measured].map(|all| median_of(all, kind, 1, of));
                    row.push(format!("{one:.digits$} ({:.2})", one / etcd));
                }
                table.add_row(row);
            }
        }
        println!("With one client, beside the floor (share of etcd's)\n\n{table}\n");
    }
}

/// The median of one load's rounds.
fn median_of(all: &[Measured], kind: Kind, clients: u64, of: fn(&Measured) -> f64) -> f64 {
    let same = |one: &&Measured| one.kind == kind && one.clients == clients;
    median(all.iter().filter(same).map(of).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
