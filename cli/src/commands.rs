//! The commands of `aspen-cli`: what they take, what they print, and how they end.

mod bench;
mod cluster;
mod kv;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use aspen_transport_iroh::Ticket;
use clap::{Args, Parser, Subcommand};

use crate::client::{Client, Failure};

/// How a command ended, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Nothing is there, or a comparison did not hold.
    Not = 1,
    /// The outcome is unknown.
    Unknown = 2,
    /// The command line is wrong.
    Usage = 64,
    /// The cluster refused.
    Refused = 65,
    /// No node could do it.
    Unavailable = 69,
    /// The client's own failure.
    Own = 70,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub exit: Exit,
    /// In one line.
    pub reason: String,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        let exit = match failure {
            Failure::Refused(_) => Exit::Refused,
            Failure::Unavailable(_) => Exit::Unavailable,
            Failure::Unknown(_) => Exit::Unknown,
        };
        Self { exit, reason: failure.to_string() }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self { exit: Exit::Own, reason: error.to_string() }
    }
}

fn usage(reason: String) -> Ended {
    Ended { exit: Exit::Usage, reason }
}

/// Talks to an Aspen cluster.
#[derive(Debug, Parser)]
#[command(
    name = "aspen-cli",
    version,
    after_help = "Exit codes: 0 done, 1 nothing there or a comparison that did not hold, \
                  2 the outcome is unknown, 64 bad usage, 65 refused, 69 unavailable, 70 own failure."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Where the cluster is, and the key to it: the word that a node prints
    #[arg(
        long,
        global = true,
        env = "ASPEN_TICKET",
        hide_env_values = true,
        value_name = "TICKET"
    )]
    ticket: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// How long to try
    #[arg(long, global = true, value_name = "MS", default_value_t = 15_000)]
    timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The cluster: its birth, its members, its leader
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Keys and values
    #[command(subcommand)]
    Kv(kv::Kv),
    Bench(bench::Bench),
}

/// Runs a command line.
///
/// # Errors
/// [`Ended`] with the exit code and the reason.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<Exit, Ended> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => {
            help.print()?;
            return Ok(Exit::Done);
        }
        Err(wrong) => return Err(usage(one_line(&wrong))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(cli))
}

/// What clap found wrong, without its advice.
fn one_line(wrong: &clap::Error) -> String {
    let text = wrong.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

async fn run(cli: Cli) -> Result<Exit, Ended> {
    let Common { ticket, json, timeout_ms } = cli.common;
    let ticket = ticket.ok_or_else(|| {
        usage("--ticket or ASPEN_TICKET is missing; a node prints its ticket when it starts".into())
    })?;
    let ticket: Result<Ticket, _> = ticket.parse();
    let ticket = ticket.map_err(|error| usage(format!("--ticket or ASPEN_TICKET: {error}")))?;
    let client = Client::new(&ticket, Duration::from_millis(timeout_ms)).await;
    let client = client.map_err(|error| Ended { exit: Exit::Own, reason: error.to_string() })?;
    let client = Arc::new(client);
    let out = Output { json };
    let ended = match cli.command {
        Command::Cluster(command) => command.run(&client, &out).await,
        Command::Kv(command) => command.run(&client, &out).await,
        Command::Bench(bench) => bench.run(&client, &out).await,
    };
    client.close().await;
    ended
}

/// Where answers go.
struct Output {
    json: bool,
}

impl Output {
    /// Prints an answer: `text` for people and scripts, `data` where JSON is wanted.
    fn print(&self, text: &[u8], data: &impl serde::Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, data)?;
            return out.write_all(b"\n");
        }
        out.write_all(text)
    }

    /// Tells people what JSON says in a field.
    fn note(&self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(io::stderr(), "aspen-cli: {text}") }
    }
}
