//! The command line: bad input gets one clear line and exit 64, nothing half-written is left, and
//! the other exit codes mean what they say.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for each test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("aspen-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// Runs the tool inside of the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-sim"));
        command.args(arguments).current_dir(&self.0).env_remove("RUST_LOG").output().unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind in a temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One line on stderr that holds every word, exit 64, and nothing else.
fn check_refused(folder: &Folder, command: &str, words: &[&str]) {
    let before = folder.names();
    let arguments: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
    let output = folder.run(&arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "`{command}` says: {said}");
    assert_eq!(said.lines().count(), 1, "`{command}` says: {said}");
    assert!(said.starts_with("aspen-sim: "), "`{command}` says: {said}");
    assert!(stdout(&output).is_empty(), "`{command}` prints {}", stdout(&output));
    for word in words {
        assert!(said.contains(word), "`{command}` does not say `{word}`: {said}");
    }
    assert_eq!(folder.names(), before, "`{command}` left something behind");
}

#[test]
fn bad_arguments_are_named_with_what_is_expected() {
    let folder = Folder::new("arguments");
    let cases: [(&str, &[&str]); 20] = [
        ("", &["subcommand", "--help"]),
        ("frobnicate", &["frobnicate", "--help"]),
        ("run", &["--seed", "--help"]),
        ("run --seed 1 --bogus", &["--bogus", "--help"]),
        ("run --seed x", &["--seed", "`x`", "expected a number from 0 to"]),
        ("run --seed -1", &["-1"]),
        ("run --seed 18446744073709551616", &["--seed", "expected a number from 0 to"]),
        ("run --seed 1 --chaos lightning", &["`lightning`", "expected none, all, or some of"]),
        ("run --seed 1 --chaos crash,lightning", &["`lightning`", "partition, network, crash"]),
        ("run --seed 1 --mutant sloth", &["`sloth`", "expected one of forget-vote"]),
        ("run --seed 1 --nodes 0", &["nodes is 0", "expected 1 to 9"]),
        ("run --seed 1 --clients 65", &["clients is 65", "expected 1 to 64"]),
        ("run --seed 1 --duration 5", &["--duration", "`5`", "expected a number with ms, s or"]),
        ("sweep --seeds 5..5", &["--seeds", "`5..5`", "expected A..B with A less than B"]),
        ("sweep --seeds 7..3", &["`7..3`", "expected A..B with A less than B"]),
        ("verify --seeds 7", &["--seeds", "`7`", "expected A..B, such as 0..200"]),
        ("sweep --seeds 0..2 --shard 3/2", &["--shard", "`3/2`", "expected I/N"]),
        ("sweep --seeds 0..2 --shard 0/0", &["--shard", "`0/0`", "expected I/N"]),
        ("sweep --seeds 0..2 --jobs 0", &["--jobs", "1..=1024"]),
        ("list --seed 1", &["--seed", "--help"]),
    ];
    for (command, words) in cases {
        check_refused(&folder, command, words);
    }
}

#[test]
fn bad_scenarios_are_named_with_field_and_place() {
    let folder = Folder::new("scenarios");
    let cases: [(&str, &[&str]); 8] = [
        (r#"{"nodez":3}"#, &["`nodez`", "expected one of `nodes`"]),
        (r#"{"nodes":"three"}"#, &["\"three\"", "expected u64", "line 1"]),
        (r#"{"nodes":30}"#, &["nodes is 30", "expected 1 to 9"]),
        (r#"{"group_keys":9}"#, &["group_keys is 9", "expected 1 to 8"]),
        (r#"{"election_ms_max":10}"#, &["election_ms_max is 10", "expected 151 to"]),
        (r#"{"chaos":"lightning"}"#, &["`lightning`", "expected none, all"]),
        ("nodes: 3", &["expected a scenario as JSON"]),
        ("", &["expected a scenario as JSON"]),
    ];
    for (content, words) in cases {
        folder.file("scenario.json", content.as_bytes());
        let words: Vec<&str> = words.iter().copied().chain(["scenario.json"]).collect();
        check_refused(&folder, "run --seed 1 --scenario scenario.json", &words);
    }
    let missing = ["missing.json", "No such file", "expected a scenario as JSON"];
    check_refused(&folder, "run --seed 1 --scenario missing.json", &missing);
}

#[test]
fn bad_artifacts_are_named_with_what_is_wrong() {
    let folder = Folder::new("artifacts");
    let run = "run --seed 1 --duration 1s --ops 8 --out good";
    let output = folder.run(&run.split(' ').collect::<Vec<&str>>());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(names(&folder.0.join("good")), ["seed-1-none.json"]);
    let good = std::fs::read_to_string(folder.0.join("good/seed-1-none.json")).unwrap();

    let newer = good.replacen("\"version\":1", "\"version\":2", 1);
    let foreign = good.replacen("aspen-artifact", "elm-artifact", 1);
    let damaged = good.replacen("\"faults\":[", "\"faults\":[7,", 1);
    let surplus = good.replacen("\"digest\"", "\"surplus\":1,\"digest\"", 1);
    let senseless = good.replacen("\"nodes\":3", "\"nodes\":4", 1);
    let cases: [(&[u8], &[&str]); 10] = [
        (newer.as_bytes(), &["version is 2", "this build reads version 1"]),
        (foreign.as_bytes(), &["`elm-artifact`", "expected `aspen-artifact`"]),
        (damaged.as_bytes(), &["line 1 column", "expected an aspen artifact"]),
        (surplus.as_bytes(), &["`surplus`", "expected"]),
        (senseless.as_bytes(), &["schedule.disks", "expected one for each of 4 nodes"]),
        (&good.as_bytes()[..good.len() / 2], &["EOF", "expected an aspen artifact"]),
        (b"", &["EOF", "expected an aspen artifact"]),
        (b"{}", &["expected `aspen-artifact`"]),
        (b"[1]", &["expected an aspen artifact"]),
        (b"\xff\xfe", &["UTF-8", "expected an aspen artifact"]),
    ];
    for (content, words) in cases {
        folder.file("bad.json", content);
        let words: Vec<&str> = words.iter().copied().chain(["bad.json"]).collect();
        check_refused(&folder, "replay bad.json", &words);
        check_refused(&folder, "check bad.json", &words);
    }
    check_refused(&folder, "replay missing.json", &["missing.json", "expected an aspen artifact"]);
}

#[test]
fn bad_histories_are_named_with_their_line() {
    let folder = Folder::new("histories");
    let invoke = r#"{"time_us":5,"process":1,"type":"invoke","operation":{"op":"get","key":"a"}}"#;
    let complete = r#"{"time_us":9,"process":1,"type":"complete","outcome":{"outcome":"ok","answer":{"answer":"value","value":null}}}"#;
    let cases = [
        ("nonsense\n".to_owned(), "history.jsonl:1: "),
        (format!("{invoke}\n{{\n"), "history.jsonl:2: "),
        (format!("{complete}\n"), "history.jsonl: line 1: process 1 completes"),
        (format!("{invoke}\n{invoke}\n"), "history.jsonl: line 2: process 1"),
    ];
    for (content, place) in cases {
        folder.file("history.jsonl", content.as_bytes());
        check_refused(&folder, "check history.jsonl", &[place, "expected"]);
    }
    check_refused(&folder, "check missing.jsonl", &["missing.jsonl", "expected a history"]);
    let unknown = invoke.replace("get", "increment");
    folder.file("history.jsonl", format!("{invoke}\n{unknown}\n").as_bytes());
    check_refused(&folder, "check history.jsonl", &["history.jsonl:2: ", "`increment`", "`get`"]);
}

#[test]
fn histories_of_jepsens_are_judged_and_bad_ones_are_named_with_their_line() {
    let folder = Folder::new("jepsen");
    let edn = "{:process 0, :type :invoke, :f :write, :value 1}\n\
               {:process 0, :type :ok, :f :write, :value 1}\n\
               {:process 1, :type :invoke, :f :read, :value nil}\n\
               {:process 1, :type :ok, :f :read, :value 1}\n";
    let log = "INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :ok :write 1\n\
               INFO  jepsen.util - 1 :invoke :read nil\nINFO  jepsen.util - 1 :ok :read 1\n";
    for (name, content) in [("history.edn", edn), ("etcd.log", log)] {
        let command = format!("check {name}");
        folder.file(name, content.as_bytes());
        assert_eq!(folder.run(&["check", name]).status.code(), Some(0), "{name}");
        let stale = content.replace(":ok :read 1", ":ok :read nil");
        let stale =
            stale.replace(":type :ok, :f :read, :value 1", ":type :ok, :f :read, :value nil");
        folder.file(name, stale.as_bytes());
        assert_eq!(folder.run(&["check", name]).status.code(), Some(1), "{name}");
        // The format does not have to be in the name.
        let format = if name == "etcd.log" { "jepsen-log" } else { "edn" };
        folder.file("named.txt", content.as_bytes());
        let output = folder.run(&["check", "named.txt", "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{name}");

        let lines: Vec<&str> = content.lines().collect();
        let overlapping = [lines[0], lines[0]].join("\n");
        let unanswered = [lines[0], lines[1], lines[3]].join("\n");
        let unheard = content.replace(":read", ":enqueue");
        for (content, line) in [(overlapping, 2), (unanswered, 3), (unheard, 3)] {
            folder.file(name, content.as_bytes());
            check_refused(&folder, &command, &[&format!("{name}:{line}: "), "expected"]);
        }
    }
    folder.file("history.edn", b"{:process 0, :type :invoke\n");
    check_refused(&folder, "check history.edn", &["history.edn:1: ", "expected"]);
    check_refused(&folder, "check history.edn --format lisp", &["lisp", "--help"]);
    check_refused(
        &folder,
        "check history.edn --time-limit 5",
        &["--time-limit", "`5`", "expected"],
    );
}

#[test]
fn an_unwritable_folder_is_refused_before_the_run_and_a_good_artifact_stays() {
    let folder = Folder::new("folders");
    folder.file("file", b"a file, no folder");
    for command in ["run --seed 1", "sweep --seeds 0..2"] {
        let command = format!("{command} --out file/below");
        let words = ["file/below", "cannot be written", "expected a folder that can be written"];
        check_refused(&folder, &command, &words);
    }
    assert_eq!(std::fs::read(folder.0.join("file")).unwrap(), b"a file, no folder");

    // A good artifact stays when the next one of its name cannot be put in its place: here a
    // folder that is not empty has the name, which no rename replaces.
    let taken = folder.0.join("out/seed-1-none.json");
    std::fs::create_dir_all(&taken).unwrap();
    std::fs::write(taken.join("good"), b"good").unwrap();
    let run = "run --seed 1 --duration 1s --ops 8 --out out";
    let output = folder.run(&run.split(' ').collect::<Vec<&str>>());
    assert_eq!(output.status.code(), Some(70), "{}", stderr(&output));
    assert!(stderr(&output).contains("seed-1-none.json"), "{}", stderr(&output));
    assert_eq!(names(&folder.0.join("out")), ["seed-1-none.json"], "something partial is left");
    assert_eq!(std::fs::read(taken.join("good")).unwrap(), b"good");
}

#[test]
fn exit_codes_say_the_verdict() {
    let folder = Folder::new("codes");
    let mutant = "run --seed 0 --chaos crash --mutant forget-vote --duration 10s --json --out out";
    let output = folder.run(&mutant.split(' ').collect::<Vec<&str>>());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verdict"]["verdict"], "invalid");
    // The artifact replays to the same verdict and digest; its clients alone saw nothing wrong,
    // or what they saw is judged the same way.
    let artifact = summary["artifact"].as_str().unwrap();
    let output = folder.run(&["replay", artifact, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let again: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again["digest"], summary["digest"]);

    let stale = concat!(
        r#"{"time_us":1,"process":1,"type":"invoke","operation":{"op":"set","key":"a","value":"1"}}"#,
        "\n",
        r#"{"time_us":2,"process":1,"type":"complete","outcome":{"outcome":"ok","answer":{"answer":"done"}}}"#,
        "\n",
        r#"{"time_us":3,"process":2,"type":"invoke","operation":{"op":"get","key":"a"}}"#,
        "\n",
        r#"{"time_us":4,"process":2,"type":"complete","outcome":{"outcome":"ok","answer":{"answer":"value","value":null}}}"#,
        "\n",
    );
    folder.file("stale.jsonl", stale.as_bytes());
    assert_eq!(folder.run(&["check", "stale.jsonl"]).status.code(), Some(1));
    let fresh = stale.replace("\"value\":null", "\"value\":\"1\"");
    folder.file("fresh.jsonl", fresh.as_bytes());
    assert_eq!(folder.run(&["check", "fresh.jsonl"]).status.code(), Some(0));

    // A search that may visit next to nothing says that it does not know, and does not guess.
    let set = |process: u64| {
        let operation =
            format!(r#""operation":{{"op":"set","key":"a","value":"{}"}}"#, process % 500);
        format!(r#"{{"time_us":1,"process":{process},"type":"invoke",{operation}}}"#)
    };
    let done = |process: u64| {
        let outcome = r#""outcome":{"outcome":"ok","answer":{"answer":"done"}}"#;
        format!(r#"{{"time_us":2,"process":{process},"type":"complete",{outcome}}}"#)
    };
    let read = stale.lines().skip(2).map(str::to_owned);
    let read = read.map(|line| line.replace("\"process\":2", "\"process\":1000"));
    let crowd: Vec<String> = (0..1000).map(set).chain((0..1000).map(done)).chain(read).collect();
    let crowd = crowd.join("\n").replace("\"value\":null", "\"value\":\"7\"");
    folder.file("crowd.jsonl", crowd.as_bytes());
    let output = folder.run(&["check", "crowd.jsonl", "--states", "10"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stdout(&output).contains("UNKNOWN"), "{}", stdout(&output));
    assert!(stdout(&output).contains("key a"), "{}", stdout(&output));
    assert!(stdout(&output).contains("10 visited states"), "{}", stdout(&output));
    // With the usual budget a thousand operations at once are not too many.
    assert_eq!(folder.run(&["check", "crowd.jsonl"]).status.code(), Some(0));
}

#[test]
fn help_has_examples_and_list_has_every_name() {
    let folder = Folder::new("help");
    for command in ["run", "replay", "verify", "sweep", "check"] {
        let output = folder.run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        let example = format!("\n  aspen-sim {command} ");
        assert!(stdout(&output).contains("Example"), "{command} --help has no example");
        assert!(stdout(&output).contains(&example), "{command} --help has no example");
    }
    assert!(stdout(&folder.run(&["--help"])).contains("Exit codes"));
    let list = stdout(&folder.run(&["list"]));
    for name in ["partition", "log-matching", "node-panic", "default", "forget-vote", "leak-state"]
    {
        assert!(list.lines().any(|line| line.split_whitespace().nth(1) == Some(name)), "{name}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&folder.run(&["list", "--json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), list.lines().count());
}
