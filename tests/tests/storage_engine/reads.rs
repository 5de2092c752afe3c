//! Reads find a row wherever it is: in memory alone, in the database, or in both.

use std::collections::BTreeMap;

use aspen_core::command::{Command, Key};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::bench::{Bench, blank, normal, set, simulate, text};

#[derive(Clone, Debug)]
enum Step {
    Set {
        key: u8,
    },
    Delete {
        key: u8,
    },
    /// Everything applied so far reaches the database.
    Flush,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..30_u8).prop_map(|key| Step::Set { key }),
        3 => (0..30_u8).prop_map(|key| Step::Delete { key }),
        1 => Just(Step::Flush),
        1 => Just(Step::Kill),
    ]
}

fn name(key: u8) -> String {
    format!("{}/{key:02}", ["a", "b", "c"][usize::from(key) % 3])
}

/// Rows, by prefix and in pages of three.
fn scan(bench: &Bench, prefix: &str) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut after: Option<Key> = None;
    loop {
        let page = bench.store.scan(prefix.as_bytes(), after.as_ref(), 3).unwrap();
        after = page.rows.last().map(|(key, _)| key.clone());
        let read = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        rows.extend(page.rows.iter().map(|(key, value)| (read(key), read(value))));
        if !page.more {
            return rows;
        }
        assert_eq!(page.rows.len(), 3);
    }
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new();
    let mut model = BTreeMap::new();
    for (index, step) in (1..).zip(steps) {
        let entry = match step {
            Step::Set { key } => {
                model.insert(name(key), index.to_string());
                set(index, &name(key), &index.to_string())
            }
            Step::Delete { key } => {
                model.remove(&name(key));
                normal(index, None, Command::Delete { key: text(&name(key)) })
            }
            Step::Flush | Step::Kill => blank(1, index),
        };
        bench.append(vec![entry.clone()]).await.unwrap();
        bench.apply(vec![entry.clone()]).await.unwrap();
        if matches!(step, Step::Flush | Step::Kill) {
            use openraft::storage::RaftLogStorage;
            bench.log.purge(entry.log_id).await.unwrap();
        }
        if matches!(step, Step::Kill) {
            bench = bench.crash();
        }
        for prefix in ["a/", "b/", ""] {
            let rows = model.iter().filter(|(key, _)| key.starts_with(prefix));
            let rows: Vec<_> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(scan(&bench, prefix), rows);
        }
        for key in (0..30).map(name) {
            assert_eq!(bench.value(&key), model.get(&key).cloned());
        }
    }
    bench.store.verify().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn a_read_does_not_show_where_its_row_is(steps in prop::collection::vec(step(), 1..60)) {
        simulate(|| run(steps));
    }
}
