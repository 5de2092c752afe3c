//! What the cycles came to.

use std::fmt::Display;

use aspen_sim::disk::DiskCounters;

use crate::Over;

/// How a cycle went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Something acknowledged is gone.
    Lost,
    /// What is there is not what was asked for.
    Wrong,
    /// The store does not open.
    Unusable,
}

/// A cycle that went wrong, and what there is to say about it.
pub(crate) type Failed = (Failing, String);

/// Counts of all cycles.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Crashes, each followed by a recovery that was compared with the model.
    pub(crate) cycles: u64,
    /// Crashes that struck while the store was being created or opened, in or out of recovery.
    pub(crate) in_open: u64,
    /// Transactions that were asked for.
    pub(crate) transactions: u64,
    /// Transactions that were acknowledged as durable.
    pub(crate) acknowledged: u64,
    /// Recoveries that found more than was acknowledged.
    pub(crate) found_more: u64,
    /// Recoveries in which redb had to repair its file.
    pub(crate) repaired: u64,
    lost: u64,
    wrong: u64,
    unusable: u64,
    torn_writes: u64,
    lost_writes: u64,
    deaths: u64,
    jobs_cut: u64,
    power_failures: u64,
    kills: u64,
    notes: Vec<String>,
}

impl Report {
    /// Notes a cycle that went wrong.
    pub(crate) fn fail(&mut self, failing: Failing, note: impl Display) {
        match failing {
            Failing::Lost => self.lost += 1,
            Failing::Wrong => self.wrong += 1,
            Failing::Unusable => self.unusable += 1,
        }
        self.notes.push(format!("{failing:?}: {note}"));
    }

    /// Adds the counts of other cycles.
    pub(crate) fn add(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.in_open += other.in_open;
        self.transactions += other.transactions;
        self.acknowledged += other.acknowledged;
        self.found_more += other.found_more;
        self.repaired += other.repaired;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.unusable += other.unusable;
        self.torn_writes += other.torn_writes;
        self.lost_writes += other.lost_writes;
        self.deaths += other.deaths;
        self.jobs_cut += other.jobs_cut;
        self.power_failures += other.power_failures;
        self.kills += other.kills;
        self.notes.extend(other.notes);
    }

    /// Adds what a disk has been through.
    pub(crate) fn add_disk(&mut self, counters: &DiskCounters) {
        self.torn_writes += counters.torn_writes;
        self.lost_writes += counters.lost_writes;
        self.deaths += counters.deaths;
        self.jobs_cut += counters.jobs_cut;
        self.power_failures += counters.power_failures;
        self.kills += counters.kills;
    }

    /// Whether nothing went wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.wrong + self.unusable == 0
    }

    /// Prints the report; the CPU time comes last, because it alone differs between runs.
    #[allow(clippy::print_stdout, reason = "a benchmark's report is what it is run for")]
    pub(crate) fn print(&self, over: Over, seed: u64, cpu_ms: Option<u64>) {
        println!("crash and recover over {over:?}, seed {seed}");
        println!("  cycles                  {:>9}", self.cycles);
        println!("  crashes inside open     {:>9}", self.in_open);
        println!("  disk deaths             {:>9}", self.deaths);
        println!("  commits cut in flight   {:>9}", self.jobs_cut);
        println!("  power failures, kills   {:>9} {}", self.power_failures, self.kills);
        println!("  unsynced writes torn    {:>9}", self.torn_writes);
        println!("  unsynced writes lost    {:>9}", self.lost_writes);
        println!("  recoveries with repair  {:>9}", self.repaired);
        println!("  transactions            {:>9}", self.transactions);
        println!("  acknowledged            {:>9}", self.acknowledged);
        println!("  found more than that    {:>9}", self.found_more);
        println!("  acknowledged and lost   {:>9}", self.lost);
        println!("  wrong content           {:>9}", self.wrong);
        println!("  unusable                {:>9}", self.unusable);
        for note in self.notes.iter().take(8) {
            println!("    {note}");
        }
        match cpu_ms {
            Some(ms) => println!("  CPU time                {:>9} ms", ms),
            None => println!("  CPU time                  unknown"),
        }
    }
}

/// Prints one line for the program that runs the tests.
#[allow(clippy::print_stdout, reason = "the test runner reads it there")]
pub(crate) fn line(text: &str) {
    println!("{text}");
}
