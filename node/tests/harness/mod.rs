//! Real nodes: processes of `aspen-node` on loopback, and a client of the cluster that they form.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aspen_cli::Client;
use aspen_core::NodeId;
use aspen_core::api::{ClusterState, ControlBody};
use aspen_transport_iroh::{PeerAddress, Ticket};
use tempfile::TempDir;

pub(crate) const COOKIE: &str = "the cookie of the tests with processes";
pub(crate) const HEARTBEAT_MS: u64 = 100;
pub(crate) const ELECTION_MIN_MS: u64 = 300;
pub(crate) const ELECTION_MAX_MS: u64 = 600;
/// How long anything may take that is not held up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One node, running or not.
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) folder: PathBuf,
    pub(crate) ticket: Ticket,
    pub(crate) address: PeerAddress,
    child: Option<Child>,
}

impl Process {
    /// Starts a node that nobody knows yet, on a port of the system's choice.
    pub(crate) fn start(id: u64, folder: PathBuf) -> Self {
        let (child, address, ticket) = spawn(id, &folder, "127.0.0.1:0", &[]);
        Self { id, folder, ticket, address, child: Some(child) }
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        let (child, address, _) = spawn(self.id, &self.folder, &self.socket().to_string(), &[]);
        assert_eq!(address, self.address, "a node keeps its identity");
        self.child = Some(child);
    }

    /// Starts it again on another port, with the same data folder. Where it was, nobody answers.
    pub(crate) fn restart_elsewhere(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        let _taken = UdpSocket::bind(self.socket()).unwrap();
        let (child, address, ticket) = spawn(self.id, &self.folder, "127.0.0.1:0", flags);
        assert_eq!(address.0.id, self.address.0.id, "a node keeps its identity");
        assert_ne!(address, self.address);
        (self.address, self.ticket) = (address, ticket);
        self.child = Some(child);
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

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
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

fn spawn(id: u64, folder: &Path, bind: &str, flags: &[&str]) -> (Child, PeerAddress, Ticket) {
    let mut command = command();
    command.args(["--node-id", &id.to_string(), "--cookie", COOKIE, "--bind", bind]);
    command.arg("--disable-mdns").args(flags).arg("--data-dir").arg(folder);
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
    (child, address, ticket)
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
        let folder = tempfile::tempdir().unwrap();
        let start = |id: u64| (id, Process::start(id, folder.path().join(id.to_string())));
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
        let node = Process::start(id, self.folder.path().join(id.to_string()));
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
