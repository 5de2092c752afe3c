//! The examples run to their end and print what their comments promise.

use std::path::Path;
use std::process::Command;

/// Runs an example, which the same `cargo test` has built.
fn run(name: &str) -> String {
    let target = Path::new(env!("CARGO_BIN_EXE_aspen-node")).parent().unwrap();
    let program = target.join("examples").join(name);
    assert!(program.exists(), "{name} is not built; `cargo test --workspace` builds it");
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program).env("TMPDIR", home.path()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "{name} left something behind");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn basic_cluster() {
    let printed = run("basic_cluster");
    assert!(printed.starts_with("node 1 leads in term "), "{printed}");
    assert!(printed.contains("greeting = hello\n"), "{printed}");
}

#[test]
fn kv_operations() {
    let printed = run("kv_operations");
    let expected = "\
expected 4: Mismatch(Some(b\"3\"))
expected 3: Swapped
fruit/apple = 2
fruit/pear = 5
first attempt: Removed(Some(b\"5\"))
second attempt: Removed(Some(b\"5\"))
";
    assert_eq!(printed, expected);
}

#[test]
fn multi_node_cluster() {
    let expected = "\
learners: {NodeId(4)}
one of 3 voters leads now, and the old leader is gone
the newcomer reads: all of it
";
    assert_eq!(run("multi_node_cluster"), expected);
}
