//! The checker against plain enumeration of every order, over a million small histories: legal ones,
//! and ones that were spoiled at random places. One wrong verdict ends it with the history.
//!
//! `cargo bench -p aspen-check --bench differential -- --cases 5000000 --from 7000000` takes other
//! seeds than the usual 0..1000000.

use std::io::Write;

use aspen_check::{Budget, Verdict, check};

#[path = "../src/tests/oracle.rs"]
mod oracle;
#[path = "../src/tests/random_history.rs"]
mod random_history;
#[path = "../src/tests/reference.rs"]
mod reference;

use oracle::is_linearizable;
use random_history::{legal, small_recipes, spoil};

fn main() {
    let (from, cases) = (argument("--from").unwrap_or(0), argument("--cases").unwrap_or(1_000_000));
    let recipes = small_recipes();
    let mut verdicts = [0_u64; 2];
    for seed in from..from + cases {
        let recipe = recipes[(seed % recipes.len() as u64) as usize];
        let mut history = legal(seed, recipe);
        // One in four stays as it is.
        for time in 0..seed / recipes.len() as u64 % 4 {
            spoil(seed * 4 + time, &mut history);
        }
        let expected = is_linearizable(&history);
        let found = match check(&history, Budget::default()) {
            Ok(Verdict::Linearizable) => true,
            Ok(Verdict::Illegal { .. }) => false,
            other => panic!("seed {seed}, {recipe:?}: {other:?}"),
        };
        assert_eq!(found, expected, "seed {seed}, {recipe:?}: {history:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    let [illegal, legal] = verdicts;
    let _ = writeln!(
        std::io::stdout(),
        "{cases} histories from seed {from} on: {legal} legal, {illegal} illegal, no wrong verdict"
    );
}

fn argument(name: &str) -> Option<u64> {
    let value = std::env::args().skip_while(|one| one != name).nth(1)?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} {value}: expected a number")))
}
