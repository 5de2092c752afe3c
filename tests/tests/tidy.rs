//! The house's rules that no compiler checks: who may know whom, how long files may be, who opts
//! into the lints, and that every dependency has its reason in docs/dependencies.md.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LINES_MAX: usize = 600;

/// What each crate may know of the other crates here. Tests know them all.
const MAY_KNOW: [(&str, &[&str]); 9] = [
    ("base2histogram", &[]),
    ("aspen-check", &[]),
    ("aspen-core", &[]),
    ("aspen-transport-sim", &["aspen-core"]),
    ("aspen-transport-iroh", &["aspen-core"]),
    ("aspen-cli", &["aspen-check", "aspen-core", "aspen-transport-iroh"]),
    // Only its tests know the client and the checker.
    ("aspen-node", &["aspen-check", "aspen-cli", "aspen-core", "aspen-transport-iroh"]),
    ("aspen-sim", &["aspen-check", "aspen-core", "aspen-transport-sim"]),
    (
        "aspen-tests",
        &["aspen-check", "aspen-core", "aspen-transport-iroh", "aspen-transport-sim", "aspen-sim"],
    ),
];

/// What a crate must not reach, by however many steps: the core no clock and no socket, what is
/// deployed no simulator, and the simulator no network.
const FOREIGN: [(&str, &[&str]); 4] = [
    ("aspen-core", &["madsim", "madsim-tokio", "tokio", "iroh"]),
    ("aspen-node", &["madsim", "madsim-tokio", "aspen-sim", "aspen-transport-sim"]),
    ("aspen-cli", &["madsim", "madsim-tokio", "aspen-sim", "aspen-transport-sim"]),
    ("aspen-sim", &["iroh", "irpc", "aspen-transport-iroh"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What is resolved for this machine; what other platforms need may never have been fetched.
fn metadata() -> Value {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(rustc.stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    command.args(["--filter-platform", host]);
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The workspace's packages: name, and names of what they depend on directly.
fn members(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| ids.contains(&package["id"]))
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let names = dependencies.map(|it| it["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let members = members(&metadata());
    for (name, dependencies) in &members {
        let (_, allowed) = MAY_KNOW
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("{name} has no rule here: say whom it may know"));
        for known in dependencies.iter().filter(|known| members.contains_key(*known)) {
            assert!(allowed.contains(&known.as_str()), "{name} must not know {known}");
        }
    }
    assert_eq!(members.len(), MAY_KNOW.len());
}

#[test]
fn no_crate_reaches_what_is_foreign_to_it() {
    let metadata = metadata();
    for (name, foreign) in FOREIGN {
        let reached = reached_by(&metadata, name);
        assert!(reached.len() > 10, "the walk from {name} found nothing");
        for other in foreign {
            assert!(!reached.contains(other), "{name} reaches {other}");
        }
    }
}

/// The names of all packages that one needs to run, not those of its tests and build scripts.
fn reached_by<'m>(metadata: &'m Value, name: &str) -> BTreeSet<&'m str> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let start = *name_of.iter().find(|(_, one)| **one == name).unwrap().0;
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let normal = kinds.iter().any(|kind| kind["kind"].is_null());
            let id = dependency["pkg"].as_str().unwrap();
            if normal && reached.insert(id) {
                open.push(id);
            }
        }
    }
    reached.into_iter().map(|id| name_of[id]).collect()
}

#[test]
fn every_member_opts_into_the_lints() {
    for entry in root().read_dir().unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        if text.contains("[package]") {
            let opted = text.contains("[lints]\nworkspace = true");
            assert!(opted, "{} lacks `[lints] workspace = true`", manifest.display());
        }
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_and_modules_have_names_that_say_something() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 100, "only {} files found", files.len());
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, at most {LINES_MAX}", file.display());
        let stem = file.file_stem().unwrap().to_string_lossy();
        let vague = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
        assert!(!vague.contains(&&*stem), "{} says nothing", file.display());
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let members = members(&metadata());
    let reasons = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let missing: BTreeSet<&String> = members
        .values()
        .flatten()
        .filter(|name| !members.contains_key(*name))
        .filter(|name| !reasons.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no line for {missing:?}");
}
