//! What a node answers a leader that asks whether its term is the latest.

use std::sync::Arc;

use aspen_core::codec::{self, Request, Response};
use aspen_core::storage::{self, Storage, StorageConfig};
use aspen_core::transport::{Lane, Transport, TransportError};
use aspen_core::types::Vote;
use aspen_core::{NodeId, node::Node, node::NodeConfig};
use aspen_sim::disk::{DiskConfig, SimDisk};
use aspen_tests::transport_conformance::{A, B};
use aspen_transport_sim::{LinkLaw, Network, SimRuntime, SimTransport, run_isolated};
use openraft::storage::RaftLogStorage;

async fn ask(from: &SimTransport, lane: Lane, term: u64) -> Result<bool, TransportError> {
    let frame = codec::encode(&Request::<SimRuntime>::Confirm { term }).expect("a short frame");
    let answer = from.call(B, lane, frame).await?;
    match codec::decode(&answer) {
        Ok(Response::<SimRuntime>::Confirmed(confirmed)) => Ok(confirmed),
        other => panic!("an answer to another request: {other:?}"),
    }
}

/// Its stored vote counts, also one that it has not told its consensus loop of since it started.
#[test]
fn a_leader_of_an_earlier_term_than_the_stored_one_is_not_confirmed() {
    run_isolated(1, || async {
        let volume = SimDisk::new(DiskConfig::default()).mount();
        let opened = storage::open::<SimRuntime, _>(Arc::new(volume), &StorageConfig::default());
        let Storage { mut log, machine, store } = opened.expect("the disk is healthy");
        log.save_vote(&Vote::new(5, NodeId(9))).await.expect("the disk is healthy");
        let network = Network::new(1, LinkLaw::default());
        let (asking, asked) = (network.endpoint(A), network.endpoint(B));
        let node = Node::start(NodeConfig::new(B), asked, log, machine, store).await;
        let _node = node.expect("it starts");

        assert_eq!(ask(&asking, Lane::Control, 4).await, Ok(false));
        assert_eq!(ask(&asking, Lane::Control, 5).await, Ok(true));
        assert_eq!(ask(&asking, Lane::Control, 6).await, Ok(true));
        let refused = ask(&asking, Lane::Client, 5).await;
        assert!(matches!(refused, Err(TransportError::Refused { .. })), "clients are no leaders");
    })
    .expect("no panic");
}
