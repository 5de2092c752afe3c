//! docs/artifact.schema.json says the truth: what the simulator writes conforms to it, and a
//! damaged document does not.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::path::Path;

use aspen_sim::artifact::Artifact;
use aspen_sim::mutants::Mutant;
use aspen_sim::run::{Abort, Control, Recorder, Run, run};
use aspen_sim::scenario::Scenario;
use aspen_sim::schedule::Schedule;
use aspen_sim::verdict::Verdict;
use aspen_tests::simulated_runs::{CHAOS, carry_out, scenario, side_by_side};
use jsonschema::Validator;
use serde_json::{Value, json};

fn schema() -> Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/artifact.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

fn document(schedule: &Schedule, mutant: Option<Mutant>, run: &Run) -> Value {
    serde_json::to_value(Artifact::new(schedule, mutant, run)).unwrap()
}

fn short(chaos: &str) -> Scenario {
    Scenario { duration_ms: 6_000, operations: 120, ..scenario(chaos) }
}

fn conforms(schema: &Validator, document: &Value) {
    if let Some(error) = schema.iter_errors(document).next() {
        let text = error.to_string();
        let shown: String = text.chars().take(1_000).collect();
        panic!("{}: {} {shown}", document["command"], error.instance_path());
    }
}

#[test]
fn what_runs_write_conforms() {
    let schema = schema();
    side_by_side(&CHAOS, |chaos| {
        let schedule = Schedule::generate(1, &short(chaos));
        conforms(&schema, &document(&schedule, None, &carry_out(&schedule, None)));
    });
    // One whose trace is too long to be kept whole.
    let schedule = Schedule::generate(2, &scenario("all"));
    let long = document(&schedule, None, &carry_out(&schedule, None));
    conforms(&schema, &long);
    let size = serde_json::to_string(&long).unwrap().len();
    assert!(size < 3_000_000, "the artifact of a default run has {size} bytes");
}

#[test]
fn an_invalid_and_an_unknown_run_conform() {
    let schema = schema();
    let schedule = Schedule::generate(0, &short("crash"));
    let found = carry_out(&schedule, Some(Mutant::ForgetVote));
    assert!(matches!(found.verdict, Verdict::Invalid { .. }), "{:?}", found.verdict);
    conforms(&schema, &document(&schedule, Some(Mutant::ForgetVote), &found));

    let control = std::sync::Arc::new(Control::default());
    control.abort(Abort::Interrupt);
    let interrupted = run(&schedule, None, &Recorder::new(control));
    assert!(matches!(interrupted.verdict, Verdict::Unknown { .. }), "{:?}", interrupted.verdict);
    conforms(&schema, &document(&schedule, None, &interrupted));
}

#[test]
fn damage_is_refused() {
    let schema = schema();
    let schedule = Schedule::generate(3, &short("all"));
    let good = document(&schedule, None, &carry_out(&schedule, None));
    conforms(&schema, &good);
    let damages: [(&str, Value); 10] = [
        ("/version", json!(2)),
        ("/format", json!("another")),
        ("/verdict", json!({ "verdict": "invalid" })),
        ("/verdict/verdict", json!("fine")),
        ("/digest", json!("short")),
        ("/schedule/scenario/chaos", json!("lightning")),
        ("/schedule/faults/0/fault", json!({ "kind": "lightning", "target": "leader" })),
        ("/history/0/type", json!("complete")),
        ("/trace/windows/0/events/0/event", json!("applied")),
        ("/coverage/elections", json!(-1)),
    ];
    for (place, damage) in damages {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap_or_else(|| panic!("{place} is missing")) = damage;
        assert!(!schema.is_valid(&bad), "the schema accepts damage at {place}");
    }
    for field in good.as_object().unwrap().keys() {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(field);
        assert!(!schema.is_valid(&bad), "the schema does not miss {field}");
    }
    let mut bad = good.clone();
    bad["surplus"] = json!(1);
    assert!(!schema.is_valid(&bad), "the schema accepts a field that it does not know");
}
