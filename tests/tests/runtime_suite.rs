//! openraft's own suite for runtimes, on the simulator's, and what the suite does not ask.

use std::future::pending;
use std::time::Duration;

use aspen_core::Runtime;
use aspen_transport_sim::runtime::machine::WALL_CLOCK_BASE_MS;
use aspen_transport_sim::runtime::{register_node, set_clock_offset};
use aspen_transport_sim::{SimRuntime, run_isolated};
use openraft_rt::watch::{WatchReceiver, WatchSender};
use openraft_rt::{AsyncRuntime, Watch};
use rand::Rng;

#[test]
fn openrafts_suite_passes() {
    std::thread::spawn(openraft_rt::testing::Suite::<SimRuntime>::test_all)
        .join()
        .expect("the suite passes");
}

#[test]
fn a_panic_in_any_task_is_handed_back() {
    let result = run_isolated(1, || async {
        let node = madsim::runtime::Handle::current().create_node().build();
        node.spawn(async { panic!("term {} went backwards", 3) });
        SimRuntime::sleep(Duration::from_secs(1)).await;
    });
    let panicked = result.expect_err("the task panics");
    assert_eq!(panicked.message, "term 3 went backwards");
    assert!(panicked.location.expect("a panic has a place").contains("runtime_suite.rs"));
}

#[test]
fn a_run_that_waits_for_nothing_is_handed_back() {
    let result = run_isolated(1, pending::<()>);
    let panicked = result.expect_err("nothing can wake the run");
    assert!(panicked.message.contains("no events"), "{panicked}");
}

/// Draws once on each of two machines, in the order that the executor picks.
fn draws(executor_seed: u64) -> [u64; 2] {
    run_isolated(executor_seed, || async {
        let draw = |seed| {
            let node = madsim::runtime::Handle::current().create_node().build();
            register_node(node.id(), seed, 0);
            node.spawn(async {
                SimRuntime::sleep(Duration::from_millis(5)).await;
                SimRuntime::thread_rng().next_u64()
            })
        };
        let (one, two) = (draw(11), draw(12));
        [one.await.expect("not killed"), two.await.expect("not killed")]
    })
    .expect("the run ends")
}

#[test]
fn a_machines_draws_do_not_depend_on_the_executor() {
    let first = draws(1);
    assert_ne!(first[0], first[1]);
    for executor_seed in 2..10 {
        assert_eq!(draws(executor_seed), first);
    }
}

#[test]
fn wall_clocks_are_offset_and_may_jump() {
    let [ahead, behind] = run_isolated(1, || async {
        let node = madsim::runtime::Handle::current().create_node().build();
        register_node(node.id(), 1, 2_500);
        let ahead = node.spawn(async { SimRuntime::wall_clock().ms }).await.unwrap();
        set_clock_offset(node.id(), -500);
        SimRuntime::sleep(Duration::from_secs(1)).await;
        let behind = node.spawn(async { SimRuntime::wall_clock().ms }).await.unwrap();
        [ahead, behind]
    })
    .unwrap();
    assert_eq!(ahead, WALL_CLOCK_BASE_MS + 2_500);
    assert_eq!(behind, WALL_CLOCK_BASE_MS + 1_000 - 500);
}

#[test]
fn watchers_are_woken_in_the_order_in_which_they_began_to_wait() {
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Wake, Waker};

    /// Notes its number when it is woken.
    struct Noted(u64, Arc<Mutex<Vec<u64>>>);
    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    let woken = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = <SimRuntime as AsyncRuntime>::Watch::channel(0);
    let mut receivers: Vec<_> = (0..100).map(|_| receiver.clone()).collect();
    let mut waits: Vec<_> = receivers.iter_mut().map(|it| Box::pin(it.changed())).collect();
    for (number, wait) in waits.iter_mut().enumerate() {
        let waker = Waker::from(Arc::new(Noted(number as u64, Arc::clone(&woken))));
        assert!(pin!(wait).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    sender.send(1).unwrap();
    assert_eq!(*woken.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn an_abandoned_sleep_wakes_nobody() {
    let polls = run_isolated(1, || async {
        let mut polls = 0_u32;
        {
            let mut sleep = Some(SimRuntime::sleep(Duration::from_millis(10)));
            let mut first = std::pin::pin!(SimRuntime::sleep(Duration::from_millis(50)));
            std::future::poll_fn(|cx| {
                polls += 1;
                // The first poll arms the short sleep; dropping it must leave no wake behind.
                if let Some(mut short) = sleep.take() {
                    assert!(std::pin::Pin::new(&mut short).poll(cx).is_pending());
                }
                first.as_mut().poll(cx)
            })
            .await;
        }
        polls
    });
    assert_eq!(polls.unwrap(), 2);
}
