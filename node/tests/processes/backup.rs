//! Backups of running clusters, clusters made of backups, and clusters that lost their quorum.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{COOKIE, Cluster, PATIENCE, Place, Process, client_of, command};
use aspen_cli::Client;
use aspen_core::NodeId;
use aspen_core::api::{
    ClientBody, ClientRequest, ClientResponse, Consistency, ControlBody, Scan, Written,
};
use aspen_core::codec::{self, Request, Response};
use aspen_core::command::{Command, Reply, SessionStamp};
use aspen_core::transport::{Lane, Transport};
use aspen_transport_iroh::{Credentials, IrohTransport, SecretKey, Settings, Ticket, TokioRuntime};
use bytes::Bytes;
use tempfile::TempDir;

const NEW_COOKIE: &str = "the cookie of the cluster that comes after";
const USAGE: Option<i32> = Some(64);
const FAILED: Option<i32> = Some(1);

fn set(key: &str, value: &str) -> Command {
    let bytes = |text: &str| Bytes::from(text.to_owned());
    Command::Set { key: bytes(key), value: bytes(value) }
}

/// Runs a command of `aspen-node`: exit code, and what it printed where.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Asserts that a command does nothing and says so in one line with these words.
fn assert_refused(arguments: &[&str], exit: Option<i32>, words: &str) -> String {
    let (code, printed, said) = run(arguments);
    assert_eq!(code, exit, "{arguments:?}: {said}");
    assert!(said.starts_with("aspen-node: ") && said.contains(words), "{words}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    printed
}

fn backup(ticket: &Ticket, file: &Path) -> String {
    let ticket = ticket.to_string();
    let out = file.to_str().unwrap();
    let (code, printed, said) = run(&["backup", "--ticket", &ticket, "--out", out]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{printed}");
    printed
}

/// Where a node that does not run yet will listen.
fn free_address() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn restore<'a>(data: &'a Path, from: &'a Path, bind: &'a str, cookie: &'a str) -> Vec<&'a str> {
    let (data, from) = (data.to_str().unwrap(), from.to_str().unwrap());
    let node = ["restore", "--node-id", "7", "--cookie", cookie, "--bind", bind];
    [&node[..], &["--data-dir", data, "--from", from]].concat()
}

/// A client that writes `w/0`, `w/1` and so on, each after the one before it is acknowledged.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(client: Arc<Client>) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let count = acknowledged.clone();
        let task = tokio::spawn(async move {
            let mut session = client.open_session().await.unwrap();
            for number in 0.. {
                let written = session.write(set(&format!("w/{number:08}"), "there")).await;
                assert_eq!(written, Ok(Reply::Done));
                count.store(number + 1, Ordering::SeqCst);
            }
        });
        Self { acknowledged, task }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    async fn reach(&self, count: u64) {
        let waiting = async {
            while self.acknowledged() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the cluster serves");
    }

    async fn stop(self) -> u64 {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "the writer failed");
        self.acknowledged.load(Ordering::SeqCst)
    }
}

/// How many of the writer's keys are there; they must be the first ones, without a gap.
async fn written(client: &Client) -> u64 {
    let (mut after, mut count) = (None, 0);
    loop {
        let scan = Scan { prefix: Bytes::from_static(b"w/"), after, limit: 1000 };
        let page = client.scan(scan, Consistency::Linearizable).await.unwrap();
        for (key, value) in &page.rows {
            assert_eq!((key, &value[..]), (&Bytes::from(format!("w/{count:08}")), &b"there"[..]));
            count += 1;
        }
        after = page.rows.last().map(|(key, _)| key.clone());
        if !page.more {
            return count;
        }
    }
}

/// Asks a node once, as it stands in the protocol.
async fn ask(node: &Process, stamp: Option<SessionStamp>, command: Command) -> Written {
    let credentials = Credentials::Client(node.ticket.secret.clone());
    let settings = Settings::new(SecretKey::generate(), credentials, ([0, 0, 0, 0], 0).into());
    let transport = IrohTransport::bind(settings).await.unwrap();
    transport.learn(NodeId(node.id), &node.address.to_string());
    let body = ClientBody::Write { stamp, command };
    let request = Request::<TokioRuntime>::Client(ClientRequest { forwarded: false, body });
    let frame = codec::encode(&request).unwrap();
    let answer = transport.call(NodeId(node.id), Lane::Client, frame).await.unwrap();
    transport.close().await;
    let answer = codec::decode::<Response<TokioRuntime>>(&answer).unwrap();
    let Response::Client(ClientResponse::Written(written)) = answer else { panic!("{answer:?}") };
    written
}

/// Two new nodes learn, become voters beside the first, and serve without it.
async fn grow(first: Process, folder: &Path) -> (Arc<Client>, Vec<Process>) {
    let client = client_of([&first].into_iter(), PATIENCE).await;
    let mut nodes = vec![first];
    for id in [8, 9] {
        let data = folder.join(id.to_string());
        let node = Process::start_at(id, data, "127.0.0.1:0", NEW_COOKIE);
        let address = node.address.to_string();
        client.control(ControlBody::AddLearner { node: NodeId(id), address }).await.unwrap();
        nodes.push(node);
    }
    let voters = nodes.iter().map(|node| NodeId(node.id)).collect();
    client.control(ControlBody::ChangeMembership { voters }).await.unwrap();
    let client = client_of(nodes.iter(), PATIENCE).await;
    nodes[0].kill();
    assert_eq!(client.write(set("without", "the first")).await, Ok(Reply::Done));
    (client, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_becomes_a_new_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let cluster = Cluster::start().await;
    let leader = &cluster.nodes[&cluster.leader().await];
    ask(leader, None, set("once", "taken")).await;
    let Reply::SessionOpened(session) =
        ask(leader, None, Command::OpenSession { ttl_ms: 3_600_000 }).await.reply
    else {
        panic!("no session")
    };
    let stamp = Some(SessionStamp { session, sequence: 1 });
    let take = Command::Delete { key: Bytes::from_static(b"once") };
    let taken = Reply::Removed(Some(Bytes::from_static(b"taken")));
    assert_eq!(ask(leader, stamp, take.clone()).await.reply, taken);

    let writer = Writer::start(cluster.client.clone());
    writer.reach(200).await;
    // Any node gives one, each with all that was acknowledged before.
    for node in cluster.nodes.values() {
        let before = writer.acknowledged();
        let printed = backup(&node.ticket, &file);
        assert!(printed.contains(" keys and ") && printed.contains("up to entry"), "{printed}");
        writer.reach(before + 20).await;
        let data = folder.path().join(format!("restored from {}", node.id));
        let bind = free_address();
        let (code, printed, said) = run(&restore(&data, &file, &bind, NEW_COOKIE));
        assert_eq!((code, said.as_str()), (Some(0), ""));
        let restored = Process::start_at(7, data, &bind, NEW_COOKIE);
        assert!(printed.contains(&format!("address {}\n", restored.address)), "{printed}");
        let client = client_of([&restored].into_iter(), PATIENCE).await;
        let found = written(&client).await;
        assert!((before..=writer.acknowledged()).contains(&found), "{found} after {before}");
    }
    let acknowledged = writer.stop().await;
    let entries: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap()).collect();
    assert_eq!(entries.len(), 4, "three folders and a file, nothing unfinished: {entries:?}");

    let data = folder.path().join("restored from 3");
    let first = Process::start_at(7, data, &free_address(), NEW_COOKIE);
    // The sessions are there, too: a retry gets the answer that was given before the backup.
    let client = client_of([&first].into_iter(), PATIENCE).await;
    assert_eq!(client.write(set("once", "more")).await, Ok(Reply::Done));
    assert_eq!(ask(&first, stamp, take).await.reply, taken);
    let held = client.get(Bytes::from_static(b"once"), Consistency::Linearizable).await;
    assert_eq!(held, Ok(Some(Bytes::from_static(b"more"))));
    let state = client.state().await.unwrap();
    assert_eq!(state.voters, [[NodeId(7)].into()]);
    let (client, _nodes) = grow(first, folder.path()).await;
    assert!(written(&client).await <= acknowledged);
}

/// A backup of a cluster of one node, and the node.
async fn small() -> (TempDir, Process, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let node = Process::start(1, Place::on_loopback(folder.path().join("1")));
    let client = client_of([&node].into_iter(), PATIENCE).await;
    let voters = [(NodeId(1), node.address.to_string())].into();
    client.control(ControlBody::Init { voters }).await.unwrap();
    assert_eq!(client.write(set("key", &"value ".repeat(1000))).await, Ok(Reply::Done));
    let file = folder.path().join("backup");
    backup(&node.ticket, &file);
    (folder, node, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_whole_backup_is_refused() {
    let (folder, _node, file) = small().await;
    let whole = fs::read(&file).unwrap();
    let data = folder.path().join("data");
    let bind = free_address();
    let damaged = folder.path().join("damaged");
    let refused = |bytes: &[u8], words: &str| {
        fs::write(&damaged, bytes).unwrap();
        assert_refused(&restore(&data, &damaged, &bind, NEW_COOKIE), USAGE, words);
        assert!(!data.exists(), "something was written");
    };
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let end = whole.len();
    for at in [line, line + 4, line + 10, line + 2000, end - 40, end - 36, end - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        refused(&bytes, "damaged: ");
    }
    // A digit of the first line: what it says then can be read, and is not what was written.
    let mut bytes = whole.clone();
    let digit = bytes.windows(8).position(|it| it == b"\"index\":").unwrap() + 8;
    bytes[digit] ^= 1;
    refused(&bytes, "damaged: its hash does not fit its bytes");
    for length in [line, line + 2, line + 100, end - 33, end - 1] {
        refused(&whole[..length], "damaged: cut off: it ends before its hash, after byte ");
    }
    refused(&[&whole[..], b"."].concat(), "damaged: something follows its end at byte ");
    refused(b"", "damaged: no backup");
    refused(b"dear diary\n", "damaged: no backup: its first line is not what ");
    refused(b"{\"aspen-backup\":2}\n", "damaged: its format is 2, and this build reads");
    let nowhere = folder.path().join("nowhere");
    assert_refused(&restore(&data, &nowhere, &bind, NEW_COOKIE), USAGE, "nowhere: No such file");
    assert_refused(&restore(&data, &file, &bind, COOKIE), USAGE, "--cookie: it is the cookie of");
    assert_refused(&restore(&data, &file, "127.0.0.1:0", NEW_COOKIE), USAGE, "--bind 127.0.0.1:0");
    assert!(!data.exists(), "something was written");

    // A restore that fails after that leaves nothing either.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_bind = taken.local_addr().unwrap().to_string();
    assert_refused(&restore(&data, &file, &taken_bind, NEW_COOKIE), FAILED, "--bind ");
    assert!(!data.exists(), "something was left");
    let (code, _, said) = run(&restore(&data, &file, &bind, NEW_COOKIE));
    assert_eq!((code, said.as_str()), (Some(0), ""), "the whole one is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_takes_an_empty_folder_only() {
    let (folder, mut node, file) = small().await;
    let bind = free_address();
    let data = node.place.folder.clone();
    let arguments = restore(&data, &file, &bind, NEW_COOKIE);
    assert_refused(&arguments, USAGE, "it belongs to node 1; expected an empty folder");
    node.terminate();
    assert_refused(&arguments, USAGE, "it belongs to node 1; expected an empty folder");
    node.restart();
    let letters = folder.path().join("letters");
    fs::create_dir(&letters).unwrap();
    fs::write(letters.join("mother.txt"), "dear").unwrap();
    let arguments = restore(&letters, &file, &bind, NEW_COOKIE);
    assert_refused(&arguments, USAGE, "there is a `mother.txt` and no identity.json");
    assert_eq!(fs::read_dir(&letters).unwrap().count(), 1, "something was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_fails_leaves_no_file_and_the_old_one() {
    let mut cluster = Cluster::start().await;
    cluster.client.write(set("key", "value")).await.unwrap();
    let leader = cluster.leader().await;
    let ticket = cluster.nodes[&leader].ticket.to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    fs::write(&file, "the one of yesterday").unwrap();
    let out = file.to_str().unwrap();
    assert_refused(
        &["backup", "--ticket", "rubbish", "--out", out],
        USAGE,
        "--ticket or ASPEN_TICKET: not a ticket",
    );
    assert_refused(&["backup", "--ticket", &ticket], USAGE, "--out <FILE>");
    let nowhere = ["backup", "--ticket", &ticket, "--out", "/nonexistent/backup"];
    assert_refused(&nowhere, USAGE, "--out /nonexistent/backup: No such file");
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.node(id).kill();
    }
    // Without a quorum nobody can say what was acknowledged.
    let hurried = ["backup", "--ticket", &ticket, "--out", out, "--timeout-ms", "2000"];
    assert_refused(&hurried, FAILED, "no node gave a copy: node ");
    assert_eq!(fs::read_to_string(&file).unwrap(), "the one of yesterday");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left");
    let (code, printed, said) = run(&[&hurried[..], &["--no-quorum"]].concat());
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(printed.contains(": 1 keys and "), "{printed}");
    cluster.node(leader).kill();
    assert_refused(&[&hurried[..], &["--no-quorum"]].concat(), FAILED, "no node gave a copy");
}

fn recover(data: &Path, cookie: &str, more: &[&str]) -> Vec<String> {
    let arguments = ["recover", "--data-dir", data.to_str().unwrap(), "--cookie", cookie];
    arguments.iter().chain(more).map(|it| (*it).to_owned()).collect()
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

const ACCEPT: &[&str] = &["--accept-data-loss"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_is_recovered_from_one_node() {
    let mut cluster = Cluster::start().await;
    let writer = Writer::start(cluster.client.clone());
    writer.reach(200).await;
    let acknowledged = writer.stop().await;
    let leader = cluster.leader().await;
    let survivor = (1..=3).find(|id| *id != leader).unwrap();
    let last = cluster.client.state().await.unwrap().committed_index;
    cluster
        .until("the survivor to have all", |states| {
            let has = |it: &&aspen_core::api::ClusterState| it.id.0 == survivor;
            states.iter().find(has).filter(|it| it.applied_index >= last).map(drop)
        })
        .await;
    for id in (1..=3).filter(|id| *id != survivor) {
        cluster.node(id).kill();
    }
    let data = cluster.node(survivor).place.folder.clone();
    let accepted = recover(&data, NEW_COOKIE, ACCEPT);
    assert_refused(&texts(&accepted), USAGE, "another process is using it");
    cluster.node(survivor).kill();

    // Without the confirmation it only says what it would do.
    let identity = fs::read(data.join("identity.json")).unwrap();
    let asked = recover(&data, NEW_COOKIE, &[]);
    let printed = assert_refused(&texts(&asked), USAGE, "expected --accept-data-loss");
    for words in ["of the voters 1,2,3", "its log reaches to entry ", "kept: all", "lost: "] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert_eq!(fs::read(data.join("identity.json")).unwrap(), identity);
    let again = assert_refused(&texts(&asked), USAGE, "expected --accept-data-loss");
    assert_eq!(again, printed, "nothing was changed");
    cluster.node(survivor).restart();
    cluster.node(survivor).kill();
    let same = recover(&data, COOKIE, ACCEPT);
    assert_refused(&texts(&same), USAGE, "--cookie: it is the cookie that the cluster has");

    let (code, printed, said) = run(&texts(&accepted));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let done = format!("makes node {survivor} the only voter");
    assert!(printed.contains("lost: ") && printed.contains(&done), "{printed}");
    let bind = cluster.node(survivor).address.0.ip_addrs().next().unwrap().to_string();
    let recovered = Process::start_at(survivor, data, &bind, NEW_COOKIE);
    assert_eq!(recovered.address, cluster.node(survivor).address);
    let client = client_of([&recovered].into_iter(), PATIENCE).await;
    // One more may have been under way when the writer was stopped.
    let found = written(&client).await;
    assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} of {acknowledged}");
    assert_eq!(client.write(set("life", "goes on")).await, Ok(Reply::Done));
    let before = client.state().await.unwrap();
    assert_eq!(before.voters, [[NodeId(survivor)].into()]);

    // The lost nodes come back, a quorum of what was: nobody of either cluster hears the other.
    for id in (1..=3).filter(|id| *id != survivor) {
        cluster.node(id).restart();
    }
    let others = cluster.nodes.values().filter(|node| node.id != survivor);
    let theirs = client_of(others, PATIENCE).await;
    assert_eq!(theirs.write(set("life", "of their own")).await, Ok(Reply::Done));
    let life = client.get(Bytes::from_static(b"life"), Consistency::Linearizable).await;
    assert_eq!(life, Ok(Some(Bytes::from_static(b"goes on"))));
    let after = client.state().await.unwrap();
    assert_eq!((after.term, after.leader), (before.term, before.leader));
    // Nor can the folder of one of them be used in the new cluster.
    cluster.node(leader).kill();
    let folder = cluster.node(leader).place.folder.to_str().unwrap().to_owned();
    let id = leader.to_string();
    let lost = ["--node-id", &id, "--cookie", NEW_COOKIE, "--data-dir", &folder];
    assert_refused(&lost, FAILED, "it belongs to another cluster");

    let more = tempfile::tempdir().unwrap();
    let (client, _nodes) = grow(recovered, more.path()).await;
    assert_eq!(written(&client).await, found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_was_cut_short_is_finished_first() {
    let (_folder, mut node, _) = small().await;
    node.kill();
    let data = node.place.folder.clone();
    // As a recovery leaves the folder that ends before its end.
    fs::write(data.join("recovering"), "\"\"").unwrap();
    let folder = data.to_str().unwrap();
    let start = ["--node-id", "1", "--cookie", COOKIE, "--data-dir", folder];
    assert_refused(&start, FAILED, "a recovery of it was cut short");
    for _ in 0..2 {
        let (code, _, said) = run(&texts(&recover(&data, NEW_COOKIE, ACCEPT)));
        assert_eq!((code, said.as_str()), (Some(0), ""));
        // Twice: the second time as if it had ended just before its end.
        fs::write(data.join("recovering"), "\"\"").unwrap();
    }
    fs::remove_file(data.join("recovering")).unwrap();
    let bind = node.address.0.ip_addrs().next().unwrap().to_string();
    let node = Process::start_at(1, data, &bind, NEW_COOKIE);
    let client = client_of([&node].into_iter(), PATIENCE).await;
    assert_eq!(client.write(set("life", "goes on")).await, Ok(Reply::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_to_recover_in_a_folder_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = recover(&data, NEW_COOKIE, ACCEPT);
    assert_refused(&texts(&arguments), USAGE, "identity.json: No such file");
    assert!(!data.exists(), "something was written");
    let mut node = Process::start(1, Place::on_loopback(data));
    node.terminate();
    assert_refused(&texts(&arguments), USAGE, "node 1 was never a member of a cluster");
    node.restart();
}
