//! The laws of streams without faults.

use aspen_core::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;

use super::{A, B, Peer, World, eventually, soon};

/// What a check holds of a stream.
pub(super) type Halves<W> = (
    <<W as World>::Transport as Transport>::Sender,
    <<W as World>::Transport as Transport>::Receiver,
);

/// Opens a stream on which the peer does what `order` says.
pub(super) async fn open<W: World>(
    world: &W,
    from: &W::Transport,
    lane: Lane,
    order: &'static str,
) -> Halves<W> {
    let opened = soon(world, from.open(B, lane)).await.expect("opening ends");
    let (mut sender, receiver) = opened.expect("the peer is there");
    sender.send(Bytes::from(order)).await.expect("the stream is open");
    (sender, receiver)
}

/// The `number`-th frame of a check.
pub(super) fn frame(number: usize) -> Bytes {
    Bytes::from(format!("frame {number}"))
}

/// A thousand frames there and back, sent while others are read.
pub async fn a_stream_keeps_the_order_of_a_thousand_frames<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    let sending = W::Runtime::spawn(async move {
        for number in 0..1000 {
            sender.send(frame(number)).await.expect("the stream is open");
        }
        sender.finish().await
    });
    for number in 0..1000 {
        assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(number)))));
    }
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(None)));
    assert_eq!(sending.await.expect("the task ends"), Ok(()));
}

/// Nothing is said on a stream for longer than any silence between endpoints may be.
pub async fn a_stream_without_frames_stays_open<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    for number in 0..2 {
        W::Runtime::sleep(world.idle_timeout() * 5 / 4).await;
        sender.send(frame(number)).await.expect("the stream is open");
        assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(number)))));
    }
}

/// A sender outruns a reader that does not read only by the window, and loses nothing.
pub async fn a_sender_waits_while_nobody_reads<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, _receiver) = open(&world, &a, Lane::Snapshot, "hold").await;
    let chunk = Bytes::from(vec![7; 256 << 10]);
    let mut sent = 0;
    let waits = loop {
        assert!(sent < 1000, "a window has a bound");
        let mut sending = Box::pin(sender.send(chunk.clone()));
        if let Some(result) = soon(&world, sending.as_mut()).await {
            result.expect("the stream is open");
            sent += 1;
            continue;
        }
        peer.release();
        break soon(&world, sending).await;
    };
    assert_eq!(waits, Some(Ok(())), "reading makes room for the frame that waited");
    sender.finish().await.expect("the stream is open");
    let ended = || peer.streams()[0].ending.is_some();
    assert!(eventually::<W>(world.patience(), ended).await);
    let record = &peer.streams()[0];
    assert_eq!((record.frames.len(), &record.ending), (sent + 1, &Some(Ok(()))));
}

/// `None` comes after the last frame, again and again; the other direction goes on.
pub async fn a_finished_direction_ends_after_its_last_frame<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Client, "echo").await;
    for number in 0..10 {
        sender.send(frame(number)).await.expect("the stream is open");
    }
    // The echo of all ten comes back over the direction that is still open.
    sender.finish().await.expect("the stream is open");
    for number in 0..10 {
        assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(number)))));
    }
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(None)));
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(None)), "the end stays the end");
    let record = &peer.streams()[0];
    assert_eq!((record.frames.len(), &record.ending), (10, &Some(Ok(()))));
}

/// Without a finish the peer sees a prefix of the frames and then a break, never an end.
pub async fn a_dropped_sender_breaks_its_direction<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, peer) = Peer::start(&world, B).await;
    let (mut sender, _receiver) = open(&world, &a, Lane::Client, "sink").await;
    // The first arrives surely; what follows may be lost with the break.
    sender.send(frame(0)).await.expect("the stream is open");
    let arrived = || peer.streams().first().is_some_and(|it| !it.frames.is_empty());
    assert!(eventually::<W>(world.patience(), arrived).await);
    for number in 1..10 {
        sender.send(frame(number)).await.expect("the stream is open");
    }
    drop(sender);
    let ended = || peer.streams()[0].ending.is_some();
    assert!(eventually::<W>(world.patience(), ended).await);
    let record = &peer.streams()[0];
    assert!(matches!(record.ending, Some(Err(TransportError::Broken { .. }))), "{record:?}");
    assert_prefix(&record.frames, 10);
}

/// A peer that reads no more does not leave its sender waiting.
pub async fn a_dropped_receiver_stops_its_sender<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let (mut sender, mut receiver) = open(&world, &a, Lane::Client, "leave").await;
    let chunk = Bytes::from(vec![7; 64 << 10]);
    let sending = async {
        loop {
            if let Err(error) = sender.send(chunk.clone()).await {
                break error;
            }
            W::Runtime::sleep(world.patience() / 1000).await;
        }
    };
    let error = soon(&world, sending).await;
    assert!(matches!(error, Some(TransportError::Broken { .. })), "{error:?}");
    let heard = soon(&world, receiver.recv()).await;
    assert!(matches!(heard, Some(Err(TransportError::Broken { .. }))), "{heard:?}");
}

/// Snapshots that nobody reads delay no heartbeat.
pub async fn a_full_lane_holds_up_no_other<W: World>(world: W) {
    let (a, _) = Peer::start(&world, A).await;
    let (_b, _) = Peer::start(&world, B).await;
    let (mut sender, _receiver) = open(&world, &a, Lane::Snapshot, "hold").await;
    let chunk = Bytes::from(vec![7; 256 << 10]);
    while soon(&world, sender.send(chunk.clone())).await.is_some() {}
    let heartbeat = soon(&world, a.call(B, Lane::Control, Bytes::from("heartbeat"))).await;
    assert_eq!(heartbeat, Some(Ok(Bytes::from("heartbeat"))));
    let (mut sender, mut receiver) = open(&world, &a, Lane::Replication, "echo").await;
    sender.send(frame(0)).await.expect("the stream is open");
    assert_eq!(soon(&world, receiver.recv()).await, Some(Ok(Some(frame(0)))));
}

/// Asserts that `frames` are the first of a check's frames, with none missing in between.
pub(super) fn assert_prefix(frames: &[Bytes], sent: usize) {
    assert!(frames.len() <= sent, "{} frames of {sent}", frames.len());
    for (number, seen) in frames.iter().enumerate() {
        assert_eq!(*seen, frame(number), "a break loses a suffix, nothing else");
    }
}
