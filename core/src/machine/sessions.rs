//! Client sessions: what makes a retried request take effect once.
//!
//! A session remembers the number and the reply of its last request. It ends when it is closed or
//! when its time to live passes in log time without a request, so whether a session is alive is
//! the same on every replica. Changes gather in [`take_changes`](Sessions::take_changes), encoded
//! once, for whoever stores them; nothing here knows where that is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::{Refusal, Reply, SessionId, SessionStamp};
use crate::limits;
use crate::machine::digest::{RowHash, RowsDigest};
use crate::storage::encoding::{self, DecodeError};
use crate::types::LogTime;

/// The open sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    open: BTreeMap<SessionId, Kept>,
    deadlines: BTreeSet<(LogTime, SessionId)>,
    digest: RowsDigest,
    changes: BTreeMap<SessionId, Option<Vec<u8>>>,
    changed_bytes: usize,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    ttl_ms: u64,
    deadline: LogTime,
    last: Option<(u64, Reply)>,
}

#[derive(Debug)]
struct Kept {
    session: Session,
    hash: RowHash,
}

/// What becomes of a stamped request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: run it, then [`Sessions::settle`] it.
    Fresh,
    /// It was applied before; this was the reply.
    Repeated(Reply),
    /// It must not be applied.
    Refused(Refusal),
}

impl Sessions {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The digest of all session rows.
    pub fn digest(&self) -> RowsDigest {
        self.digest
    }

    /// Opens a session under the index of the entry that asks for it.
    pub fn open(&mut self, id: SessionId, ttl_ms: u64, now: LogTime) -> Reply {
        if self.open.len() >= limits::SESSIONS_MAX {
            return Reply::Refused(Refusal::TooManySessions(limits::SESSIONS_MAX as u64));
        }
        self.put(id, Session { ttl_ms, deadline: after(now, ttl_ms), last: None });
        Reply::SessionOpened(id)
    }

    /// Ends a session.
    pub fn close(&mut self, id: SessionId) {
        if let Some(kept) = self.open.remove(&id) {
            self.deadlines.remove(&(kept.session.deadline, id));
            self.digest.remove(kept.hash);
            self.change(id, None);
        }
    }

    /// Ends every session whose deadline has come.
    pub fn expire(&mut self, now: LogTime) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.close(id);
        }
    }

    /// Decides on a stamped request, and renews the session that it belongs to, whatever the
    /// decision: its client is alive.
    pub fn admit(&mut self, stamp: SessionStamp, now: LogTime) -> Admission {
        let SessionStamp { session: id, sequence } = stamp;
        let Some(kept) = self.open.get(&id) else {
            return Admission::Refused(Refusal::SessionExpired(id));
        };
        let admission = match &kept.session.last {
            Some((last, reply)) if *last == sequence => Admission::Repeated(reply.clone()),
            Some((last, _)) if *last > sequence => {
                Admission::Refused(Refusal::StaleSequence { session: id, sequence, last: *last })
            }
            // `settle` renews it, together with the reply.
            Some(_) | None => return Admission::Fresh,
        };
        let mut session = kept.session.clone();
        session.deadline = after(now, session.ttl_ms);
        self.put(id, session);
        admission
    }

    /// Remembers the reply to a fresh request. A request that closed its own session leaves
    /// nothing to remember it in.
    pub fn settle(&mut self, stamp: SessionStamp, reply: &Reply, now: LogTime) {
        let Some(kept) = self.open.get(&stamp.session) else { return };
        let ttl_ms = kept.session.ttl_ms;
        let last = Some((stamp.sequence, reply.clone()));
        self.put(stamp.session, Session { ttl_ms, deadline: after(now, ttl_ms), last });
    }

    /// Takes a stored row in, without counting it as a change.
    ///
    /// # Errors
    /// When the row is not a session's.
    pub fn load(&mut self, id: SessionId, row: &[u8]) -> Result<(), DecodeError> {
        self.keep(id, encoding::decode(row)?, row);
        Ok(())
    }

    /// The rows that changed since the last call, encoded; `None`: the session ended.
    pub fn take_changes(&mut self) -> BTreeMap<SessionId, Option<Vec<u8>>> {
        self.changed_bytes = 0;
        std::mem::take(&mut self.changes)
    }

    /// How many bytes the rows have that changed since then.
    pub fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    fn put(&mut self, id: SessionId, session: Session) {
        let row = encoding::encode(&session);
        self.keep(id, session, &row);
        self.change(id, Some(row));
    }

    fn change(&mut self, id: SessionId, row: Option<Vec<u8>>) {
        let bytes = |row: &Option<Vec<u8>>| row.as_ref().map_or(0, Vec::len);
        self.changed_bytes += bytes(&row);
        let old = self.changes.insert(id, row);
        self.changed_bytes -= old.as_ref().map_or(0, bytes);
    }

    fn keep(&mut self, id: SessionId, session: Session, row: &[u8]) {
        let hash = RowHash::of(&id.0.to_be_bytes(), row);
        self.deadlines.insert((session.deadline, id));
        self.digest.insert(hash);
        let deadline = session.deadline;
        if let Some(old) = self.open.insert(id, Kept { session, hash }) {
            self.digest.remove(old.hash);
            if old.session.deadline != deadline {
                self.deadlines.remove(&(old.session.deadline, id));
            }
        }
    }
}

fn after(now: LogTime, ttl_ms: u64) -> LogTime {
    LogTime::from_ms(now.ms.saturating_add(ttl_ms))
}
