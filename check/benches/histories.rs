//! How long the checker takes over large histories whose verdicts are known by construction, and how
//! much memory: the median and the best of a few rounds, and the resident memory that the check
//! adds to the history's own (where the system tells it: Linux).
//!
//! `cargo bench -p aspen-check --bench histories -- "1 key"` measures those whose names contain it;
//! `-- --write FILE "100k, 10 keys, 16 clients"` writes that one, for `aspen-sim check FILE`.

use std::io::Write;
use std::process::Command;
use std::time::Instant;

use aspen_check::history::{Event, EventKind, Outcome};
use aspen_check::history_file;
use aspen_check::{Budget, Verdict, check};

#[path = "../src/tests/lies.rs"]
#[allow(dead_code, reason = "lies at random places are for the tests")]
mod lies;
#[path = "../src/tests/random_history.rs"]
#[allow(dead_code, reason = "the small histories are for the comparison with the oracle")]
mod random_history;
#[path = "../src/tests/reference.rs"]
#[allow(dead_code, reason = "what the oracle needs is not needed here")]
mod reference;

use lies::{Lie, lying_answer};
use random_history::{Mix, Recipe, legal};

/// The allocator of `aspen-sim`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const BUDGET: Budget = Budget { states_per_group: 10_000_000 };
/// Seeds of the histories with bare deletes, whose decided share is told.
const BARE_SEEDS: u64 = 20;
/// Where the twin is spoiled, in hundredths of the history.
const SPOILED_AT: [usize; 3] = [10, 50, 90];

const BASE: Recipe = Recipe {
    clients: 16,
    operations: 100_000,
    groups: 10,
    keys: 1,
    values: 0,
    info_percent: 0,
    bare_percent: 0,
    mix: Mix::Compare,
};

fn cases() -> Vec<(&'static str, Recipe)> {
    let unknown = Recipe { clients: 64, info_percent: 1, ..BASE };
    let deletes = Recipe { groups: 1, clients: 32, operations: 10_000, mix: Mix::Delete, ..BASE };
    vec![
        ("100k, 1000 keys, 16 clients", Recipe { groups: 1000, ..BASE }),
        ("100k, 10 keys, 16 clients", BASE),
        ("100k, 10 keys, 64 clients, 1 % unknown", unknown),
        ("100k, 10 keys, 1000 clients, 1 % unknown", Recipe { clients: 1000, ..unknown }),
        ("100k, 1 key, 16 clients", Recipe { groups: 1, ..BASE }),
        ("100k, 1 key, 16 clients, get and set", Recipe { groups: 1, mix: Mix::Register, ..BASE }),
        ("100k, 1 key, 16 clients, 1000 values", Recipe { groups: 1, values: 1000, ..BASE }),
        (
            "100k, 50 groups of 4 keys, everything",
            Recipe { groups: 50, keys: 4, mix: Mix::Everything, ..BASE },
        ),
        ("1M, 1000 keys, 16 clients", Recipe { groups: 1000, operations: 1_000_000, ..BASE }),
        ("10k, 1 key, 32 clients, deletes", deletes),
        ("10k, 10 counters, 16 clients", Recipe { operations: 10_000, mix: Mix::Counter, ..BASE }),
        ("10k, 10 locks, 16 clients", Recipe { operations: 10_000, mix: Mix::Lock, ..BASE }),
        (
            "10k, 100 keys, 16 clients, appends",
            Recipe { operations: 10_000, groups: 100, mix: Mix::Append, ..BASE },
        ),
    ]
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let filter = arguments.next().unwrap_or_default();
    if filter == "--one" {
        return one(&arguments.next().expect("the name of a case"));
    }
    if filter == "--write" {
        let path = arguments.next().expect("a file");
        let history = legal(1, recipe(&arguments.next().expect("the name of a case")));
        return history_file::write(path.as_ref(), &history).expect("a file that can be written");
    }
    let program = std::env::current_exe().expect("a running program has a path");
    for (name, _) in cases().into_iter().filter(|(name, _)| name.contains(&filter)) {
        // A process for each case: what one left to the allocator must not lend itself to the next.
        let status = Command::new(&program).args(["--one", name]).status();
        assert!(status.is_ok_and(|status| status.success()), "{name}");
    }
    if "bare deletes".contains(&filter) {
        bare_deletes();
    }
}

fn recipe(name: &str) -> Recipe {
    cases().into_iter().find(|(one, _)| *one == name).expect("the name of a case").1
}

fn one(name: &str) {
    let mut history = legal(1, recipe(name));
    let memory = added_memory(|| assert_eq!(check(&history, BUDGET), Ok(Verdict::Linearizable)));
    let (median, best) = measure(&history, |verdict| *verdict == Verdict::Linearizable);
    let memory = memory.map_or("?".to_owned(), |kib| format!("{:.0}", kib as f64 / 1024.0));
    let mut line = format!("{name:42} {median:8.1} ms  best {best:8.1} ms  {memory:>4} MiB");
    for hundredths in SPOILED_AT {
        let at = history.len() * hundredths / 100;
        let Some(undo) = spoil_read(&mut history, at) else { continue };
        let is_illegal = |verdict: &Verdict| matches!(verdict, Verdict::Illegal { .. });
        let (spoiled, _) = measure(&history, is_illegal);
        line += &format!("  illegal at {hundredths} %: x{:.2}", spoiled / median);
        let (at, kind) = undo;
        history[at].kind = kind;
    }
    report(&line);
}

/// Lets the first get that is answered after `at` see a value that is written only later. Gives back
/// what undoes it; none, if there is nothing of the kind.
fn spoil_read(history: &mut [Event], at: usize) -> Option<(usize, EventKind)> {
    let (at, answer) = (at..history.len())
        .find_map(|at| Some((at, lying_answer(history, at, Lie::NotYetWritten)?)))?;
    let lie = EventKind::Complete { outcome: Outcome::Ok { answer } };
    Some((at, std::mem::replace(&mut history[at].kind, lie)))
}

/// Deletes that do not say what they removed: not every history can be decided.
fn bare_deletes() {
    let recipe = Recipe {
        groups: 1,
        clients: 32,
        operations: 10_000,
        bare_percent: 100,
        mix: Mix::Delete,
        ..BASE
    };
    let (mut decided, mut slowest) = (0, 0.0_f64);
    for seed in 0..BARE_SEEDS {
        let history = legal(seed, recipe);
        let (verdict, ms) = timed(&history);
        assert!(!matches!(verdict, Verdict::Illegal { .. }), "legal by construction");
        decided += u32::from(verdict == Verdict::Linearizable);
        slowest = slowest.max(ms);
    }
    report(&format!(
        "10k, 1 key, 32 clients, bare deletes: {decided} of {BARE_SEEDS} decided within {} states, \
         slowest {slowest:.0} ms",
        BUDGET.states_per_group
    ));
}

/// The median and the best time of a few rounds, in milliseconds.
fn measure(history: &[Event], expected: impl Fn(&Verdict) -> bool) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (verdict, ms) = timed(history);
            assert!(expected(&verdict), "another verdict by construction");
            ms
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[ROUNDS / 2], times[0])
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures the time that passes outside")]
fn timed(history: &[Event]) -> (Verdict, f64) {
    let started = Instant::now();
    let verdict = check(history, BUDGET).expect("a well-formed history");
    (verdict, started.elapsed().as_secs_f64() * 1e3)
}

/// By how much the resident memory of this process grows at most, in KiB.
fn added_memory(work: impl FnOnce()) -> Option<u64> {
    let before = status("VmRSS:");
    // Sets the peak back to what is resident now.
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    work();
    reset.ok()?;
    Some(status("VmHWM:")?.saturating_sub(before?))
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn report(text: &str) {
    // A benchmark whose report cannot be written has nobody to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}
