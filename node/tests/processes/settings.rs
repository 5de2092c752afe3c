//! What is wrong with a setting is said in one line that names it, and nothing is started or written.

use std::fs;
use std::net::UdpSocket;

use crate::harness::{COOKIE, Place, Process, refused};

const USAGE: i32 = 64;
const FAILED: i32 = 1;

/// Asserts that these settings are refused in a line with these words, and that the folder is not
/// made.
fn assert_refused(arguments: &[&str], variables: &[(&str, &str)], exit: i32, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut all = vec!["--data-dir", data.to_str().unwrap()];
    all.extend(arguments);
    let (status, said) = refused(&all, variables);
    assert_eq!(status.code(), Some(exit), "{said}");
    assert!(said.starts_with("aspen-node: ") && said.contains(words), "{words}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!data.exists(), "something was written");
}

#[test]
fn flags_are_named() {
    let good = ["--node-id", "1", "--cookie", COOKIE];
    let cases: [(&[&str], &str); 20] = [
        (&["--node-id", "one"], "'one' for '--node-id <N>'"),
        (&["--node-id", "0"], "--node-id 0: expected a number from 1"),
        (&["--cookie", "short"], "--cookie: 5 bytes; expected 16 or more"),
        (&["--cookie", "change-me-change-me"], "--cookie: everybody knows this one"),
        (&["--cookie", "aaaaaaaaaaaaaaaaaaaa"], "--cookie: everybody knows this one"),
        (&["--cookie-file", "/etc/hostname"], "--cookie and --cookie-file are both given"),
        (&["--bind", "localhost"], "'localhost' for '--bind <IP:PORT>'"),
        (&["--bind", "127.0.0.1:99999"], "'127.0.0.1:99999' for '--bind <IP:PORT>'"),
        (&["--metrics-addr", "9100"], "'9100' for '--metrics-addr <IP:PORT>'"),
        (&["--lease-reads", "perhaps"], "'perhaps' for '--lease-reads [<BOOL>]'"),
        (&["--relay-url", "nonsense"], "--relay-url nonsense: expected a URL"),
        (&["--heartbeat-interval-ms", "0"], "--heartbeat-interval-ms 0: expected 1 or more"),
        (&["--heartbeat-interval-ms=-5"], "'-5' for '--heartbeat-interval-ms <MS>'"),
        (&["--election-timeout-min-ms", "900"], "expected at least two heartbeats, 1000 ms"),
        (&["--election-timeout-max-ms", "1500"], "expected more than --election-timeout-min-ms"),
        (&["--election-timeout-max-ms", "18446744073709551615"], "expected at most a day"),
        (&["--election-timeout-max-ms", "x"], "'x' for '--election-timeout-max-ms <MS>'"),
        (&["--config", "/nonexistent.toml"], "--config /nonexistent.toml: No such file"),
        (&["--frobnicate"], "unexpected argument '--frobnicate'"),
        (&["extra"], "the subcommand 'extra' cannot be used with '--data-dir"),
    ];
    for (arguments, words) in cases {
        let given = |flag: &str| arguments.contains(&flag);
        let rest = good.chunks(2).filter(|pair| !given(pair[0])).flatten().copied();
        let all: Vec<&str> = arguments.iter().copied().chain(rest).collect();
        assert_refused(&all, &[], USAGE, words);
    }
    assert_refused(&["--cookie", COOKIE], &[], USAGE, "--node-id is missing");
    assert_refused(&["--node-id", "1"], &[], USAGE, "--cookie or --cookie-file is missing");
    let file = ["--node-id", "1", "--cookie-file", "/nonexistent"];
    assert_refused(&file, &[], USAGE, "--cookie-file /nonexistent: No such file");
    let (status, said) = refused(&good, &[]);
    assert_eq!(status.code(), Some(USAGE));
    assert!(said.contains("--data-dir is missing"), "{said}");
}

#[test]
fn variables_are_named() {
    let good = [("ASPEN_NODE_ID", "1"), ("ASPEN_COOKIE", COOKIE)];
    let cases = [
        (("ASPEN_NODE_ID", "one"), "ASPEN_NODE_ID: invalid value 'one'"),
        (("ASPEN_HEARTBEAT_INTERVAL_MS", "soon"), "ASPEN_HEARTBEAT_INTERVAL_MS: invalid value"),
        (("ASPEN_BIND", "here"), "ASPEN_BIND: invalid value 'here'"),
        (("ASPEN_NODEID", "1"), "ASPEN_NODEID: unexpected argument"),
        (("ASPEN_NODE_ID", "0"), "ASPEN_NODE_ID 0: expected a number from 1"),
        (("ASPEN_COOKIE", "short"), "ASPEN_COOKIE: 5 bytes; expected 16 or more"),
        (
            ("ASPEN_COOKIE_FILE", "/etc/hostname"),
            "ASPEN_COOKIE and ASPEN_COOKIE_FILE are both given",
        ),
    ];
    for (variable, words) in cases {
        let rest = good.into_iter().filter(|(name, _)| *name != variable.0);
        let variables: Vec<_> = rest.chain([variable]).collect();
        assert_refused(&[], &variables, USAGE, words);
    }
}

#[test]
fn fields_of_a_file_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let cases = [
        ("node-id = 1\nnode-idd = 2\n", "node.toml:2: unknown field `node-idd`"),
        ("\n\nnode-id = \"one\"\n", "node.toml:3: invalid type: string \"one\""),
        ("bind = \"here\"\n", "node.toml:1: "),
        ("node-id = \n", "node.toml:1: "),
    ];
    for (text, words) in cases {
        fs::write(&path, text).unwrap();
        let arguments = ["--cookie", COOKIE, "--config", path.to_str().unwrap()];
        assert_refused(&arguments, &[], USAGE, words);
    }
}

/// The file comes before the environment, and the command line before the file.
#[test]
fn the_later_word_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let text = "heartbeat-interval-ms = 0\nelection-timeout-min-ms = 7\nnode-id = 1\n";
    fs::write(&path, text).unwrap();
    let config = path.to_str().unwrap();
    let variables =
        [("ASPEN_COOKIE", COOKIE), ("ASPEN_HEARTBEAT_INTERVAL_MS", "9"), ("ASPEN_CONFIG", config)];
    // The file's zero beats the variable's nine.
    assert_refused(&[], &variables, USAGE, "node.toml: heartbeat-interval-ms 0: expected");
    // The flag's five beats the file's zero; the file's seven is too short for it.
    let flag = ["--heartbeat-interval-ms", "5"];
    let seven = "node.toml: election-timeout-min-ms 7: expected at least two";
    assert_refused(&flag, &variables, USAGE, seven);
}

#[test]
fn a_taken_address_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let arguments = ["--node-id", "1", "--cookie", COOKIE, "--data-dir", data, "--bind", &address];
    let (status, said) = refused(&arguments, &[]);
    assert_eq!(status.code(), Some(FAILED));
    assert!(said.contains(&format!("--bind {address}")), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn a_folder_in_use_or_of_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data_text = data.to_str().unwrap();
    let start = |id: &str, cookie: &str| {
        let arguments = ["--node-id", id, "--cookie", cookie, "--data-dir", data_text];
        let (status, said) = refused(&arguments, &[]);
        assert_eq!(status.code(), Some(FAILED), "{said}");
        said
    };
    let mut node = Process::start(1, Place::on_loopback(data.clone()));
    assert!(start("1", COOKIE).contains("another process is using it"));
    node.terminate();
    assert!(start("2", COOKIE).contains("it belongs to node 1, not to node 2"));
    assert!(start("1", "the cookie of somebody else").contains("it belongs to another cluster"));
    node.restart();
}

#[test]
fn places_of_others_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Process::start(1, Place::on_loopback(folder.path().join("data")));
    let ticket = node.ticket.to_string();
    node.terminate();
    let other = "the cookie of somebody else";
    let cases: [(&str, &[&str], &str); 7] = [
        (COOKIE, &["--peers", "10.0.0.1:7600"], "--peers `10.0.0.1:7600`: no `@`; expected ID@"),
        (COOKIE, &["--peers", "me@10.0.0.1:7600"], "--peers `me@10.0.0.1:7600`: `me` is no"),
        (COOKIE, &["--ticket", "nonsense"], "--ticket: not a ticket: it begins otherwise"),
        (COOKIE, &["--ticket", &ticket[..99]], "--ticket: not a ticket: it is cut off or holds"),
        (other, &["--ticket", &ticket], "--ticket: it is of a cluster with another cookie"),
        (COOKIE, &["--disable-gossip=perhaps"], "'perhaps' for '--disable-gossip"),
        (COOKIE, &["--enable-pkarr=1"], "'1' for '--enable-pkarr"),
    ];
    for (cookie, arguments, words) in cases {
        let all = [&["--node-id", "2", "--cookie", cookie], arguments].concat();
        assert_refused(&all, &[], USAGE, words);
    }
    let good = [("ASPEN_NODE_ID", "1"), ("ASPEN_COOKIE", COOKIE)];
    for (variable, words) in [
        (("ASPEN_PEERS", "here"), "ASPEN_PEERS `here`: no `@`"),
        (("ASPEN_TICKET", "nonsense"), "ASPEN_TICKET: not a ticket"),
        (("ASPEN_DISABLE_MDNS", "soon"), "ASPEN_DISABLE_MDNS: invalid value 'soon'"),
    ] {
        assert_refused(&[], &[&good[..], &[variable]].concat(), USAGE, words);
    }
    let config = folder.path().join("node.toml");
    fs::write(&config, "disable-gossip = true\npeers = \"here\"\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    assert_refused(&config, &good, USAGE, "node.toml: peers `here`: no `@`");
}
