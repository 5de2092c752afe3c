//! What a replicated write and a confirmed read cost with no consensus at all: the floor that `compare/run --floor`
//! measures beside Aspen and etcd.
//!
//! Three processes. The first passes each request on, over a stream that stays open, and answers when two of
//! the three have done it. A write ([`WRITE`]) is stored by all three: 512 bytes and an `fdatasync`, on a
//! thread that does nothing else. A read ([`READ`]) is confirmed by the second process and touches no disk. There
//! are no terms, no log, no sessions, no retries and no timeouts, so what replicates over the same streams, in as
//! many processes, has little room below. The streams are iroh's (`quic`), with iroh's own defaults, or TCP's.
//!
//! Every request has [`REQUEST_BYTES`], every answer [`ANSWER_BYTES`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, ValueEnum};
use hdrhistogram::Histogram;
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, oneshot, watch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As long as a set of a 256-byte value.
const REQUEST_BYTES: usize = 300;
const ANSWER_BYTES: usize = 16;
/// A record, as in the node's journal.
const RECORD_BYTES: usize = 512;
const JOURNAL_BYTES: u64 = 1 << 20;
const ALPN: &[u8] = b"aspen/floor";
/// The first byte of a request that is to be stored.
const WRITE: u8 = 0;
/// The first byte of a request that the others only confirm.
const READ: u8 = 1;
/// Until the others are there.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
enum Cli {
    /// One of the three processes
    Serve(Serve),
    /// One client, which asks again when it has its answer
    Load(Load),
}

#[derive(Args)]
struct Serve {
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    node: u8,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Load {
    #[arg(long)]
    seconds: u64,
    /// Reads instead of writes
    #[arg(long)]
    reads: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// Where the three say what their addresses are, and keep their journals
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    #[arg(long)]
    over: Over,
}

#[derive(Clone, Copy, ValueEnum)]
enum Over {
    Quic,
    Tcp,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse() {
        Cli::Serve(serve) => serve.run().await,
        Cli::Load(load) => load.run().await,
    }
}

/// Both ways of a stream, and what must live as long as it.
struct Stream {
    send: Box<dyn AsyncWrite + Send + Unpin>,
    receive: Box<dyn AsyncRead + Send + Unpin>,
    _connection: Option<Connection>,
}

impl Stream {
    fn tcp(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (receive, send) = stream.into_split();
        Ok(Self { send: Box::new(send), receive: Box::new(receive), _connection: None })
    }

    fn quic(connection: Connection, (send, receive): (SendStream, RecvStream)) -> Self {
        let (send, receive) = (Box::new(send), Box::new(receive));
        Self { send, receive, _connection: Some(connection) }
    }

    async fn ask(&mut self, request: &[u8; REQUEST_BYTES]) -> Result<()> {
        self.send.write_all(request).await?;
        self.receive.read_exact(&mut [0; ANSWER_BYTES]).await?;
        Ok(())
    }
}

/// Where streams come from and go to.
enum Network {
    Quic(Endpoint),
    Tcp(TcpListener),
}

impl Network {
    async fn bind(over: Over) -> Result<Self> {
        Ok(match over {
            Over::Tcp => Self::Tcp(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?),
            Over::Quic => {
                let endpoint = Endpoint::builder(presets::Minimal)
                    .relay_mode(RelayMode::Disabled)
                    .alpns(vec![ALPN.to_vec()])
                    .clear_ip_transports()
                    .bind_addr((Ipv4Addr::LOCALHOST, 0))?;
                Self::Quic(endpoint.bind().await?)
            }
        })
    }

    /// What another process needs to come here.
    fn address(&self) -> Result<String> {
        Ok(match self {
            Self::Tcp(listener) => listener.local_addr()?.to_string(),
            Self::Quic(endpoint) => format!("{} {}", endpoint.id(), endpoint.bound_sockets()[0]),
        })
    }

    async fn open(&self, folder: &Path, node: u8) -> Result<Stream> {
        let address = address(folder, node).await?;
        let Self::Quic(endpoint) = self else {
            return Stream::tcp(TcpStream::connect(address).await?);
        };
        let (id, socket) = address.split_once(' ').context("an id and an address")?;
        let peer = EndpointAddr::new(id.parse()?).with_ip_addr(socket.parse()?);
        let connection = endpoint.connect(peer, ALPN).await?;
        let streams = connection.open_bi().await?;
        Ok(Stream::quic(connection, streams))
    }

    async fn accept(&self) -> Result<Stream> {
        match self {
            Self::Tcp(listener) => Stream::tcp(listener.accept().await?.0),
            Self::Quic(endpoint) => {
                let connection = endpoint.accept().await.context("the endpoint is closed")?.await?;
                let streams = connection.accept_bi().await?;
                Ok(Stream::quic(connection, streams))
            }
        }
    }
}

/// What a process has said of itself, once it has.
async fn address(folder: &Path, node: u8) -> Result<String> {
    let begun = Instant::now();
    loop {
        match std::fs::read_to_string(folder.join(format!("{node}.address"))) {
            Ok(address) => return Ok(address),
            Err(error) => ensure!(begun.elapsed() < PATIENCE, "process {node}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A journal, and the thread that writes it.
#[derive(Clone)]
struct Disk(mpsc::Sender<oneshot::Sender<()>>);

impl Disk {
    fn new(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        file.write_all_at(&vec![0; usize::try_from(JOURNAL_BYTES)?], 0)?;
        file.sync_all()?;
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || write(&file, asked));
        Ok(Self(sender))
    }

    async fn append(&self) -> Result<()> {
        let (done, stored) = oneshot::channel();
        self.0.send(done)?;
        Ok(stored.await?)
    }
}

/// Until a sync fails; then whoever asked hears nothing.
fn write(file: &File, asked: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut offset = 0;
    for done in asked {
        let written = file.write_all_at(&[1; RECORD_BYTES], offset);
        if written.and_then(|()| file.sync_data()).is_err() {
            return;
        }
        offset = (offset + RECORD_BYTES as u64) % JOURNAL_BYTES;
        let _ = done.send(());
    }
}

/// The number of the last request that each of the three has done.
type Done = watch::Sender<[u64; 3]>;
/// A request, with its number behind its first byte.
type Request = [u8; REQUEST_BYTES];

fn numbered(kind: u8, number: u64) -> Request {
    let mut request = [0; REQUEST_BYTES];
    request[0] = kind;
    request[1..9].copy_from_slice(&number.to_le_bytes());
    request
}

impl Serve {
    async fn run(self) -> Result<()> {
        let Self { node, place: Place { folder, over } } = self;
        let network = Network::bind(over).await?;
        let disk = Disk::new(&folder.join(format!("{node}.journal")))?;
        // Whole or not at all: the others look for it.
        let unfinished = folder.join(format!("{node}.unfinished"));
        std::fs::write(&unfinished, network.address()?)?;
        std::fs::rename(unfinished, folder.join(format!("{node}.address")))?;
        if node > 1 {
            return follow(network.accept().await?, &disk).await;
        }
        let (passed, done) = (broadcast::Sender::new(16), Done::default());
        for follower in [2, 3] {
            let stream = network.open(&folder, follower).await?;
            pass_on(follower, stream, passed.subscribe(), done.clone());
        }
        let mut number = 0;
        loop {
            let client = network.accept().await?;
            // Until the client ends.
            drop(lead(client, &disk, &passed, &done, &mut number).await);
        }
    }
}

/// Answers one client after the other.
async fn lead(
    mut client: Stream,
    disk: &Disk,
    passed: &broadcast::Sender<Request>,
    done: &Done,
    number: &mut u64,
) -> Result<()> {
    let mut request = [0; REQUEST_BYTES];
    let mut watched = done.subscribe();
    loop {
        client.receive.read_exact(&mut request).await?;
        *number += 1;
        let number = *number;
        passed.send(numbered(request[0], number))?;
        if request[0] == WRITE {
            let (disk, done) = (disk.clone(), done.clone());
            tokio::spawn(async move {
                if disk.append().await.is_ok() {
                    done.send_modify(|done| done[0] = number);
                }
            });
        } else {
            done.send_modify(|done| done[0] = number);
        }
        let two = |done: &[u64; 3]| done.iter().filter(|done| **done >= number).count() >= 2;
        drop(watched.wait_for(two).await?);
        client.send.write_all(&[0; ANSWER_BYTES]).await?;
    }
}

/// Passes requests on to a follower, and notes what it has done. Ends with the stream.
fn pass_on(
    follower: u8,
    Stream { mut send, mut receive, _connection }: Stream,
    mut passed: broadcast::Receiver<Request>,
    done: Done,
) {
    tokio::spawn(async move {
        while let Ok(request) = passed.recv().await {
            // One follower is enough for a read.
            if (request[0] == WRITE || follower == 2) && send.write_all(&request).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut answer = [0; ANSWER_BYTES];
        while receive.read_exact(&mut answer).await.is_ok() {
            let number = u64::from_le_bytes(answer[..8].try_into().expect("eight bytes"));
            done.send_modify(|done| done[usize::from(follower) - 1] = number);
        }
        drop(_connection);
    });
}

/// Does what the first process passes on, until that ends.
async fn follow(mut stream: Stream, disk: &Disk) -> Result<()> {
    let mut request = [0; REQUEST_BYTES];
    while stream.receive.read_exact(&mut request).await.is_ok() {
        if request[0] == WRITE {
            disk.append().await?;
        }
        let mut answer = [0; ANSWER_BYTES];
        answer[..8].copy_from_slice(&request[1..9]);
        stream.send.write_all(&answer).await?;
    }
    Ok(())
}

impl Load {
    /// Prints what `aspen-cli --json bench` prints.
    async fn run(self) -> Result<()> {
        let Self { seconds, reads, place: Place { folder, over } } = self;
        let network = Network::bind(over).await?;
        let mut stream = network.open(&folder, 1).await?;
        let request = numbered(if reads { READ } else { WRITE }, 0);
        stream.ask(&request).await?;
        let mut latency = Histogram::<u64>::new(3)?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            let asked = Instant::now();
            stream.ask(&request).await?;
            latency.record(u64::try_from(asked.elapsed().as_micros())?)?;
        }
        let took = begun.elapsed().as_secs_f64();
        let percentiles = json!({
            "p50": latency.value_at_quantile(0.5),
            "p99": latency.value_at_quantile(0.99),
        });
        let answered = latency.len();
        let loaded = json!({
            "answered": answered,
            "failed": 0,
            "unknown": 0,
            "per_second": answered as f64 / took,
            "latency_us": { if reads { "reads" } else { "writes" }: percentiles },
        });
        writeln!(std::io::stdout(), "{loaded}")?;
        if let Network::Quic(endpoint) = network {
            endpoint.close().await;
        }
        Ok(())
    }
}
