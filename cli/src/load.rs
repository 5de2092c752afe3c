//! A load: clients that read and write as fast as they are answered, and what came of it.
//!
//! Every operation is recorded in the checker's format, so that a run against a real cluster can be
//! judged as a simulated one is. A client has one operation open at a time; when the outcome of one
//! is unknown it goes on as a new process with a new session, because the old operation may still
//! take effect.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};
use aspen_core::api::Consistency;
use aspen_core::command::{Command, Reply};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::client::{Client, Failure, Session};

/// Longer than any request is waited for; what takes longer counts as this long.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What a load is made of.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many clients ask at once.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long each value is, at least; it is longer where its number needs that.
    pub value_bytes: usize,
    /// How many in a hundred operations are reads; the others set a key.
    pub reads_percent: u64,
    /// Whether the history is kept; it takes memory.
    pub record: bool,
}

/// What a load has done, while it runs and afterwards.
#[derive(Debug)]
pub struct Tally {
    begun: Instant,
    stopped: AtomicBool,
    /// Operations that were answered.
    pub answered: AtomicU64,
    /// Operations that had no effect.
    pub failed: AtomicU64,
    /// Operations of unknown outcome.
    pub unknown: AtomicU64,
    latencies: Mutex<Latencies>,
    history: Mutex<Vec<Event>>,
}

/// How long answered operations took, in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Of reads.
    pub reads: Histogram<u64>,
    /// Of writes.
    pub writes: Histogram<u64>,
}

impl Tally {
    /// Of a load that begins now.
    ///
    /// # Panics
    /// Never: the histogram's bounds and precision are constants.
    pub fn new() -> Arc<Self> {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
                .expect("bounds and digits that go together")
        };
        Arc::new(Self {
            begun: Instant::now(),
            stopped: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            latencies: Mutex::new(Latencies { reads: histogram(), writes: histogram() }),
            history: Mutex::default(),
        })
    }

    /// Lets the clients end after the operation that each has open.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// How long the answered operations took.
    pub fn latencies(&self) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the clients saw, taken out.
    pub fn take_history(&self) -> Vec<Event> {
        std::mem::take(&mut *self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, process: Process, kind: EventKind) {
        // The time is taken under the lock: the history's order is that of its times.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let time_us = self.begun.elapsed().as_micros() as u64;
        history.push(Event { time_us, process, kind });
    }

    fn took(&self, is_read: bool, time: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = if is_read { &mut latencies.reads } else { &mut latencies.writes };
        histogram.saturating_record(time.as_micros() as u64);
    }
}

/// Runs a load until its tally is told to stop.
pub async fn run(client: Arc<Client>, load: Load, tally: Arc<Tally>) {
    let workers = (0..load.clients).map(|number| {
        let worker = Worker {
            client: client.clone(),
            load,
            tally: tally.clone(),
            process: Process(number),
            session: None,
            dice: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            written: 0,
        };
        tokio::spawn(worker.work())
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        if let Err(panicked) = worker.await {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
}

struct Worker {
    client: Arc<Client>,
    load: Load,
    tally: Arc<Tally>,
    process: Process,
    session: Option<Session>,
    dice: u64,
    written: u64,
}

impl Worker {
    async fn work(mut self) {
        while !self.tally.stopped.load(Ordering::Relaxed) {
            let key = format!("key-{}", self.roll(self.load.keys.max(1)));
            let is_read = self.roll(100) < self.load.reads_percent;
            if !is_read && self.session.is_none() {
                match self.client.open_session().await {
                    Ok(session) => self.session = Some(session),
                    Err(_) => continue,
                }
            }
            self.operate(key, is_read).await;
        }
        if let Some(session) = self.session {
            session.close().await;
        }
    }

    /// Marsaglia's xorshift: which key comes next needs no better one.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }

    async fn operate(&mut self, key: String, is_read: bool) {
        let (name, bytes) = (Text::new(&key), Bytes::from(key));
        let begun = Instant::now();
        let answer = if is_read {
            self.invoke(|| Operation::Get { key: name });
            let value = self.client.get(bytes, Consistency::Linearizable).await;
            value.map(|value| Answer::Value { value: value.map(|value| Text::from(&value[..])) })
        } else {
            let value = self.next_value();
            self.invoke(|| Operation::Set { key: name, value: Text::new(&value) });
            let session = self.session.as_mut().expect("a writer has a session");
            let reply = session.write(Command::Set { key: bytes, value: value.into() }).await;
            reply.map(|reply| {
                debug_assert_eq!(reply, Reply::Done);
                Answer::Done
            })
        };
        let outcome = match answer {
            Ok(answer) => {
                self.tally.took(is_read, begun.elapsed());
                self.tally.answered.fetch_add(1, Ordering::Relaxed);
                Outcome::Ok { answer }
            }
            Err(Failure::Unknown(reason)) => {
                self.tally.unknown.fetch_add(1, Ordering::Relaxed);
                Outcome::Info { reason }
            }
            Err(failure) => {
                self.tally.failed.fetch_add(1, Ordering::Relaxed);
                Outcome::Fail { reason: failure.to_string() }
            }
        };
        let failed = !matches!(outcome, Outcome::Ok { .. });
        let unknown = matches!(outcome, Outcome::Info { .. });
        if self.load.record {
            self.tally.record(self.process, EventKind::Complete { outcome });
        }
        if unknown {
            self.process.0 += self.load.clients;
        }
        if failed && !is_read {
            // The session may be what is gone.
            self.session = None;
        }
    }

    fn invoke(&self, operation: impl FnOnce() -> Operation) {
        if self.load.record {
            self.tally.record(self.process, EventKind::Invoke { operation: operation() });
        }
    }

    /// Never the same twice, so that the checker knows whose write a read saw.
    fn next_value(&mut self) -> String {
        self.written += 1;
        let value = format!("{}-{}", self.process.0, self.written);
        let missing = self.load.value_bytes.saturating_sub(value.len());
        value + &"x".repeat(missing)
    }
}
