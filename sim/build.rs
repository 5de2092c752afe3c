//! Tells the binary what it was built from: the git commit, and the versions of the crates whose
//! behaviour a run depends on. Both stand in every artifact.

use std::path::Path;
use std::process::Command;

const CRATES: [&str; 7] =
    ["madsim", "openraft", "postcard", "rand", "rand_chacha", "redb", "serde_json"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    println!("cargo::rerun-if-changed=../.git/HEAD");
    println!("cargo::rerun-if-changed=../.git/refs/heads");
    println!("cargo::rustc-env=ASPEN_COMMIT={}", commit(&root));
    println!("cargo::rustc-env=ASPEN_CRATES={}", crates(&root));
}

/// The commit, or `unknown` outside of a git checkout.
fn commit(root: &Path) -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// `name=version` pairs, joined by commas, from the lock file; the last of several versions.
fn crates(root: &Path) -> String {
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let mut found = Vec::new();
    for name in CRATES {
        let header = format!("name = \"{name}\"\nversion = \"");
        let version = lock.rsplit_once(&header).and_then(|(_, rest)| rest.split('"').next());
        found.push(format!("{name}={}", version.unwrap_or("unknown")));
    }
    found.join(",")
}
