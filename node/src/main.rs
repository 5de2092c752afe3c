//! `aspen-node`: reads its settings, runs the node, and ends with it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use aspen_node::settings::{self, one_line};
use aspen_node::{Options, RunningNode, Settings};
use clap::Parser;
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
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(help) if !help.use_stderr() => {
            // Where it cannot be written, nobody reads it.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return fail(USAGE, &one_line(&wrong)),
    };
    let settings = match settings::read(options, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(wrong) => return fail(USAGE, &wrong.to_string()),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    logs.with_ansi(std::io::stderr().is_terminal()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|it| it.block_on(run(&settings)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("{error:#}")),
    }
}

fn fail(code: u8, reason: &str) -> ExitCode {
    // Where even this cannot be written, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "aspen-node: {reason}");
    code.into()
}

/// Runs the node until it is asked to end or stops by itself.
async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = RunningNode::start(settings).await?;
    let mut out = std::io::stdout();
    writeln!(out, "node {}", settings.node.id)?;
    writeln!(out, "address {}", node.address())?;
    writeln!(out, "ticket {}", node.ticket())?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = node.stopped() => anyhow::bail!("the node has stopped: {reason}"),
    }
    node.shutdown().await;
    Ok(())
}
