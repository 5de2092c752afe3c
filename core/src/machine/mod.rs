//! The key-value state machine: what a committed entry does.
//!
//! Pure logic. It sees the rows through [`Rows`], the clock only as the time in each proposal, and
//! the sessions in memory; so the same entries make the same state everywhere, and the tests run
//! it over a map. Its time is the largest that it has seen, and sessions expire by that time alone.
//! After each entry it can say what it holds in two [`Digests`].
//!
//! Left out: reading (a [`Store`](crate::storage::Store)'s business), limits (the leader checks
//! them before it proposes), and how rows are stored.

pub mod digest;
pub mod sessions;
#[cfg(test)]
mod tests;

use crate::command::{Command, Key, Proposal, Reply, SessionId, SessionStamp, Value};
use crate::machine::digest::{Digests, RowHash, RowsDigest};
use crate::machine::sessions::{Admission, Sessions};
use crate::storage::encoding::DecodeError;
use crate::types::LogTime;

/// The keys and values, as the state machine changes them.
pub trait Rows {
    /// What can go wrong with them; it ends the apply.
    type Error;

    /// What a key holds.
    ///
    /// # Errors
    /// The storage's own.
    fn get(&self, key: &Key) -> Result<Option<Value>, Self::Error>;

    /// Sets a key; `hash` is the new row's. Gives the hash of the row that was there.
    ///
    /// # Errors
    /// The storage's own.
    fn put(
        &mut self,
        key: &Key,
        value: &Value,
        hash: RowHash,
    ) -> Result<Option<RowHash>, Self::Error>;

    /// Removes a key. Gives what it held and that row's hash.
    ///
    /// # Errors
    /// The storage's own.
    fn remove(&mut self, key: &Key) -> Result<Option<(Value, RowHash)>, Self::Error>;
}

/// Everything that the state machine holds but the rows themselves.
#[derive(Debug, Default)]
pub struct Machine {
    log_time: LogTime,
    content: RowsDigest,
    sessions: Sessions,
}

impl Machine {
    /// A machine as it was stored: its time, the digest of its rows, its session rows.
    ///
    /// # Errors
    /// When a session row cannot be read; it names the session.
    pub fn load<'a>(
        log_time: LogTime,
        content: RowsDigest,
        rows: impl IntoIterator<Item = (SessionId, &'a [u8])>,
    ) -> Result<Self, (SessionId, DecodeError)> {
        let mut sessions = Sessions::default();
        for (id, row) in rows {
            sessions.load(id, row).map_err(|error| (id, error))?;
        }
        Ok(Self { log_time, content, sessions })
    }

    /// The largest time that a proposal carried.
    pub fn log_time(&self) -> LogTime {
        self.log_time
    }

    /// The digest of the rows.
    pub fn content(&self) -> RowsDigest {
        self.content
    }

    /// The open sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The open sessions, for whoever stores their changes.
    pub fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// What the machine holds now.
    pub fn digests(&self) -> Digests {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.content.to_bytes()).update(&self.sessions.digest().to_bytes());
        hasher.update(&self.log_time.ms.to_le_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Digests { content: self.content.short(), state: u64::from_le_bytes(first) }
    }

    /// Applies the proposal of the entry at `index`.
    ///
    /// # Errors
    /// The rows' own; the machine must not be used after one.
    pub fn apply<S: Rows>(
        &mut self,
        rows: &mut S,
        index: u64,
        proposal: &Proposal,
    ) -> Result<Reply, S::Error> {
        self.log_time = self.log_time.max(proposal.time);
        self.sessions.expire(self.log_time);
        let Some(stamp) = proposal.stamp else {
            return self.execute(rows, index, &proposal.command, None);
        };
        match self.sessions.admit(stamp, self.log_time) {
            Admission::Repeated(reply) => Ok(reply),
            Admission::Refused(refusal) => Ok(Reply::Refused(refusal)),
            Admission::Fresh => {
                let reply = self.execute(rows, index, &proposal.command, Some(stamp))?;
                self.sessions.settle(stamp, &reply, self.log_time);
                Ok(reply)
            }
        }
    }

    fn execute<S: Rows>(
        &mut self,
        rows: &mut S,
        index: u64,
        command: &Command,
        stamp: Option<SessionStamp>,
    ) -> Result<Reply, S::Error> {
        match command {
            Command::Tick => Ok(Reply::Done),
            Command::OpenSession { ttl_ms } => {
                Ok(self.sessions.open(SessionId(index), *ttl_ms, self.log_time))
            }
            Command::CloseSession => {
                if let Some(stamp) = stamp {
                    self.sessions.close(stamp.session);
                }
                Ok(Reply::Done)
            }
            Command::Set { key, value } => {
                self.set(rows, key, value)?;
                Ok(Reply::Done)
            }
            Command::SetMulti { pairs } => {
                pairs.iter().try_for_each(|(key, value)| self.set(rows, key, value))?;
                Ok(Reply::Done)
            }
            Command::Delete { key } => Ok(Reply::Removed(self.delete(rows, key)?)),
            Command::CompareAndSet { key, expected, value } => {
                let found = rows.get(key)?;
                if found != *expected {
                    return Ok(Reply::Mismatch(found));
                }
                self.set(rows, key, value)?;
                Ok(Reply::Swapped)
            }
            Command::CompareAndDelete { key, expected } => {
                let found = rows.get(key)?;
                if found.as_ref() != Some(expected) {
                    return Ok(Reply::Mismatch(found));
                }
                self.delete(rows, key)?;
                Ok(Reply::Swapped)
            }
        }
    }

    fn set<S: Rows>(&mut self, rows: &mut S, key: &Key, value: &Value) -> Result<(), S::Error> {
        let hash = RowHash::of(key, value);
        let old = rows.put(key, value, hash)?;
        old.into_iter().for_each(|old| self.content.remove(old));
        self.content.insert(hash);
        Ok(())
    }

    fn delete<S: Rows>(&mut self, rows: &mut S, key: &Key) -> Result<Option<Value>, S::Error> {
        let Some((value, hash)) = rows.remove(key)? else { return Ok(None) };
        self.content.remove(hash);
        Ok(Some(value))
    }
}
