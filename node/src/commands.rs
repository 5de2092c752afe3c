//! The command line: without a word of its own `aspen-node` runs a node; with one it does something
//! else and ends.

use clap::{Parser, Subcommand};

use crate::backup::Backup;
use crate::recover::Recover;
use crate::restore::Restore;
use crate::settings::{Options, SettingsError};
use crate::trial::Try;

/// A node of an Aspen cluster: a replicated key-value store.
///
/// Every setting can also stand in the file of --config, under its name without the dashes, and in
/// a variable of the environment: ASPEN_NODE_ID for --node-id. The command line comes before the
/// file, the file before the environment.
#[derive(Debug, Parser)]
#[command(name = "aspen-node", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What the node is told, when it is to run.
    #[command(flatten)]
    pub options: Options,
    /// What else is to be done.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl CommandLine {
    /// Whether nodes run until they are told to end.
    pub fn runs_nodes(&self) -> bool {
        matches!(self.command, None | Some(Command::Try(_)))
    }
}

/// What `aspen-node` does beside running a node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copies what a running cluster holds into a file
    Backup(Backup),
    /// Makes the first node of a new cluster from a backup
    Restore(Restore),
    /// Makes a stopped node the only voter of its cluster, when the others are lost
    ///
    /// Without --accept-data-loss it says what it would do, and changes nothing. Run it like that
    /// on every node that is left, and recover the one whose log reaches furthest: the later term
    /// first, then the higher entry.
    Recover(Recover),
    /// Runs three nodes on this machine, to try them; nothing of them stays
    Try(Try),
}

/// Why a command did not do what it was to do, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Something that was given is wrong: nothing was written.
    #[error("{0}")]
    Input(String),
    /// It failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Refusal {
    /// Something that was given is wrong.
    pub(crate) fn input(problem: impl std::fmt::Display) -> Self {
        Self::Input(problem.to_string())
    }
}

impl From<SettingsError> for Refusal {
    fn from(wrong: SettingsError) -> Self {
        Self::input(wrong)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(failed: std::io::Error) -> Self {
        Self::Failed(failed.into())
    }
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn run(self) -> Result<(), Refusal> {
        match self {
            Self::Backup(backup) => backup.run().await,
            Self::Restore(restore) => restore.run().await,
            Self::Recover(recover) => recover.run().await,
            Self::Try(trial) => trial.run().await,
        }
    }
}
