//! The same seeds in other processes: what `verify` and `sweep` say on the command line.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::Arc;

use aspen_sim::run::{Control, Recorder, run};
use aspen_sim::scenario::Scenario;
use aspen_sim::schedule::Schedule;

const CHAOS: [&str; 7] = ["none", "partition", "network", "crash", "pause", "disk", "all"];

fn aspen_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aspen-sim")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn another_process_gives_the_same_digests() {
    let verify = |chaos: &&str| {
        let arguments = ["verify", "--digests", "--seeds", "5..7", "--chaos", chaos];
        Command::new(env!("CARGO_BIN_EXE_aspen-sim"))
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    // The other process works while this one does.
    for chaos in CHAOS {
        let elsewhere = verify(&chaos);
        let scenario = Scenario { chaos: chaos.parse().unwrap(), ..Scenario::default() };
        let here: BTreeMap<u64, String> = (5..7)
            .map(|seed| {
                let recorder = Recorder::new(Arc::new(Control::default()));
                let run = run(&Schedule::generate(seed, &scenario), None, &recorder);
                (seed, run.recording.digest)
            })
            .collect();
        let output = elsewhere.wait_with_output().unwrap();
        let elsewhere: BTreeMap<u64, String> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(here, elsewhere, "chaos {chaos}");
    }
}

#[test]
fn verify_finds_equal_digests() {
    let output = aspen_sim(&["verify", "--seeds", "0..2", "--chaos", "all", "--duration", "10s"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "seeds 0..2  chaos all: 2 seeds, 4 runs each, the same digests\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn verify_catches_state_that_leaks_between_runs() {
    let arguments = ["verify", "--seeds", "0..2", "--mutant", "leak-state", "--duration", "3s"];
    let output = aspen_sim(&arguments);
    assert_eq!(output.status.code(), Some(70));
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("is not deterministic"), "{said}");
    let event = said.split("event ").nth(1).unwrap_or_else(|| panic!("no event is named: {said}"));
    assert!(event.contains(" was {") && event.contains(" and is now {"), "{said}");
}

#[test]
fn a_sweep_is_the_same_at_one_job_and_at_two() {
    let folder = std::env::temp_dir().join(format!("aspen-sweep-{}", std::process::id()));
    let out = folder.to_str().unwrap();
    let digest = |jobs: &str| {
        let arguments =
            ["sweep", "--seeds", "0..6", "--chaos", "all", "--json", "--out", out, "--jobs", jobs];
        let output = aspen_sim(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["ran"], 6);
        summary["digest"].clone()
    };
    let (one, two) = (digest("1"), digest("2"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(one.is_string());
    assert_eq!(one, two);
}
