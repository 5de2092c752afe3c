//! A watch channel that wakes its waiters in the order in which they began to wait.
//!
//! It keeps the last value and a version. A receiver remembers the version that it saw; it waits
//! while the two are equal. tokio's own spreads its waiters over several lists and starts at one
//! drawn from a hidden generator, which would make two runs of one seed differ.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{OptionalSend, OptionalSync};

use crate::lock::lock;

/// The channel.
#[derive(Debug)]
pub struct SimWatch;

/// The end that sets the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Channel<T>>);

/// The end that waits for the value to change.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    seen: u64,
}

#[derive(Debug)]
struct Channel<T> {
    value: RwLock<T>,
    ends: Mutex<Ends>,
}

#[derive(Debug)]
struct Ends {
    version: u64,
    senders: usize,
    receivers: usize,
    /// Who waits, by ticket; tickets rise, so the map's order is the order of arrival.
    waiters: BTreeMap<u64, Waker>,
    next_ticket: u64,
}

impl<T> Channel<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one change and wakes everyone who waits.
    fn changed(&self) {
        let waiters = {
            let mut ends = lock(&self.ends);
            ends.version += 1;
            std::mem::take(&mut ends.waiters)
        };
        waiters.into_values().for_each(Waker::wake);
    }

    /// One end comes or goes; the last sender to go wakes everyone who waits.
    fn count(&self, change: impl FnOnce(&mut Ends)) {
        let waiters = {
            let mut ends = lock(&self.ends);
            change(&mut ends);
            if ends.senders > 0 {
                return;
            }
            std::mem::take(&mut ends.waiters)
        };
        waiters.into_values().for_each(Waker::wake);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.count(|ends| ends.senders += 1);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.count(|ends| ends.senders -= 1);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.count(|ends| ends.receivers += 1);
        Self { channel: Arc::clone(&self.channel), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.count(|ends| ends.receivers -= 1);
    }
}

/// A place in the line of waiters, given up when dropped.
struct Ticket<'a> {
    ends: &'a Mutex<Ends>,
    number: Option<u64>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let waker = lock(self.ends).waiters.remove(&number);
        drop(waker);
    }
}

impl Ticket<'_> {
    /// Ready with the newest version once it is not `seen`, or when no sender is left.
    fn poll(&mut self, seen: u64, waker: &Waker) -> Poll<Result<u64, RecvError>> {
        let mut ends = lock(self.ends);
        if ends.version != seen {
            return Poll::Ready(Ok(ends.version));
        }
        if ends.senders == 0 {
            return Poll::Ready(Err(RecvError(())));
        }
        let number = *self.number.get_or_insert_with(|| {
            ends.next_ticket += 1;
            ends.next_ticket
        });
        ends.waiters.insert(number, waker.clone());
        Poll::Pending
    }
}

impl Watch for SimWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let ends =
            Ends { version: 0, senders: 1, receivers: 1, waiters: BTreeMap::new(), next_ticket: 0 };
        let channel = Arc::new(Channel { value: RwLock::new(init), ends: Mutex::new(ends) });
        (Sender(Arc::clone(&channel)), Receiver { channel, seen: 0 })
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<SimWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if lock(&self.0.ends).receivers == 0 {
            return Err(SendError(value));
        }
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        self.0.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = modify(&mut self.0.value.write().unwrap_or_else(PoisonError::into_inner));
        if modified {
            self.0.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        let mut ends = lock(&self.0.ends);
        ends.receivers += 1;
        Receiver { channel: Arc::clone(&self.0), seen: ends.version }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<SimWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let seen = self.seen;
        let mut ticket = Ticket { ends: &self.channel.ends, number: None };
        let version = poll_fn(|cx| ticket.poll(seen, cx.waker())).await?;
        drop(ticket);
        self.seen = version;
        Ok(())
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.channel.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.seen = lock(&self.channel.ends).version;
        self.channel.read()
    }
}
