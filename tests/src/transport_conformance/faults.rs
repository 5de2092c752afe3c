//! The laws of cuts, kills and restarts.

use aspen_core::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;

use super::streams::{assert_prefix, frame, open};
use super::{A, B, Peer, World, eventually, soon};

/// A cut swallows what goes its way and nothing that goes the other way; a heal ends it.
pub async fn a_cut_link_answers_no_call<W: World>(world: W) {
    let (a, peer_a) = Peer::start(&world, A).await;
    let (b, peer_b) = Peer::start(&world, B).await;
    // Over a one-way link no connection is made, only used.
    for (from, to) in [(&a, B), (&b, A)] {
        let first = soon(&world, from.call(to, Lane::Control, Bytes::from("first"))).await;
        assert_eq!(first, Some(Ok(Bytes::from("first"))));
    }
    world.cut(A, B).await;
    let lost = soon(&world, a.call(B, Lane::Control, Bytes::from("there"))).await;
    assert_eq!(lost, None, "the request is swallowed");
    assert_eq!(peer_b.requests(), ["first"]);
    let lost = soon(&world, b.call(A, Lane::Control, Bytes::from("back"))).await;
    assert_eq!(lost, None, "the response is swallowed");
    assert_eq!(peer_a.requests(), ["first", "back"], "the request took effect");

    world.heal(A, B).await;
    for (from, to) in [(&a, B), (&b, A)] {
        let answered = || from.call(to, Lane::Control, Bytes::from("again"));
        let mut response = soon(&world, answered()).await;
        if response.is_none() {
            // A connection may have noticed the cut; the next call finds a new one.
            response = soon(&world, answered()).await;
        }
        assert_eq!(response, Some(Ok(Bytes::from("again"))));
    }
}

/// What is lost to a cut that ends in time is sent again.
pub async fn a_short_cut_delays_a_stream_and_loses_nothing<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    sender.send(frame(0)).await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(0)))));
    world.cut(A, B).await;
    // Whatever was under way when the link was cut has arrived or is lost by now.
    W::Runtime::sleep(world.idle_timeout() / 4).await;
    for number in 1..20 {
        sender.send(frame(number)).await.expect("the window has room");
    }
    W::Runtime::sleep(world.idle_timeout() / 4).await;
    assert_eq!(peer.streams()[0].frames.len(), 1, "nothing passes a cut link");
    world.heal(A, B).await;
    for number in 1..20 {
        assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(number)))));
    }
    sender.finish().await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(None)));
}

/// An end that hears nothing for the idle timeout gives up, and so does the other.
pub async fn a_lasting_cut_breaks_a_stream_at_both_ends<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    sender.send(frame(0)).await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(0)))));
    world.cut(A, B).await;
    let waited = W::Runtime::timeout(world.idle_timeout() / 2, receiver.recv()).await.ok();
    assert_eq!(waited, None, "a cut shows as delay at first");
    let limit = 2 * world.idle_timeout() + world.patience();
    let heard = W::Runtime::timeout(limit, receiver.recv()).await.ok();
    assert!(matches!(heard, Some(Err(TransportError::Broken { .. }))), "{heard:?}");
    let ended = || peer.streams()[0].ending.is_some();
    assert!(eventually::<W>(limit, ended).await, "the acceptor gives up, too");
    let record = &peer.streams()[0];
    assert!(matches!(record.ending, Some(Err(TransportError::Broken { .. }))), "{record:?}");
    let refused = soon(&world, sender.send(frame(1))).await;
    assert!(matches!(refused, Some(Err(TransportError::Broken { .. }))), "{refused:?}");
}

/// When the peer dies, its last frames are lost from the end, never from the middle.
pub async fn a_killed_peer_breaks_a_stream_after_a_prefix<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    for number in 0..40 {
        sender.send(frame(number)).await.expect("the window has room");
    }
    let some_arrived = || peer.streams().first().is_some_and(|it| it.frames.len() > 5);
    assert!(eventually::<W>(world.patience(), some_arrived).await);
    world.kill(B).await;
    let mut frames = Vec::new();
    let limit = 2 * world.idle_timeout() + world.patience();
    let ending = loop {
        match W::Runtime::timeout(limit, receiver.recv()).await {
            Ok(Ok(Some(frame))) => frames.push(frame),
            Ok(ending) => break Some(ending),
            Err(_elapsed) => break None,
        }
    };
    assert!(matches!(ending, Some(Err(TransportError::Broken { .. }))), "{ending:?}");
    assert_prefix(&frames, 40);
    assert_prefix(&peer.streams()[0].frames, 40);
}

/// A new incarnation answers calls and serves streams; the old one's streams are broken.
pub async fn a_restarted_node_answers_again<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, before) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    sender.send(frame(0)).await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(0)))));
    world.kill(B).await;
    let (_b, after) = Peer::<W::Runtime>::start(&world, B).await;
    let limit = 2 * world.idle_timeout() + world.patience();
    let heard = W::Runtime::timeout(limit, receiver.recv()).await.ok();
    assert!(matches!(heard, Some(Err(TransportError::Broken { .. }))), "{heard:?}");

    let response = soon(&world, a.call(B, Lane::Control, Bytes::from("hello"))).await;
    assert_eq!(response, Some(Ok(Bytes::from("hello"))));
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    sender.send(frame(1)).await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(1)))));
    assert_eq!(after.requests(), ["hello"]);
    assert!(before.requests().is_empty(), "nothing reaches an incarnation that is gone");
}
