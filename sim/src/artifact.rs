//! The artifact: one JSON document that says what was run, what happened and what it means.
//!
//! docs/artifact.md describes it field by field, docs/artifact.schema.json for programs. It holds
//! the whole schedule, so that it replays without the seed's generators. Its trace may be cut down
//! to windows; the digest is always over everything.

mod file;
mod windows;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aspen_check::history;
use serde::{Deserialize, Serialize};

pub use self::file::{ReadError, WriteError, check_folder, read, write};
pub use self::windows::{TRACE_EVENTS_MAX, TraceWindow, WindowedTrace};
use crate::coverage::Coverage;
use crate::mutants::Mutant;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::verdict::Verdict;

/// The `format` field of every artifact.
pub const FORMAT: &str = "aspen-artifact";
/// The version of the artifacts that this build writes and reads.
pub const VERSION: u32 = 1;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    /// What wrote it.
    pub build: Build,
    /// The command that makes the same run from its seed. Where it names `scenario.json`, that is a
    /// file with the `scenario` of this document's schedule.
    pub command: String,
    /// The seed, which is the schedule's short name.
    pub seed: u64,
    /// The planted bug, if any.
    pub mutant: Option<Mutant>,
    /// What the checks say.
    pub verdict: Verdict,
    /// Digest over messages, trace, history and final state, in hex.
    pub digest: String,
    /// What the run exercised.
    pub coverage: Coverage,
    /// The seed expanded; its `scenario` is the run's.
    pub schedule: Schedule,
    /// What clients saw.
    pub history: Vec<history::Event>,
    /// What happened inside.
    pub trace: WindowedTrace,
}

/// What an artifact was written by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The tool's version.
    pub tool: String,
    /// The git commit that it was built from, or `unknown`.
    pub commit: String,
    /// Hash of the executable: two builds with the same hash must give the same digests.
    pub executable: String,
    /// Versions of the crates whose behaviour a run depends on.
    pub crates: BTreeMap<String, String>,
}

impl Build {
    /// This build. The executable is read and hashed once in the process.
    pub fn this() -> Self {
        static THIS: OnceLock<Build> = OnceLock::new();
        THIS.get_or_init(Self::look).clone()
    }

    fn look() -> Self {
        let executable = std::env::current_exe().ok().and_then(|path| std::fs::read(path).ok());
        let executable = executable.map(|bytes| blake3::hash(&bytes).to_hex()[..32].to_owned());
        let crates = env!("ASPEN_CRATES").split(',').filter_map(|pair| pair.split_once('='));
        Self {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("ASPEN_COMMIT").to_owned(),
            executable: executable.unwrap_or_else(|| "unknown".to_owned()),
            crates: crates.map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
        }
    }

    /// Whether a run of the other build must have the same digest as one of this.
    pub fn is_same(&self, other: &Build) -> bool {
        self.executable == other.executable && self.executable != "unknown"
    }
}

impl Artifact {
    /// The artifact of a finished run.
    pub fn new(schedule: &Schedule, mutant: Option<Mutant>, run: &Run) -> Self {
        let recording = &run.recording;
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            build: Build::this(),
            command: command(schedule, mutant),
            seed: schedule.seed,
            mutant,
            verdict: run.verdict.clone(),
            digest: recording.digest.clone(),
            coverage: recording.coverage.clone(),
            schedule: schedule.clone(),
            history: recording.history.clone(),
            trace: WindowedTrace::new(recording, &run.verdict),
        }
    }

    /// The name that `run` and `sweep` give to its file.
    pub fn file_name(&self) -> String {
        let chaos = self.schedule.scenario.chaos.to_string().replace(',', "+");
        let mutant = self.mutant.map(|mutant| format!("-{mutant}")).unwrap_or_default();
        format!("seed-{}-{chaos}{mutant}.json", self.seed)
    }
}

/// The command line that makes this run; fields without a flag come from a file.
fn command(schedule: &Schedule, mutant: Option<Mutant>) -> String {
    let scenario = &schedule.scenario;
    let standard = Scenario::default();
    let mut words = format!("aspen-sim run --seed {} --chaos {}", schedule.seed, scenario.chaos);
    let flags = [
        ("--nodes", scenario.nodes, standard.nodes),
        ("--clients", scenario.clients, standard.clients),
        ("--ops", scenario.operations, standard.operations),
        ("--duration", scenario.duration_ms, standard.duration_ms),
    ];
    for (flag, value, usual) in flags {
        if value != usual {
            let unit = if flag == "--duration" { "ms" } else { "" };
            words += &format!(" {flag} {value}{unit}");
        }
    }
    let by_flags = Scenario {
        chaos: scenario.chaos.clone(),
        nodes: scenario.nodes,
        clients: scenario.clients,
        operations: scenario.operations,
        duration_ms: scenario.duration_ms,
        ..standard
    };
    if *scenario != by_flags {
        words += " --scenario scenario.json";
    }
    if let Some(mutant) = mutant {
        words += &format!(" --mutant {mutant}");
    }
    words
}
