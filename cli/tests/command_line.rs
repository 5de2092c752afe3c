//! What is wrong on the command line is said in one line that names it.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::collections::BTreeMap;
use std::process::Command;

use aspen_core::NodeId;
use aspen_transport_iroh::{ClusterKeys, PeerAddress, SecretKey, Ticket};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

fn run(arguments: &[&str], ticket: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-cli"));
    command.env_clear().args(arguments);
    if let Some(ticket) = ticket {
        command.env("ASPEN_TICKET", ticket);
    }
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A ticket for a node that is nowhere.
fn ticket() -> String {
    let id = SecretKey::from_bytes(&[5; 32]).public();
    let address: PeerAddress = format!("{id}@127.0.0.1:9").parse().unwrap();
    let secret = ClusterKeys::new(b"any cookie at all").client_secret().clone();
    Ticket { nodes: BTreeMap::from([(NodeId(1), address)]), secret }.to_string()
}

#[test]
fn bad_usage_is_named_in_one_line() {
    let ticket = ticket();
    let cut_off = &ticket[..ticket.len() - 3];
    let cases: [(&[&str], Option<&str>, &str); 12] = [
        (&["kv", "get", "a"], None, "--ticket or ASPEN_TICKET is missing"),
        (
            &["kv", "get", "a"],
            Some("rubbish"),
            "--ticket or ASPEN_TICKET: not a ticket: it begins otherwise",
        ),
        (&["kv", "get", "a"], Some(cut_off), "--ticket or ASPEN_TICKET: not a ticket: it"),
        (&["kv", "get"], Some(&ticket), "required arguments were not provided: <KEY>"),
        (&["kv", "put", "a", "b"], Some(&ticket), "unrecognized subcommand 'put'"),
        (&["kv", "cas", "a", "b"], Some(&ticket), "--expected <VALUE>"),
        (&["kv", "set-multi", "a=1", "b"], Some(&ticket), "`b`: expected KEY=VALUE"),
        (&["cluster", "init", "nonsense"], Some(&ticket), "`nonsense`: not a ticket"),
        (&["cluster", "init", "1=here"], Some(&ticket), "node 1: `here`: no `@`"),
        (&["cluster", "change-membership", "1,x"], Some(&ticket), "'x' for '<N>...'"),
        (&["bench", "--reads", "101"], Some(&ticket), "--reads 101: expected at most 100"),
        (&["bench", "--clients", "0"], Some(&ticket), "--clients 0: expected 1 or more"),
    ];
    for (arguments, ticket, words) in cases {
        let (exit, said) = run(arguments, ticket);
        assert_eq!(exit, Some(USAGE), "{arguments:?}: {said}");
        assert!(said.starts_with("aspen-cli: ") && said.contains(words), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_unavailable() {
    let ticket = ticket();
    for command in [&["kv", "get", "a"][..], &["kv", "set", "a", "b"], &["cluster", "ticket"]] {
        let arguments = [command, &["--timeout-ms", "300"]].concat();
        let (exit, said) = run(&arguments, Some(&ticket));
        assert_eq!(exit, Some(UNAVAILABLE), "{command:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
