//! Transactions in virtual time: how long they take, in which order they run, and what a kill or
//! a power failure makes of the one in flight.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aspen_core::Volume;
use aspen_core::volume::{Durability, Job};
use aspen_sim::disk::{
    DiskConfig, DiskFailure, InFlight, Kill, PowerFailure, SimDisk, SimVolume, SlowSync, Survive,
};
use futures_util::future::join_all;
use madsim::runtime::Runtime;
use redb::StorageBackend;

use super::{content, disk_with, reason};

type Log = Arc<Mutex<Vec<String>>>;

fn simulate<F: Future<Output = T> + 'static, T: 'static>(future: impl FnOnce() -> F) -> T {
    Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(future())
}

fn note(log: &Log, text: &str) -> Job {
    let (log, text) = (log.clone(), text.to_owned());
    Box::new(move || log.lock().unwrap().push(text))
}

/// How long one synced transaction takes on a disk, in microseconds of virtual time.
async fn sync_us(volume: &SimVolume) -> u64 {
    let clock = madsim::time::TimeHandle::current();
    let before = clock.elapsed();
    volume.run(Durability::Synced, Box::new(|| ())).await;
    (clock.elapsed() - before).as_micros() as u64
}

#[test]
fn a_sync_takes_its_drawn_time_which_is_the_same_for_the_same_seed() {
    let config = DiskConfig { sync_us_min: 300, sync_us_max: 700, seed: 7, ..Default::default() };
    let draw = move |config| {
        simulate(move || async move {
            let volume = SimDisk::new(config).mount();
            let mut drawn = Vec::new();
            for _ in 0..20 {
                drawn.push(sync_us(&volume).await);
            }
            drawn
        })
    };
    let drawn = draw(config);
    assert!(drawn.iter().all(|us| (300..=702).contains(us)), "{drawn:?}");
    assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "{drawn:?}");
    let close = |other: &[u64]| drawn.iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= 2);
    assert!(close(&draw(config)));
    assert!(!close(&draw(DiskConfig { seed: 8, ..config })));
}

#[test]
fn a_slow_window_multiplies_and_adds_until_it_ends() {
    let config = DiskConfig { sync_us_min: 500, sync_us_max: 500, ..Default::default() };
    let times = simulate(move || async move {
        let disk = SimDisk::new(config);
        let volume = disk.mount();
        let before = sync_us(&volume).await;
        disk.set_slow(Some(SlowSync { factor: 10, extra_us: 3_000 }));
        let during = sync_us(&volume).await;
        disk.set_slow(None);
        let after = sync_us(&volume).await;
        assert_eq!(disk.counters().slow_syncs, 1);
        [before, during, after]
    });
    for (measured, expected) in times.into_iter().zip([500, 8_000, 500]) {
        assert!((expected..expected + 3).contains(&measured), "{times:?}");
    }
}

#[test]
fn transactions_run_in_the_order_of_the_calls_however_they_are_polled() {
    let log = Log::default();
    let seen = log.clone();
    simulate(move || async move {
        let volume = SimDisk::new(DiskConfig::default()).mount();
        let mut runs = Vec::new();
        for (at, durability) in
            [Durability::Synced, Durability::Visible, Durability::Synced, Durability::Visible]
                .into_iter()
                .enumerate()
        {
            runs.push(volume.run(durability, note(&log, &at.to_string())));
        }
        runs.reverse();
        join_all(runs).await;
    });
    assert_eq!(*seen.lock().unwrap(), ["0", "1", "2", "3"]);
}

#[test]
fn a_dropped_call_leaves_the_order_without_blocking_the_next() {
    let log = Log::default();
    let seen = log.clone();
    simulate(move || async move {
        let volume = SimDisk::new(DiskConfig::default()).mount();
        let first = volume.run(Durability::Synced, note(&log, "first"));
        let (other, job) = (volume.clone(), note(&log, "second"));
        let waiting = madsim::task::spawn(async move { other.run(Durability::Synced, job).await });
        madsim::time::sleep(Duration::from_millis(1)).await;
        drop(first);
        waiting.await.unwrap();
    });
    assert_eq!(*seen.lock().unwrap(), ["second"]);
}

/// Writes `new` over `old` and syncs, in flight when `end` is called; what the transaction said.
fn cut(end: impl FnOnce(&SimDisk) + 'static) -> (SimDisk, Option<std::io::Result<()>>) {
    let (disk, _) = disk_with(b"old");
    let machine = disk.clone();
    let said = simulate(move || async move {
        let volume = machine.mount();
        let file = volume.open("f").unwrap().unwrap();
        let (report, outcome) = std::sync::mpsc::channel();
        let job: Job = Box::new(move || {
            let done = file.write(0, b"new").and_then(|()| file.sync_data());
            report.send(done).unwrap();
        });
        machine.set_slow(Some(SlowSync { factor: 1, extra_us: 10_000 }));
        let running = madsim::task::spawn(async move { volume.run(Durability::Synced, job).await });
        madsim::time::sleep(Duration::from_millis(5)).await;
        assert!(outcome.try_recv().is_err(), "the transaction must still be in flight");
        end(&machine);
        running.await.expect("a call whose transaction was taken away is over");
        outcome.try_recv().ok()
    });
    (disk, said)
}

fn power_failure(in_flight: InFlight, survive: Survive) -> impl FnOnce(&SimDisk) {
    move |disk| disk.power_failure(PowerFailure { survive, in_flight, seed: 1 })
}

#[test]
fn a_transaction_in_flight_is_dropped_when_the_schedule_says_so() {
    let (disk, said) = cut(power_failure(InFlight::Dropped, Survive::Everything));
    assert!(said.is_none());
    assert_eq!(content(&disk), b"old");
    assert_eq!(disk.counters().jobs_dropped, 1);
}

#[test]
fn a_transaction_in_flight_dies_at_the_scheduled_operation() {
    let dies = |operations| InFlight::DiesAfter { operations };
    let (disk, said) = cut(power_failure(dies(1), Survive::Everything));
    assert_eq!(reason(said.expect("it was run")), DiskFailure::Dead);
    assert_eq!(content(&disk), b"new");
    let (disk, said) = cut(power_failure(dies(1), Survive::Nothing));
    assert_eq!(reason(said.expect("it was run")), DiskFailure::Dead);
    assert_eq!(content(&disk), b"old");
    assert_eq!((disk.counters().jobs_cut, disk.counters().deaths), (1, 1));
}

#[test]
fn a_transaction_in_flight_that_outruns_the_death_is_durable_and_says_so() {
    let in_flight = InFlight::DiesAfter { operations: 2 };
    let (disk, said) = cut(power_failure(in_flight, Survive::Nothing));
    said.expect("it was run").expect("it completed");
    assert_eq!(content(&disk), b"new");
    assert!(!disk.is_dead());
    assert_eq!(disk.counters().deaths, 0);
}

#[test]
fn a_kill_cuts_the_transaction_in_flight_and_keeps_what_it_wrote_in_the_cache() {
    let in_flight = InFlight::DiesAfter { operations: 1 };
    let (disk, said) = cut(move |disk| disk.kill(Kill { in_flight, seed: 1 }));
    assert_eq!(reason(said.expect("it was run")), DiskFailure::Dead);
    assert_eq!(content(&disk), b"new");
}
