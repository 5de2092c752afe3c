//! Real nodes: processes of `aspen-node`, and a client of the cluster that they form. They are on
//! loopback unless a test has another [`Place`] for them.

#![allow(dead_code, reason = "no test needs all of it")]

pub(crate) mod bare;
pub(crate) mod running;
pub(crate) mod secluded;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aspen_cli::Client;
use aspen_core::NodeId;
use aspen_core::api::{ClusterState, Consistency, ControlBody, Scan};
use aspen_core::command::{Command::Set, Reply};
use aspen_transport_iroh::{PeerAddress, Ticket};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) const COOKIE: &str = "the cookie of the tests with processes";
pub(crate) const HEARTBEAT_MS: u64 = 100;
pub(crate) const ELECTION_MIN_MS: u64 = 300;
pub(crate) const ELECTION_MAX_MS: u64 = 600;
/// How long service may be away when a leader is not heard any more.
pub(crate) const UNHEARD: Duration = Duration::from_millis(2 * ELECTION_MAX_MS + 1000);
/// How long anything may take that is not held up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where a node runs.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// What it binds at its first start.
    pub(crate) bind: String,
    /// The cluster's secret.
    pub(crate) cookie: String,
    /// The network namespace, unless it is the test's own.
    pub(crate) namespace: Option<String>,
    /// Where its stderr goes, unless that is the test's own.
    pub(crate) stderr: Option<PathBuf>,
    /// Flags beside those that every node has.
    pub(crate) flags: &'static [&'static str],
}

impl Place {
    /// On a port of the system's choice.
    pub(crate) fn on_loopback(folder: PathBuf) -> Self {
        let (bind, cookie) = ("127.0.0.1:0".to_owned(), COOKIE.to_owned());
        Self { folder, bind, cookie, namespace: None, stderr: None, flags: &[] }
    }
}

/// One node, running or not.
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) place: Place,
    pub(crate) ticket: Ticket,
    pub(crate) address: PeerAddress,
    /// Where its metrics are, while it runs.
    pub(crate) metrics: SocketAddr,
    child: Option<Child>,
}

impl Process {
    /// Starts a node that nobody knows yet.
    pub(crate) fn start(id: u64, place: Place) -> Self {
        let Spawned { child, ticket, address, metrics } = spawn(id, &place, &place.bind, &[]);
        Self { id, place, ticket, address, metrics, child: Some(child) }
    }

    /// Starts a node of the cluster that has this cookie.
    pub(crate) fn start_at(id: u64, folder: PathBuf, bind: &str, cookie: &str) -> Self {
        let (bind, cookie) = (bind.to_owned(), cookie.to_owned());
        Self::start(id, Place { bind, cookie, ..Place::on_loopback(folder) })
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        let spawned = spawn(self.id, &self.place, &self.socket().to_string(), &[]);
        assert_eq!(spawned.address, self.address, "a node keeps its identity");
        (self.metrics, self.child) = (spawned.metrics, Some(spawned.child));
    }

    /// Starts it again on another port, with the same data folder. Where it was, nobody answers.
    pub(crate) fn restart_elsewhere(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        let _taken = UdpSocket::bind(self.socket()).unwrap();
        let spawned = spawn(self.id, &self.place, "127.0.0.1:0", flags);
        assert_eq!(spawned.address.0.id, self.address.0.id, "a node keeps its identity");
        assert_ne!(spawned.address, self.address);
        (self.address, self.ticket) = (spawned.address, spawned.ticket);
        (self.metrics, self.child) = (spawned.metrics, Some(spawned.child));
    }

    fn socket(&self) -> SocketAddr {
        *self.address.0.ip_addrs().next().unwrap()
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As an operator stops it.
    pub(crate) fn terminate(&mut self) {
        self.signal("TERM");
        let status = self.child.take().expect("it runs").wait().unwrap();
        assert!(status.success(), "node {} ended with {status}", self.id);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let waiting = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        let status = ended.unwrap_or_else(|_| panic!("waited for the end of node {}", self.id));
        self.child = None;
        status
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Whether the process is there.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
    command.env_clear();
    command
}

/// The node's program, in its namespace.
fn command_in(place: &Place) -> Command {
    let mut command = command();
    if let Some(namespace) = &place.namespace {
        // It replaces itself by the program, so that its process is the node's.
        command = Command::new("ip");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_aspen-node")]);
    }
    if let Some(stderr) = &place.stderr {
        command.stderr(File::create(stderr).unwrap());
    }
    command
}

/// A node that has just started, and what it said.
struct Spawned {
    child: Child,
    ticket: Ticket,
    address: PeerAddress,
    metrics: SocketAddr,
}

fn spawn(id: u64, place: &Place, bind: &str, flags: &[&str]) -> Spawned {
    let mut command = command_in(place);
    command.args(["--node-id", &id.to_string(), "--cookie", &place.cookie, "--bind", bind]);
    command
        .args(["--metrics-addr", "127.0.0.1:0", "--disable-mdns"])
        .args(place.flags)
        .args(flags)
        .arg("--data-dir")
        .arg(&place.folder);
    for (flag, ms) in [
        ("--heartbeat-interval-ms", HEARTBEAT_MS),
        ("--election-timeout-min-ms", ELECTION_MIN_MS),
        ("--election-timeout-max-ms", ELECTION_MAX_MS),
    ] {
        command.args([flag, &ms.to_string()]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = |name: &str| {
        let line = lines.next().unwrap_or_else(|| panic!("node {id} did not start")).unwrap();
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
    };
    assert_eq!(said("node"), id.to_string());
    let address = said("address").parse().unwrap();
    let ticket = said("ticket").parse().unwrap();
    let metrics = said("metrics");
    let metrics = metrics.strip_prefix("http://").and_then(|it| it.strip_suffix("/metrics"));
    Spawned { child, ticket, address, metrics: metrics.unwrap().parse().unwrap() }
}

/// Runs a node that must not come up: its exit code and what it said.
pub(crate) fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> (ExitStatus, String) {
    let mut command = command();
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status, String::from_utf8(output.stderr).unwrap())
}

/// Nodes and a client.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Process>,
    pub(crate) client: Arc<Client>,
    folder: TempDir,
}

impl Cluster {
    /// Three nodes that have elected a leader.
    pub(crate) async fn start() -> Self {
        Self::start_in(|id, folder| Place::on_loopback(folder.join(id.to_string()))).await
    }

    /// The same in places that are found when a folder for all is there.
    pub(crate) async fn start_in(place: impl Fn(u64, &Path) -> Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = |id: u64| (id, Process::start(id, place(id, folder.path())));
        let nodes: BTreeMap<u64, Process> = (1..=3).map(start).collect();
        let client = client_of(nodes.values(), PATIENCE).await;
        let voters = nodes.values().map(|node| (NodeId(node.id), node.address.to_string()));
        client.control(ControlBody::Init { voters: voters.collect() }).await.unwrap();
        let cluster = Self { nodes, client, folder };
        cluster.leader().await;
        cluster
    }

    /// One more node, as a learner that has caught up.
    pub(crate) async fn join(&mut self, id: u64) {
        let place = Place::on_loopback(self.folder.path().join(id.to_string()));
        let node = Process::start(id, place);
        let address = node.address.to_string();
        self.nodes.insert(id, node);
        let learner = ControlBody::AddLearner { node: NodeId(id), address };
        self.client.control(learner).await.unwrap();
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Process {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Waits until a majority of the nodes that run agree on a leader that runs.
    pub(crate) async fn leader(&self) -> u64 {
        self.until("a leader", |states| {
            let leader = states.iter().filter_map(|state| state.leader).max_by_key(|leader| {
                states.iter().filter(|state| state.leader == Some(*leader)).count()
            })?;
            let term = states.iter().map(|state| state.term).max()?;
            let agree = states.iter().filter(|it| it.leader == Some(leader) && it.term == term);
            let runs = states.iter().any(|state| state.id == leader);
            // A node that is not in the cluster yet knows of no voters.
            let voters = states.iter().filter_map(|state| state.voters.first()).map(BTreeSet::len);
            (runs && agree.count() * 2 > voters.max()?).then_some(leader.0)
        })
        .await
    }

    /// Waits until another than this one leads a majority that runs.
    pub(crate) async fn another_leader(&self, than: u64) -> u64 {
        let changed = async {
            loop {
                let leader = self.leader().await;
                if leader != than {
                    return leader;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, changed).await;
        found.unwrap_or_else(|_| panic!("node {than} leads on"))
    }

    /// Asserts that a new client finds service without this node in time.
    pub(crate) async fn served_without(&self, gone: u64, bound: Duration) {
        let begun = Instant::now();
        let stalled = Arc::new(AtomicU64::new(0));
        let watching = tokio::spawn(count_stalls(stalled.clone()));
        let left = self.nodes.values().filter(|node| node.id != gone && node.runs());
        let client = client_of(left, PATIENCE).await;
        let (key, value) = (Bytes::from("still"), Bytes::from("there"));
        let written = client.write(Set { key, value }).await;
        let took = begun.elapsed();
        watching.abort();
        if written != Ok(Reply::Done) || took > bound {
            // Terms say how often was voted, and stalls whether anybody could.
            let stalled = stalled.load(Ordering::Relaxed);
            let states = self.client.states().await;
            panic!(
                "{written:?} after {took:?}, allowed are {bound:?}; timers here were late \
                 for {stalled} ms of that: {states:#?}"
            );
        }
    }

    /// Waits until every node has applied what any had when this was asked.
    pub(crate) async fn caught_up(&self) {
        let applied = |states: &[ClusterState]| -> Vec<Option<u64>> {
            states.iter().map(|state| state.applied_index).collect()
        };
        let goal = self.until("what is applied", |states| applied(states).into_iter().max()).await;
        let what = format!("everybody to apply {goal:?}");
        let all = self.nodes.len();
        let reached = |states: &[ClusterState]| {
            let there = applied(states).into_iter().filter(|index| *index >= goal).count();
            (there == all).then_some(())
        };
        self.until(&what, reached).await;
    }

    /// Asserts, when nobody writes any more, that all nodes come to hold the same, and something.
    pub(crate) async fn assert_same_data(&self) {
        self.caught_up().await;
        let mut copies = Vec::new();
        for node in self.nodes.values() {
            let client = client_of(std::iter::once(node), PATIENCE).await;
            let all = Scan { prefix: Bytes::new(), after: None, limit: 1000 };
            copies.push(client.scan(all, Consistency::Stale).await.unwrap());
        }
        assert!(!copies[0].rows.is_empty());
        assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "{copies:?}");
    }

    /// Waits until what the nodes say of the cluster gives an answer.
    pub(crate) async fn until<V>(
        &self,
        what: &str,
        look: impl Fn(&[ClusterState]) -> Option<V>,
    ) -> V {
        let looking = async {
            loop {
                let states = self.client.states().await.into_iter();
                let states: Vec<ClusterState> =
                    states.filter_map(|(_, state)| state.ok()).collect();
                if let Some(answer) = look(&states) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("waited for {what} in vain"))
    }
}

/// Counts the milliseconds for which a timer is late, if that is more than a scheduler's doing.
async fn count_stalls(stalled: Arc<AtomicU64>) {
    let nap = Duration::from_millis(10);
    loop {
        let begun = Instant::now();
        tokio::time::sleep(nap).await;
        let late = begun.elapsed().saturating_sub(nap).as_millis();
        if late > 50 {
            stalled.fetch_add(late as u64, Ordering::Relaxed);
        }
    }
}

/// A client that knows these nodes.
pub(crate) async fn client_of(
    nodes: impl Iterator<Item = &Process>,
    patience: Duration,
) -> Arc<Client> {
    // What a node printed of others may be old by now; what it said of itself is not.
    let mut ticket: Option<Ticket> = None;
    for node in nodes {
        let ticket = ticket.get_or_insert_with(|| node.ticket.clone());
        ticket.nodes.retain(|_, address| address.0.id != node.address.0.id);
        ticket.nodes.insert(NodeId(node.id), node.address.clone());
    }
    Arc::new(Client::new(&ticket.expect("a node"), patience).await.unwrap())
}
