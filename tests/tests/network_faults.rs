//! Each fault of the simulated network by itself.

use std::future::Future;
use std::time::Duration;

use aspen_core::transport::{FrameReceiver, FrameSender, Lane, Transport, TransportError};
use aspen_tests::simulated_network::{PATIENCE, Pair, Record, Seen, SimWorld, frame};
use aspen_tests::transport_conformance::{A, B, Peer, World};
use aspen_transport_sim::network::{DropReason, Fate, PassageKind};
use aspen_transport_sim::{LinkLaw, SimRuntime, run_isolated};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;

const ALWAYS: u32 = 1_000_000;

async fn soon<F>(future: F) -> Option<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    SimRuntime::timeout(PATIENCE, future).await.ok()
}

#[test]
fn a_lost_call_is_never_answered_and_harms_no_other() {
    run_isolated(1, || async {
        let pair = Pair::start(1, LinkLaw::default()).await;
        let lossy = LinkLaw { loss_ppm: ALWAYS, ..LinkLaw::default() };
        pair.network.set_law(A, B, lossy);
        let hour = Duration::from_secs(3600);
        let call = pair.a.call(B, Lane::Control, Bytes::from("lost"));
        assert!(SimRuntime::timeout(hour, call).await.is_err());
        assert!(pair.peer_b.requests().is_empty());
        assert_eq!(pair.network.counters().lost, 1);

        pair.network.set_law(A, B, LinkLaw::default());
        let next = soon(pair.a.call(B, Lane::Control, Bytes::from("next"))).await;
        assert_eq!(next, Some(Ok(Bytes::from("next"))));
    })
    .unwrap();
}

#[test]
fn a_cut_loses_what_enters_it_and_what_would_arrive_in_it() {
    run_isolated(1, || async {
        let ten_ms = LinkLaw { delay_us_min: 10_000, delay_us_max: 10_000, ..LinkLaw::default() };
        let pair = Pair::start(1, ten_ms).await;
        // Each call is sent at 0 ms and would arrive at 10 ms.
        for (cut_ms, heal_ms, arrives) in [(0, 5, false), (5, 15, false), (2, 8, true)] {
            let a = pair.a.clone();
            let before = pair.peer_b.requests().len();
            let call = async move { a.call(B, Lane::Control, Bytes::from("call")).await };
            if cut_ms == 0 {
                pair.network.cut(A, B);
            }
            let call = SimRuntime::spawn(async move { soon(call).await });
            SimRuntime::sleep(Duration::from_millis(cut_ms.max(1))).await;
            pair.network.cut(A, B);
            SimRuntime::sleep(Duration::from_millis(heal_ms - cut_ms.max(1))).await;
            pair.network.heal(A, B);
            let answered = call.await.unwrap().is_some();
            assert_eq!(answered, arrives, "cut from {cut_ms} to {heal_ms} ms");
            assert_eq!(pair.peer_b.requests().len() > before, arrives);
        }
        assert_eq!(pair.network.counters().cut, 2);
    })
    .unwrap();
}

#[test]
fn a_doubled_request_is_handled_twice_and_answered_once() {
    run_isolated(1, || async {
        let pair = Pair::start(1, LinkLaw::default()).await;
        let record = Record::watch(&pair.network);
        let doubling = LinkLaw { duplicate_ppm: ALWAYS, ..LinkLaw::default() };
        pair.network.set_law(A, B, doubling);
        let answer = soon(pair.a.call(B, Lane::Client, Bytes::from("once"))).await;
        assert_eq!(answer, Some(Ok(Bytes::from("once"))));
        SimRuntime::sleep(PATIENCE).await;
        assert_eq!(pair.peer_b.requests(), ["once", "once"]);
        assert_eq!(pair.network.counters().doubled, 1);
        let responses: Vec<Fate> = record
            .take()
            .iter()
            .filter(|seen| seen.kind == PassageKind::Response && seen.fate != Fate::Sent)
            .map(|seen| seen.fate)
            .collect();
        assert_eq!(responses, [Fate::Delivered, Fate::Dropped(DropReason::Unwanted)]);
    })
    .unwrap();
}

#[test]
fn calls_overtake_each_other() {
    run_isolated(1, || async {
        let uneven = LinkLaw { delay_us_max: 20_000, ..LinkLaw::default() };
        let pair = Pair::start(1, uneven).await;
        let calls: Vec<_> = (0..50)
            .map(|number| {
                let a = pair.a.clone();
                SimRuntime::spawn(async move { a.call(B, Lane::Client, frame(number)).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert!(pair.network.counters().overtaken > 10, "{:?}", pair.network.counters());
    })
    .unwrap();
}

/// Has twenty frames under way in each direction when the stream breaks; says how many arrived
/// at the acceptor and at the opener.
fn survivors_of_a_break(seed: u64) -> [usize; 2] {
    run_isolated(seed, move || async move {
        let pair = Pair::start(seed, LinkLaw::default()).await;
        let (mut sender, mut receiver) = pair.open(Lane::Replication, "echo").await;
        for number in 0..20 {
            sender.send(frame(number)).await.expect("the stream is open");
        }
        while pair.peer_b.streams().first().is_none_or(|it| it.frames.len() < 20) {
            SimRuntime::sleep(Duration::from_millis(1)).await;
        }
        // The echoes are under way or unread; more frames follow them in the other direction.
        for number in 20..40 {
            sender.send(frame(number)).await.expect("the stream is open");
        }
        pair.network.break_streams(A, B);
        // The sender has not been told; its finish must not hide what was lost.
        sender.finish().await.expect("the stream is open");
        let mut echoes = Vec::new();
        let ending = loop {
            match soon(receiver.recv()).await {
                Some(Ok(Some(echo))) => echoes.push(echo),
                ending => break ending,
            }
        };
        assert!(matches!(ending, Some(Err(TransportError::Broken { .. }))), "{ending:?}");
        // The two ends learn of the break at different times.
        SimRuntime::sleep(PATIENCE).await;
        let there = pair.peer_b.streams()[0].clone();
        assert!(matches!(there.ending, Some(Err(TransportError::Broken { .. }))), "{there:?}");
        for seen in [&there.frames, &echoes] {
            let prefix: Vec<Bytes> = (0..seen.len()).map(frame).collect();
            assert_eq!(*seen, prefix, "a break loses a suffix, nothing else");
        }
        assert_eq!(pair.network.counters().streams_broken, 1);
        [there.frames.len() - 20, echoes.len()]
    })
    .expect("the run ends")
}

#[test]
fn a_break_loses_a_suffix_in_each_direction_independently() {
    let survivors: Vec<[usize; 2]> = (0..40).map(survivors_of_a_break).collect();
    let some = |holds: fn(&[usize; 2]) -> bool| survivors.iter().any(holds);
    assert!(some(|it| it[0] > 10 && it[1] < 5), "{survivors:?}");
    assert!(some(|it| it[0] < 5 && it[1] > 10), "{survivors:?}");
}

#[test]
fn loss_on_a_stream_is_delay() {
    run_isolated(1, || async {
        let lossy = LinkLaw { loss_ppm: ALWAYS / 5, ..LinkLaw::default() };
        let pair = Pair::start(1, lossy).await;
        let (mut sender, mut receiver) = pair.open(Lane::Replication, "echo").await;
        for number in 0..500 {
            sender.send(frame(number)).await.unwrap();
            assert_eq!(soon(receiver.recv()).await, Some(Ok(Some(frame(number)))));
        }
        let counters = pair.network.counters();
        assert!(counters.retransmitted > 100, "{counters:?}");
        assert_eq!((counters.lost, counters.streams_broken), (0, 0));
    })
    .unwrap();
}

#[test]
fn a_breaking_link_breaks_streams() {
    run_isolated(1, || async {
        let breaking = LinkLaw { break_ppm: ALWAYS / 50, ..LinkLaw::default() };
        let pair = Pair::start(1, breaking).await;
        let (mut sender, _receiver) = pair.open(Lane::Replication, "sink").await;
        let sending = async {
            let mut sent = 0;
            while sender.send(frame(sent)).await.is_ok() {
                sent += 1;
            }
            sent
        };
        let sent = SimRuntime::timeout(Duration::from_secs(60), sending).await.unwrap();
        assert!((1..2_000).contains(&sent), "{sent}");
        assert_eq!(pair.network.counters().streams_broken, 1);
    })
    .unwrap();
}

#[test]
fn a_stalled_lane_delays_only_its_own_streams() {
    run_isolated(1, || async {
        let pair = Pair::start(1, LinkLaw::default()).await;
        let (mut slow, mut slow_echo) = pair.open(Lane::Snapshot, "echo").await;
        let (mut quick, mut quick_echo) = pair.open(Lane::Replication, "echo").await;
        slow.send(frame(0)).await.unwrap();
        assert_eq!(soon(slow_echo.recv()).await, Some(Ok(Some(frame(0)))));
        let stall = Duration::from_secs(10);
        pair.network.stall_streams(A, B, &[Lane::Snapshot], stall);
        slow.send(frame(1)).await.unwrap();
        quick.send(frame(0)).await.unwrap();
        assert_eq!(soon(quick_echo.recv()).await, Some(Ok(Some(frame(0)))));
        let control = soon(pair.a.call(B, Lane::Control, Bytes::from("heartbeat"))).await;
        assert_eq!(control, Some(Ok(Bytes::from("heartbeat"))));
        assert_eq!(soon(slow_echo.recv()).await, None, "the lane is stalled");
        SimRuntime::sleep(stall).await;
        assert_eq!(soon(slow_echo.recv()).await, Some(Ok(Some(frame(1)))));
        assert_eq!(pair.network.counters().streams_broken, 0, "a stall breaks nothing");
    })
    .unwrap();
}

#[test]
fn a_killed_machine_says_no_goodbye() {
    run_isolated(1, || async {
        let world = SimWorld::new(1, LinkLaw::default());
        let network = world.network.clone();
        let (a, _) = Peer::start(&world, A).await;
        let machine = madsim::runtime::Handle::current().create_node().build();
        let there = world.clone();
        machine.spawn(async move {
            Peer::start(&there, B).await;
            std::future::pending::<()>().await;
        });
        SimRuntime::sleep(PATIENCE).await;
        let (mut sender, mut receiver) = a.open(B, Lane::Replication).await.unwrap();
        sender.send(Bytes::from("echo")).await.unwrap();
        sender.send(frame(0)).await.unwrap();
        assert_eq!(soon(receiver.recv()).await, Some(Ok(Some(frame(0)))));

        let record = Record::watch(&network);
        network.close(B);
        madsim::runtime::Handle::current().kill(machine.id());
        let heard = SimRuntime::timeout(2 * world.idle_timeout(), receiver.recv()).await;
        assert!(matches!(heard, Ok(Err(TransportError::Broken { .. }))), "{heard:?}");
        let said = |seen: &Seen| seen.from == B && seen.fate == Fate::Sent;
        assert!(!record.take().iter().any(said), "the dropped halves stay silent");

        let gone = soon(a.call(B, Lane::Control, Bytes::from("hello"))).await;
        assert!(matches!(gone, Some(Err(TransportError::Unreachable { to: B, .. }))), "{gone:?}");
        drop((sender, receiver));
        assert_eq!(network.streams_held(), 0, "nothing is left of the stream");
    })
    .unwrap();
}

#[test]
fn a_panic_amid_open_streams_is_handed_back() {
    // The executor is torn down with tasks ready to run that own halves of streams; what their
    // destructors wake is dropped on the spot, while the network is locked.
    let panicked = run_isolated(1, || async {
        let pair = Pair::start(1, LinkLaw::default()).await;
        for _ in 0..20 {
            let (mut sender, mut receiver) = pair.open(Lane::Replication, "echo").await;
            drop(SimRuntime::spawn(async move {
                for number in 0.. {
                    sender.send(frame(number)).await.expect("the stream is open");
                }
            }));
            drop(SimRuntime::spawn(async move { while receiver.recv().await.is_ok() {} }));
        }
        let b = pair.b.clone();
        drop(SimRuntime::spawn(
            async move { while b.call(A, Lane::Client, frame(0)).await.is_ok() {} },
        ));
        SimRuntime::sleep(PATIENCE).await;
        panic!("amid it all");
    })
    .map(|(): ()| ());
    assert_eq!(panicked.expect_err("it panics").message, "amid it all");
}

#[test]
fn an_abandoned_opening_leaves_nothing_behind() {
    run_isolated(1, || async {
        let pair = Pair::start(1, LinkLaw::default()).await;
        for wait_us in (0..4_000).step_by(100) {
            // A timeout shorter than a millisecond is rounded up, so the race is set by delays.
            let law =
                LinkLaw { delay_us_min: wait_us, delay_us_max: wait_us, ..LinkLaw::default() };
            pair.network.set_every_law(law);
            let open = pair.a.open(B, Lane::Client);
            drop(SimRuntime::timeout(Duration::from_millis(2), open).await);
            SimRuntime::sleep(PATIENCE).await;
            assert_eq!(pair.network.streams_held(), 0, "delay {wait_us} µs");
        }
        let streams = pair.peer_b.streams();
        assert!(streams.len() > 5, "some openings reached the acceptor");
        assert!(streams.iter().all(|it| it.ending.is_some()), "every acceptor was told");
    })
    .unwrap();
}
