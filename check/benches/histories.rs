//! How long the checker takes over large histories that are legal by construction: the median and
//! the best of a few rounds.
//!
//! `cargo bench -p aspen-check --bench histories -- "1 key"` measures those whose names contain it.

use std::io::Write;
use std::time::Instant;

use aspen_check::history::Event;
use aspen_check::{Budget, Verdict, check};

#[path = "../src/tests/random_history.rs"]
#[allow(dead_code, reason = "the benchmark needs the legal histories only")]
mod random_history;

use random_history::{Mix, Recipe, legal};

const ROUNDS: usize = 5;
const BUDGET: Budget = Budget { states_per_group: 10_000_000 };

fn main() {
    let base = Recipe {
        clients: 16,
        operations: 100_000,
        groups: 10,
        keys: 1,
        values: 0,
        info_percent: 0,
        mix: Mix::Compare,
    };
    let cases = [
        ("100k, 1000 keys, 16 clients", Recipe { groups: 1000, ..base }),
        ("100k, 10 keys, 16 clients", base),
        ("100k, 10 keys, 64 clients, 1 % unknown", Recipe { clients: 64, info_percent: 1, ..base }),
        ("100k, 1 key, 16 clients", Recipe { groups: 1, ..base }),
        ("100k, 1 key, 16 clients, get and set", Recipe { groups: 1, mix: Mix::Register, ..base }),
        ("1M, 1000 keys, 16 clients", Recipe { groups: 1000, operations: 1_000_000, ..base }),
        (
            "10k, 1 key, 32 clients, deletes",
            Recipe { groups: 1, clients: 32, operations: 10_000, mix: Mix::Delete, ..base },
        ),
    ];
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let filter = filter.unwrap_or_default();
    for (name, recipe) in cases.into_iter().filter(|(name, _)| name.contains(&filter)) {
        let history = legal(1, recipe);
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| measure(&history)).collect();
        times.sort_by(f64::total_cmp);
        let (median, best) = (times[ROUNDS / 2], times[0]);
        report(&format!("{name:45} {median:9.1} ms  best {best:9.1} ms"));
    }
}

/// How long the verdict takes, in milliseconds.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures the time that passes outside")]
fn measure(history: &[Event]) -> f64 {
    let started = Instant::now();
    let verdict = check(history, BUDGET);
    let ms = started.elapsed().as_secs_f64() * 1e3;
    assert_eq!(verdict, Ok(Verdict::Linearizable), "legal by construction");
    ms
}

fn report(text: &str) {
    // A benchmark whose report cannot be written has nobody to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}
