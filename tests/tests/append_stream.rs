//! What the leader's side of the append stream sends, and when.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aspen_core::codec::{self, AppendFrame, AppendResultFrame, Open};
use aspen_core::limits::COMMIT_WAIT;
use aspen_core::network::{Deadlines, Network};
use aspen_core::transport::{FrameReceiver, FrameSender, Handler, Lane, Transport, TransportError};
use aspen_core::types::{CommittedLeaderId, Entry, LogId, Vote};
use aspen_core::{NodeId, RaftConfig};
use aspen_tests::transport_conformance::{A, B};
use aspen_transport_sim::network::{SimReceiver, SimSender};
use aspen_transport_sim::{LinkLaw, Network as SimNetwork, SimRuntime, SimTransport, run_isolated};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::TypeConfigExt;
use openraft::{BasicNode, EntryPayload, RaftNetworkFactory, RaftNetworkV2};

type Config = RaftConfig<SimRuntime>;
type Request = AppendEntriesRequest<Config>;

const LEADER: NodeId = A;
const TERM: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(1);

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(TERM), index)
}

/// A request behind `previous` that tells of commits up to `committed`, with an entry or without.
fn request(previous: u64, committed: u64, entry: bool) -> Request {
    let next = Entry { log_id: log_id(previous + 1), payload: EntryPayload::Blank };
    AppendEntriesRequest {
        vote: Vote::new_committed(TERM, LEADER),
        prev_log_id: Some(log_id(previous)),
        leader_commit: Some(log_id(committed)),
        entries: if entry { vec![next] } else { Vec::new() },
    }
}

/// A follower that confirms whatever it is sent, and remembers it: how many milliseconds after
/// the first, how many entries, and up to where they are committed.
#[derive(Default)]
struct Follower(Mutex<Vec<(u64, usize, u64)>>);

impl Handler<SimTransport> for Follower {
    async fn call(&self, _lane: Lane, _request: Bytes) -> Result<Bytes, TransportError> {
        Err(TransportError::Refused { reason: "entries come on a stream".to_owned() })
    }

    async fn stream(&self, _lane: Lane, mut sender: SimSender, mut receiver: SimReceiver) {
        let opening = receiver.recv().await.unwrap().unwrap();
        assert!(matches!(codec::decode(&opening), Ok(Open::Append)));
        let mut first = None;
        while let Ok(Some(frame)) = receiver.recv().await {
            let AppendFrame(request) = codec::decode::<AppendFrame<SimRuntime>>(&frame).unwrap();
            let ms = (Config::now() - *first.get_or_insert_with(Config::now)).as_millis() as u64;
            let committed = request.leader_commit.unwrap().index;
            self.0.lock().unwrap().push((ms, request.entries.len(), committed));
            let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
            let result = AppendResultFrame::<SimRuntime>(Ok(last));
            sender.send(codec::encode(&result).unwrap()).await.unwrap();
        }
    }
}

/// Sends requests, each so many milliseconds after the one before; gives what the follower got.
fn send(requests: Vec<(u64, Request)>) -> Vec<(u64, usize, u64)> {
    run_isolated(1, || async {
        let network =
            SimNetwork::new(1, LinkLaw { delay_us_min: 0, delay_us_max: 0, ..LinkLaw::default() });
        let (leader, follower) = (network.endpoint(A), network.endpoint(B));
        let heard = Arc::new(Follower::default());
        let serving = heard.clone();
        drop(Config::spawn(async move { follower.serve(serving).await }));
        Config::yield_now().await;
        let deadlines = Deadlines { append: PATIENCE, snapshot: PATIENCE };
        let mut network = Network::<SimRuntime, _>::new(LEADER, leader, deadlines);
        let mut connection = network.new_client(B, &BasicNode::new("")).await;
        let requests = stream::iter(requests).then(|(ms, request)| async move {
            Config::sleep(Duration::from_millis(ms)).await;
            request
        });
        let session = connection.stream_append(Box::pin(requests), RPCOption::new(PATIENCE)).await;
        let mut session = session.unwrap();
        while let Some(result) = session.next().await {
            assert!(matches!(result, Ok(Ok(Some(_)))), "{result:?}");
        }
        drop(session);
        heard.0.lock().unwrap().clone()
    })
    .unwrap()
}

#[test]
fn news_of_commits_go_along_with_the_entries_that_follow() {
    let got =
        send(vec![(0, request(4, 3, true)), (1, request(5, 5, false)), (1, request(5, 5, true))]);
    assert_eq!(got, [(0, 1, 3), (2, 1, 5)]);
}

#[test]
fn news_of_commits_go_alone_when_no_entries_follow() {
    let wait = COMMIT_WAIT.as_millis() as u64;
    let got = send(vec![
        (0, request(4, 3, true)),
        (1, request(5, 4, false)),
        // The wait is counted from the first of them, and the last of them is told.
        (1, request(5, 5, false)),
        (10 * wait, request(5, 5, true)),
    ]);
    assert_eq!(got, [(0, 1, 3), (1 + wait, 0, 5), (2 + 10 * wait, 1, 5)]);
}

#[test]
fn news_of_commits_wait_for_all_of_their_time_though_earlier_ones_went_along_with_entries() {
    let wait = COMMIT_WAIT.as_millis() as u64;
    let got = send(vec![
        (0, request(4, 3, true)),
        (1, request(5, 4, false)),
        (wait - 1, request(5, 5, true)),
        (1, request(6, 6, false)),
        (10 * wait, request(6, 6, true)),
    ]);
    let last = wait + 1;
    assert_eq!(got, [(0, 1, 3), (wait, 1, 5), (last + wait, 0, 6), (last + 10 * wait, 1, 6)]);
}

#[test]
fn a_first_request_without_entries_waits_for_nothing() {
    let got = send(vec![(0, request(4, 3, false)), (10, request(4, 4, false))]);
    assert_eq!(got[0], (0, 0, 3));
    assert_eq!(got.len(), 2);
}
