//! Random sequences of what openraft asks, with restarts and kills in between, against a model
//! that keeps the log in a map.

use std::collections::BTreeMap;

use openraft::storage::RaftLogStorage;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::bench::{Bench, blanks, log_id, simulate};

#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, wait: bool },
    TruncateAfter { back: u64 },
    Apply { count: u64 },
    Purge { back: u64 },
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..30_u64, any::<bool>()).prop_map(|(count, wait)| Step::Append { count, wait }),
        2 => (0..20_u64).prop_map(|back| Step::TruncateAfter { back }),
        3 => (1..20_u64).prop_map(|count| Step::Apply { count }),
        2 => (0..10_u64).prop_map(|back| Step::Purge { back }),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// Indexes and terms, and how far the log is applied and purged.
#[derive(Default)]
struct Model {
    log: BTreeMap<u64, u64>,
    /// What was removed from the log's end and comes back with a restart.
    removed: BTreeMap<u64, u64>,
    term: u64,
    applied: u64,
    purged: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.log.last_key_value().map_or(self.purged, |(index, _)| *index)
    }

    fn term_of(&self, index: u64) -> u64 {
        self.log[&index]
    }
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new();
    let mut model = Model { term: 1, ..Model::default() };
    bench.append(blanks(1, 0..1)).await.unwrap();
    bench.apply(blanks(1, 0..1)).await.unwrap();
    model.log.insert(0, 1);
    for step in steps {
        match step {
            Step::Append { count, wait } => {
                let indexes = model.last() + 1..model.last() + 1 + count;
                let entries = blanks(model.term, indexes.clone());
                model.removed.clear();
                if wait {
                    bench.append(entries).await.unwrap();
                } else {
                    let (callback, _) = crate::bench::flushed();
                    bench.log.append(entries, callback).await.unwrap();
                }
                model.log.extend(indexes.map(|index| (index, model.term)));
            }
            Step::TruncateAfter { back } => {
                let after = model.last().saturating_sub(back).max(model.applied);
                if after > model.purged {
                    let after_id = log_id(model.term_of(after), after);
                    bench.log.truncate_after(Some(after_id)).await.unwrap();
                    model.removed.append(&mut model.log.split_off(&(after + 1)));
                    model.term += 1;
                }
            }
            Step::Apply { count } => {
                let end = (model.applied + count).min(model.last());
                let indexes = model.applied + 1..=end;
                let entries: Vec<_> = indexes
                    .flat_map(|index| blanks(model.term_of(index), index..index + 1))
                    .collect();
                bench.apply(entries).await.unwrap();
                model.applied = end;
            }
            Step::Purge { back } => {
                let upto = model.applied.saturating_sub(back);
                if upto > model.purged {
                    bench.log.purge(log_id(model.term_of(upto), upto)).await.unwrap();
                    model.removed.clear();
                    model.log.retain(|index, _| *index > upto);
                    model.purged = upto;
                }
            }
            Step::Restart => {
                bench = bench.restart().await;
                model.log.append(&mut model.removed);
            }
            Step::Kill => {
                // A sync before it: what was not durable may be gone, which is no model's business.
                bench.log.save_vote(&aspen_core::types::Vote::new(1, 1.into())).await.unwrap();
                model.removed.clear();
                bench = bench.crash();
                assert!(bench.store.repaired());
                // What was applied in memory alone is applied again, from the log.
                let next = bench.store.applied().map_or(0, |applied| applied.index + 1);
                assert!(next > model.purged || next == 0 && model.purged == 0);
                let again = (next..=model.applied)
                    .flat_map(|index| blanks(model.term_of(index), index..index + 1));
                bench.apply(again.collect()).await.unwrap();
            }
        }
        check(&mut bench, &model).await;
    }
}

async fn check(bench: &mut Bench, model: &Model) {
    let log: Vec<(u64, u64)> = model.log.iter().map(|(index, term)| (*index, *term)).collect();
    assert_eq!(bench.read_log().await, log);
    let state = bench.log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id.map(|last| last.index), Some(model.last()));
    assert_eq!(state.last_purged_log_id.map_or(0, |purged| purged.index), model.purged);
    assert_eq!(bench.store.applied().map(|applied| applied.index), Some(model.applied));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        simulate(|| run(steps));
    }
}
