//! Every artifact in artifacts/regressions, run again: what once was a violation is none now.
//!
//! A schedule is replayed under several executor seeds, because a changed executor pick must not
//! be what makes it pass. The stories are in artifacts/regressions/README.md. Where an artifact
//! came from a mutant, the mutant must still fail.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::path::{Path, PathBuf};

use aspen_sim::artifact;
use aspen_sim::schedule::Schedule;
use aspen_sim::verdict::Verdict;
use aspen_tests::simulated_runs::{carry_out, side_by_side, violated};

const EXECUTOR_SEEDS: u64 = 3;
/// What a repository can carry of each.
const BYTES_MAX: u64 = 300_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../artifacts/regressions")
}

fn artifacts() -> Vec<PathBuf> {
    let entries = folder().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    paths.sort();
    paths
}

#[test]
fn old_violations_stay_away() {
    let paths = artifacts();
    assert!(!paths.is_empty(), "{} holds no artifact", folder().display());
    for path in paths {
        let old = artifact::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let schedules: Vec<Schedule> = (0..EXECUTOR_SEEDS)
            .map(|number| Schedule {
                executor_seed: old.schedule.executor_seed.wrapping_add(number),
                ..old.schedule.clone()
            })
            .collect();
        let verdicts = side_by_side(&schedules, |it| carry_out(it, old.mutant).verdict);
        for verdict in verdicts {
            let replay = format!("replay: aspen-sim replay {}", path.display());
            if old.mutant.is_some() {
                assert!(
                    !violated(&verdict).is_empty(),
                    "the mutant is not found any more; {replay}"
                );
            } else {
                assert_eq!(verdict, Verdict::Valid, "{replay}");
            }
        }
    }
}

#[test]
fn every_artifact_is_small_and_has_its_story() {
    let stories = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for path in artifacts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(stories.contains(&name), "{name} has no story in artifacts/regressions/README.md");
        let bytes = path.metadata().unwrap().len();
        assert!(bytes <= BYTES_MAX, "{name} has {bytes} bytes, the limit is {BYTES_MAX}");
    }
}
