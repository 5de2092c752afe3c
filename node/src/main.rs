//! `aspen-node`: reads its settings, runs the node, and ends with it; or runs one of its commands.

use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::process::ExitCode;

use aspen_node::commands::{CommandLine, Refusal};
use aspen_node::settings::{self, one_line};
use aspen_node::{RunningNode, Settings};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `RUST_LOG` says otherwise. openraft tells of every request that a peer does
/// not answer, and of every one that a shutdown cuts off; what ends the node, the node itself says.
/// Gossip and mDNS tell of every node that is down, again and again.
const LOGGED: &str = "warn,openraft=off,iroh_gossip=error,swarm_discovery=error";
/// The node could not start, or stopped by itself.
const FAILED: u8 = 1;
/// A setting is wrong.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    take_small_pages();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(help) if !help.use_stderr() => {
            // Where it cannot be written, nobody reads it.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return fail(USAGE, &one_line(&wrong)),
    };
    // A command that ends by itself says all there is to say when it ends.
    let logged = if line.runs_nodes() { LOGGED } else { "off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(logged));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    logs.with_ansi(io::stderr().is_terminal()).init();
    let ended = match runtime() {
        Ok(runtime) => runtime.block_on(act(line)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong @ Refusal::Input(_)) => fail(USAGE, &wrong.to_string()),
        Err(failed @ Refusal::Failed(_)) => fail(FAILED, &failed.to_string()),
    }
}

/// A thread for every two cores: the storage has one of its own, and to wake one thread from
/// another costs more than most of what a node does at a time.
fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = match cores / 2 {
        0 | 1 => Builder::new_current_thread(),
        threads => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    builder.enable_all().build()
}

/// A node touches little of each of the many places where its memory is: with huge pages it held
/// 92 MiB of the machine's before it had done anything, where it holds 50, and was no faster.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    // Where the kernel knows no huge pages it refuses, and has none to give.
    let _ = nix::sys::prctl::set_thp_disable(true);
}

fn fail(code: u8, reason: &str) -> ExitCode {
    // Where even this cannot be written, the exit code has to do.
    let _ = writeln!(io::stderr(), "aspen-node: {reason}");
    code.into()
}

/// Does what the command line says; without a command, runs the node.
async fn act(CommandLine { options, command }: CommandLine) -> Result<(), Refusal> {
    match command {
        Some(command) => command.run().await,
        None => Ok(run(&settings::read(options, std::env::vars_os())?).await?),
    }
}

/// Runs the node until it is asked to end or stops by itself.
async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = RunningNode::start(settings).await?;
    let mut out = io::stdout();
    writeln!(out, "node {}", settings.node.id)?;
    writeln!(out, "address {}", node.address())?;
    writeln!(out, "ticket {}", node.ticket())?;
    if let Some(address) = node.metrics_address() {
        writeln!(out, "metrics http://{address}/metrics")?;
    }
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = node.stopped() => {
            node.abandon().await;
            let folder = settings.data_dir.display();
            anyhow::bail!("data folder {folder}: the node has stopped: {reason}");
        }
    }
    node.shutdown().await;
    Ok(())
}
