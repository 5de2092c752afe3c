//! What a client may ask the replicated state machine to do, and what it answers.
//!
//! A [`Command`] changes the state and goes through the log inside a [`Proposal`], which carries
//! the leader's clock and the client's session stamp. Reads never enter the log; see
//! [`api`](crate::api).

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{self, LimitExceeded};
use crate::types::LogTime;

/// A key, at most [`limits::KEY_BYTES_MAX`] bytes.
pub type Key = Bytes;
/// A value, at most [`limits::VALUE_BYTES_MAX`] bytes.
pub type Value = Bytes;

/// A client session: the log index of the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which request of which session: a retry carries the same stamp and takes effect once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionStamp {
    /// The session.
    pub session: SessionId,
    /// The request's number in its session; each new request has a larger one.
    pub sequence: u64,
}

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Lets the log's time pass.
    Tick,
    /// Opens a session that ends after `ttl_ms` of log time without a request.
    OpenSession {
        /// Time to live, in milliseconds.
        ttl_ms: u64,
    },
    /// Ends the stamped session.
    CloseSession,
    /// Sets one key.
    Set {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Sets several keys at once; of a key that stands twice, the last value counts.
    SetMulti {
        /// Keys and their new values.
        pairs: Vec<(Key, Value)>,
    },
    /// Removes a key and answers with what it held.
    Delete {
        /// The key.
        key: Key,
    },
    /// Sets a key if it holds what is expected.
    CompareAndSet {
        /// The key.
        key: Key,
        /// What the key must hold; `None`: it must be absent.
        expected: Option<Value>,
        /// Its new value.
        value: Value,
    },
    /// Removes a key if it holds what is expected.
    CompareAndDelete {
        /// The key.
        key: Key,
        /// What the key must hold.
        expected: Value,
    },
}

/// What travels in a log entry: a command, when it was proposed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's clock when it proposed.
    pub time: LogTime,
    /// The client's session, if it has one.
    pub stamp: Option<SessionStamp>,
    /// What to do.
    pub command: Command,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.command.name())
    }
}

/// What the state machine answers to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done; nothing to tell (also for blank and membership entries).
    Done,
    /// A session was opened.
    SessionOpened(SessionId),
    /// A delete removed this, if there was anything.
    Removed(Option<Value>),
    /// A compare-and-set or compare-and-delete took effect.
    Swapped,
    /// A compare-and-set or compare-and-delete found this instead and changed nothing.
    Mismatch(Option<Value>),
    /// The state machine refused the request; nothing changed.
    Refused(Refusal),
}

/// Why the state machine refused a request that was in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The session never was, was closed, or ended after its time to live.
    #[error("session {0} has expired or was never opened")]
    SessionExpired(SessionId),
    /// A later request of this session was applied before; whether this one was is not known.
    #[error("request {sequence} of session {session} is older than the last applied, {last}")]
    StaleSequence {
        /// The session.
        session: SessionId,
        /// The request's number.
        sequence: u64,
        /// The number of the last request applied.
        last: u64,
    },
    /// As many sessions are open as are allowed.
    #[error("{0} sessions are open, which is the limit")]
    TooManySessions(u64),
}

impl Command {
    /// The command's name, as the command line and the artifacts write it.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Tick => "tick",
            Command::OpenSession { .. } => "open_session",
            Command::CloseSession => "close_session",
            Command::Set { .. } => "set",
            Command::SetMulti { .. } => "set_multi",
            Command::Delete { .. } => "delete",
            Command::CompareAndSet { .. } => "compare_and_set",
            Command::CompareAndDelete { .. } => "compare_and_delete",
        }
    }

    /// Checks the command against [`limits`].
    ///
    /// # Errors
    /// [`LimitExceeded`] that names the first limit passed.
    pub fn check_limits(&self) -> Result<(), LimitExceeded> {
        match self {
            Command::Tick | Command::CloseSession => Ok(()),
            Command::OpenSession { ttl_ms } => {
                let limit = limits::SESSION_TTL_MAX.as_millis() as usize;
                limits::check("session time to live in ms", *ttl_ms as usize, limit)
            }
            Command::Set { key, value } => check_pair(key, Some(value)),
            Command::SetMulti { pairs } => check_multi(pairs),
            Command::Delete { key } => check_pair(key, None),
            Command::CompareAndSet { key, expected, value } => {
                check_pair(key, expected.as_ref())?;
                check_pair(key, Some(value))
            }
            Command::CompareAndDelete { key, expected } => check_pair(key, Some(expected)),
        }
    }
}

fn check_pair(key: &Key, value: Option<&Value>) -> Result<(), LimitExceeded> {
    limits::check("key bytes", key.len(), limits::KEY_BYTES_MAX)?;
    limits::check("value bytes", value.map_or(0, Bytes::len), limits::VALUE_BYTES_MAX)
}

fn check_multi(pairs: &[(Key, Value)]) -> Result<(), LimitExceeded> {
    limits::check("keys of a multi-key write", pairs.len(), limits::MULTI_KEYS_MAX)?;
    for (key, value) in pairs {
        check_pair(key, Some(value))?;
    }
    let bytes = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
    limits::check("bytes of a multi-key write", bytes, limits::MULTI_BYTES_MAX)
}
