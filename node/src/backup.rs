//! `aspen-node backup`: a consistent copy of a running cluster, over the clients' protocol.
//!
//! First something without effect is written through the log. Everything that was acknowledged before
//! stands in front of it, so a snapshot that covers it covers them; the same node is then asked for
//! one. A node that has no quorum left is asked for what it has, with `--no-quorum`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aspen_core::NodeId;
use aspen_core::api::{ClientBody, ClientRequest, ClientResponse};
use aspen_core::codec::{self, BackupOpening, Open, Request, Response, SnapshotChunk};
use aspen_core::command::Command;
use aspen_core::transport::{FrameReceiver, FrameSender, Lane, Transport};
use aspen_transport_iroh::{IrohTransport, Settings, Ticket, TokioRuntime};
use clap::Args;
use tokio::time::{Instant, timeout};

use crate::backup_file::{BackupWriter, Counts, cluster_mark};
use crate::commands::Refusal;

/// How long one node is waited for before another is asked.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long to wait before the next is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Copies what a running cluster holds into a file.
#[derive(Debug, Args)]
pub struct Backup {
    /// Where the cluster is, and the key to it: the word that a node prints
    #[arg(long, env = "ASPEN_TICKET", hide_env_values = true, value_name = "TICKET")]
    ticket: String,
    /// The file; one that is there is replaced once the new one is whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take what the first node that answers has applied, though it may lack acknowledged writes:
    /// for a cluster that has lost its quorum
    #[arg(long)]
    no_quorum: bool,
    /// How long to wait for a node, and for each part of the copy
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    timeout_ms: u64,
}

impl Backup {
    /// Makes the backup.
    ///
    /// # Errors
    /// [`Refusal`]; there is no file then that was not there before.
    pub async fn run(self) -> Result<(), Refusal> {
        let ticket: Ticket = self
            .ticket
            .parse()
            .map_err(|wrong| Refusal::input(format_args!("--ticket or ASPEN_TICKET: {wrong}")))?;
        let mut file = BackupWriter::create(&self.out)
            .map_err(|wrong| Refusal::input(format_args!("--out {wrong}")))?;
        let settings = Settings::of_client(&ticket);
        let transport = IrohTransport::bind(settings).await.context("a socket")?;
        for (node, address) in &ticket.nodes {
            transport.learn(*node, &address.to_string());
        }
        let copied = self.copy(&transport, &ticket, &mut file).await;
        // Who is not there needs no farewell.
        let _ = timeout(Duration::from_millis(200), transport.close()).await;
        let index = copied?;
        let Counts { keys, sessions, bytes } =
            file.finish().with_context(|| format!("{}", self.out.display()))?;
        let up_to = index.map_or("nothing".to_owned(), |index| format!("entry {index}"));
        writeln!(
            std::io::stdout(),
            "{}: {keys} keys and {sessions} sessions, up to {up_to}, {bytes} bytes",
            self.out.display()
        )?;
        Ok(())
    }

    /// Fills the file; gives the last entry that it covers.
    async fn copy(
        &self,
        transport: &IrohTransport,
        ticket: &Ticket,
        file: &mut BackupWriter,
    ) -> anyhow::Result<Option<u64>> {
        let patience = Duration::from_millis(self.timeout_ms);
        let deadline = Instant::now() + patience;
        let mut last = anyhow!("the ticket names no node");
        for node in ticket.nodes.keys().copied().cycle() {
            let barrier = if self.no_quorum { Ok(None) } else { barrier(transport, node).await };
            let opened = match barrier {
                Ok(at_least) => open(transport, node, at_least, patience).await,
                Err(failed) => Err(failed),
            };
            match opened {
                Ok((opening, receiver)) => {
                    let mark = cluster_mark(&ticket.secret);
                    let covered = opening.last_log_id.map(|log_id| log_id.index);
                    file.header(mark, node, opening)?;
                    let filled = fill(receiver, file, patience).await;
                    return filled.map(|()| covered).with_context(|| format!("node {node}"));
                }
                Err(failed) => last = failed.context(format!("node {node}")),
            }
            if Instant::now() + PAUSE >= deadline {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last.context("no node gave a copy"))
    }
}

/// Writes something without effect; gives its index.
async fn barrier(transport: &IrohTransport, node: NodeId) -> anyhow::Result<Option<u64>> {
    let body = ClientBody::Write { stamp: None, command: Command::Tick };
    let request = Request::<TokioRuntime>::Client(ClientRequest { forwarded: false, body });
    let call = transport.call(node, Lane::Client, codec::encode(&request)?);
    let answer = timeout(ATTEMPT, call).await.context("no answer in time")??;
    let Response::Client(answer) = codec::decode::<Response<TokioRuntime>>(&answer)? else {
        bail!("the answer is one to something else")
    };
    match answer {
        ClientResponse::Written(written) => Ok(Some(written.index)),
        ClientResponse::Failed(error) => Err(error.into()),
        ClientResponse::Value(_) | ClientResponse::Page(_) => {
            bail!("the answer is one to something else")
        }
    }
}

type Receiver = <IrohTransport as Transport>::Receiver;

/// Asks a node for a copy; gives what it covers, and where its chunks come from.
async fn open(
    transport: &IrohTransport,
    node: NodeId,
    at_least: Option<u64>,
    patience: Duration,
) -> anyhow::Result<(aspen_core::types::SnapshotMeta, Receiver)> {
    let opening = async {
        let (mut sender, mut receiver) = transport.open(node, Lane::Client).await?;
        sender.send(codec::encode(&Open::Backup { at_least })?).await?;
        sender.finish().await?;
        let first = receiver.recv().await?.context("the node ended without an answer")?;
        let BackupOpening(opening) = codec::decode(&first)?;
        Ok((opening.map_err(anyhow::Error::msg)?, receiver))
    };
    timeout(patience, opening).await.context("no copy in time")?
}

async fn fill(
    mut receiver: Receiver,
    file: &mut BackupWriter,
    patience: Duration,
) -> anyhow::Result<()> {
    loop {
        let frame = timeout(patience, receiver.recv()).await.context("the copy stands still")??;
        let Some(frame) = frame else { return Ok(()) };
        let SnapshotChunk(chunk) = codec::decode(&frame)?;
        file.chunk(&chunk)?;
    }
}
