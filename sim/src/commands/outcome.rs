//! How a command ends: an exit code that means something, or a failure in one line.

use std::fmt;
use std::process::ExitCode;

use crate::verdict::Verdict;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything was judged valid.
    Valid,
    /// 1: a property is violated.
    Invalid,
    /// 2: the verdict is unknown.
    Unknown,
    /// 64: bad usage or input.
    Usage,
    /// 70: our own failure.
    Internal,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Valid => 0,
            Exit::Invalid => 1,
            Exit::Unknown => 2,
            Exit::Usage => 64,
            Exit::Internal => 70,
        })
    }
}

impl From<&Verdict> for Exit {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Valid => Exit::Valid,
            Verdict::Invalid { .. } => Exit::Invalid,
            Verdict::Unknown { .. } => Exit::Unknown,
        }
    }
}

/// Why a command has no verdict.
#[derive(Debug)]
pub enum Failure {
    /// What the user gave cannot be used: one line that names the place and what was expected.
    Input(String),
    /// The tool failed.
    Internal(anyhow::Error),
}

impl Failure {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Input(_) => Exit::Usage,
            Failure::Internal(_) => Exit::Internal,
        }
    }

    pub(super) fn input(error: impl fmt::Display) -> Self {
        Failure::Input(error.to_string())
    }

    pub(super) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Failure::Internal(error.into())
    }

    /// clap's complaint, without its advice, in one line.
    pub(super) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let complaint = text.split("\n\n").next().unwrap_or(&text);
        let words: Vec<&str> = complaint.split_whitespace().collect();
        let line = words.join(" ");
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        if line.contains("expected") && !line.starts_with("unexpected") {
            return Failure::Input(line.to_owned());
        }
        Failure::Input(format!("{line}; `aspen-sim --help` says what is expected"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(line) => f.write_str(line),
            Failure::Internal(error) => write!(f, "{error:#}"),
        }
    }
}
