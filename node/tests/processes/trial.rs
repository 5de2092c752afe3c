//! `aspen-node try` as a process: it comes up, what it prints works, and nothing of it stays.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::command;

/// Runs one of the commands that were printed, as a shell would.
fn aspen_cli(arguments: &str, ticket: &str) -> (Option<i32>, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_aspen-node")).with_file_name("aspen-cli");
    assert!(program.exists(), "aspen-cli is not built; `cargo test --workspace` builds it");
    let mut command = Command::new(program);
    let output = command.env("ASPEN_TICKET", ticket).args(arguments.split(' ')).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// `aspen-node try`, whose temporary files go here.
fn try_in(home: &Path) -> Command {
    let mut command = command();
    command.env("TMPDIR", home).arg("try");
    command
}

fn comes_up_serves_and_ends_with(signal: &str) {
    let home = tempfile::tempdir().unwrap();
    let mut child =
        try_in(home.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = |prefix: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(prefix));
        found.unwrap_or_else(|| panic!("it never said `{prefix}`"))[prefix.len()..].to_owned()
    };
    let folder = PathBuf::from(said("3 nodes run in "));
    assert!(folder.starts_with(home.path()) && folder.join("3").is_dir(), "{}", folder.display());
    let ticket = said("ticket ");
    assert_eq!(said("  export ASPEN_TICKET="), ticket);
    let (code, status) = aspen_cli(&said("  aspen-cli "), &ticket);
    assert_eq!((code, status.lines().count()), (Some(0), 3), "{status}");
    assert_eq!(aspen_cli(&said("  aspen-cli "), &ticket), (Some(0), String::new()));
    assert_eq!(aspen_cli(&said("  aspen-cli "), &ticket), (Some(0), "hello\n".to_owned()));
    said("Ctrl-C ends them");

    let pid = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let left: Vec<_> = home.path().read_dir().unwrap().map(|it| it.unwrap().path()).collect();
    assert!(left.is_empty(), "it left {left:?}");
    let mut logged = String::new();
    child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
    assert_eq!(logged, "", "there is nothing to complain about");
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    comes_up_serves_and_ends_with("INT");
}

#[test]
fn a_termination_leaves_nothing_behind() {
    comes_up_serves_and_ends_with("TERM");
}

/// An interrupt while it still starts.
#[test]
fn an_early_interrupt_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut child = try_in(home.path()).stdout(Stdio::piped()).spawn().unwrap();
    // Its folder is made after it has begun to listen for signals.
    while home.path().read_dir().unwrap().next().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(home.path().read_dir().unwrap().next().is_none(), "it left something");
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(!printed.contains("Ctrl-C"), "it had come up: {printed}");
}
