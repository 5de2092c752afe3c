//! The laws of calls.

use std::sync::Arc;

use aspen_core::limits::MESSAGE_BYTES_MAX;
use aspen_core::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;

use super::{A, B, NOBODY, Peer, World, soon};

/// A request comes back as the response, on each lane.
pub async fn a_call_is_answered_on_every_lane<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    for lane in Lane::ALL {
        let request = Bytes::from(format!("over {lane:?}"));
        let response = soon(&world, a.call(B, lane, request.clone())).await;
        assert_eq!(response, Some(Ok(request)));
    }
    assert_eq!(peer.requests().len(), Lane::ALL.len());
}

/// Many calls at once: none gets the response of another.
pub async fn every_call_gets_its_own_response<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let (a, world) = (a.clone(), world.clone());
            W::Runtime::spawn(async move {
                let request = Bytes::from(format!("number {number}"));
                let response = soon(&world, a.call(B, Lane::Client, request.clone())).await;
                response == Some(Ok(request))
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.expect("the task ends"), "each call gets its own response");
    }
}

/// A handler that takes its time holds up only its own caller.
pub async fn a_slow_call_holds_up_no_other<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let slow = {
        let a = a.clone();
        W::Runtime::spawn(async move { a.call(B, Lane::Client, Bytes::from("slow")).await })
    };
    while peer.requests().is_empty() {
        W::Runtime::sleep(world.patience() / 100).await;
    }
    let quick = soon(&world, a.call(B, Lane::Client, Bytes::from("quick"))).await;
    assert_eq!(quick, Some(Ok(Bytes::from("quick"))));
    assert_eq!(slow.await.expect("the task ends"), Ok(Bytes::from("slow")));
}

/// Dropping a call's future ends the wait for it and nothing else.
pub async fn a_dropped_call_leaves_the_others_alone<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let abandoned = soon(&world, a.call(B, Lane::Client, Bytes::from("slow"))).await;
    assert_eq!(abandoned, None, "the slow call outlasts the caller's patience");
    for number in 0..10 {
        let request = Bytes::from(format!("number {number}"));
        let response = soon(&world, a.call(B, Lane::Client, request.clone())).await;
        assert_eq!(response, Some(Ok(request)));
    }
    assert_eq!(peer.requests().len(), 11, "the abandoned request took effect");
}

/// What a handler refuses, its caller knows to have had no effect.
pub async fn a_refusal_reaches_the_caller<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let response = soon(&world, a.call(B, Lane::Client, Bytes::from("refuse"))).await;
    assert_eq!(response, Some(Err(TransportError::Refused { reason: "as asked".to_owned() })));
}

/// The limit itself passes, in both directions; one byte more is an error that names both.
pub async fn the_longest_frame_passes_and_a_longer_one_does_not<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let frame = |bytes| Bytes::from(vec![b'x'; bytes]);
    let too_large =
        TransportError::TooLarge { bytes: MESSAGE_BYTES_MAX + 1, limit: MESSAGE_BYTES_MAX };

    let longest = frame(MESSAGE_BYTES_MAX);
    let response = soon(&world, a.call(B, Lane::Client, longest.clone())).await;
    assert!(response == Some(Ok(longest.clone())), "the longest request and response pass");
    let response = soon(&world, a.call(B, Lane::Client, frame(MESSAGE_BYTES_MAX + 1))).await;
    assert_eq!(response, Some(Err(too_large.clone())));
    assert_eq!(peer.requests().len(), 1, "nothing of the longer one was sent");

    let opened = soon(&world, a.open(B, Lane::Client)).await.expect("opening ends");
    let (mut sender, mut receiver) = opened.expect("the peer is there");
    sender.send(Bytes::from("echo")).await.expect("the stream is open");
    sender.send(longest.clone()).await.expect("the longest frame passes");
    assert_eq!(sender.send(frame(MESSAGE_BYTES_MAX + 1)).await, Err(too_large));
    let echoed = soon(&world, receiver.recv()).await;
    assert!(echoed == Some(Ok(Some(longest))), "the refused frame harmed nothing");
}

/// A node that is not there costs its callers a moment, not their patience.
pub async fn a_node_that_is_not_there_is_unreachable<W: World>(world: W) {
    let (a, _) = Peer::<W::Runtime>::start(&world, A).await;
    let patience = world.patience() + world.idle_timeout();
    let a = Arc::new(a);
    let called = {
        let call = a.call(NOBODY, Lane::Control, Bytes::from("anyone?"));
        W::Runtime::timeout(patience, call).await.ok()
    };
    assert!(
        matches!(called, Some(Err(TransportError::Unreachable { to: NOBODY, .. }))),
        "{called:?}"
    );
    let opened = W::Runtime::timeout(patience, a.open(NOBODY, Lane::Control)).await.ok();
    let error = opened.expect("opening ends").err();
    assert!(matches!(error, Some(TransportError::Unreachable { to: NOBODY, .. })), "{error:?}");
}
