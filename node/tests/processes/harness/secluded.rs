//! Tests in Linux namespaces of their own: what they mount, wire and start is seen by nobody else,
//! and is gone with the first process in there, however that ends.
//!
//! The test's program runs itself once more in new namespaces, where the test has root's rights. It
//! needs none outside, if the system lets users have namespaces. A script prepares what the test
//! needs; where the script fails, the test is skipped, and its last line says why.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Output};

use tokio::runtime::Builder;

/// Is set in the namespaces.
const INSIDE: &str = "ASPEN_TEST_SECLUDED";
/// The ways into namespaces: root's, and everybody's.
const WAYS: [&[&str]; 2] = [&[], &["--map-root-user"]];
/// Longer than any test in there takes.
const SECONDS_MAX: &str = "150";

/// Runs the body of the test of this name in namespaces of its own, after the script.
pub(crate) fn secluded<F: Future<Output = ()>>(name: &str, script: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        shell(script);
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(body());
    }
    let mut problem = String::new();
    for way in WAYS {
        let tried = unshare(way, &["sh".into(), "-ec".into(), script.into()]);
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr);
            problem = said.trim().lines().last().unwrap_or("unshare failed").to_owned();
            continue;
        }
        let program = std::env::current_exe().unwrap().into_os_string();
        let test = [name, "--exact", "--nocapture", "--include-ignored"].map(OsString::from);
        let ended = unshare(way, &[vec![program], test.to_vec()].concat());
        let said = [ended.stdout, ended.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        assert!(ended.status.success(), "{}", said.concat());
        assert!(said[0].contains("1 passed"), "no test is called {name}: {}", said.concat());
        return;
    }
    // Past what the test harness captures: who is not tested should know.
    let line = format!("SKIPPED {name}: {problem}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Runs a program in new namespaces to its end.
fn unshare(way: &[&str], program: &[OsString]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", SECONDS_MAX, "unshare"]).args(way);
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg("--").args(program);
    command.env(INSIDE, "1").env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.output().unwrap_or_else(|error| Output {
        status: std::os::unix::process::ExitStatusExt::from_raw(1),
        stdout: Vec::new(),
        stderr: format!("timeout: {error}").into_bytes(),
    })
}

/// Runs a script of the shell that must not fail.
pub(crate) fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
