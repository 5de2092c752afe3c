//! A client: it asks, retries under one stamp, and writes the history, one operation at a time.
//!
//! An operation is one invocation; its retries carry the same session and sequence number and
//! happen inside it. What the client may conclude follows from the worst attempt: once one may
//! have taken effect, only an answer ends the doubt. A node's word that it did nothing speaks of
//! one delivery, and the network may deliver a call twice: the second copy can arrive when the
//! node leads. So a write that reached any node and got no answer ends as `info`. After that the
//! client goes on under a new process number and a new session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use aspen_check::history::{Answer, EventKind, Operation, Outcome, Process, Text};
use aspen_core::NodeId;
use aspen_core::api::{
    ClientBody, ClientError, ClientRequest, ClientResponse, Consistency, Scan, Written,
};
use aspen_core::codec::{self, Request as Frame, Response};
use aspen_core::command::{Command, Reply, SessionId, SessionStamp};
use aspen_core::transport::{Lane, Transport, TransportError};
use aspen_transport_sim::SimRuntime;
use aspen_transport_sim::network::SimTransport;
use openraft::AsyncRuntime;

use super::recorder::{Recorder, now_us};
use crate::schedule::{PlannedOperation, Request, Schedule};

/// Clients are endpoints of the network beside the nodes.
pub(super) const FIRST_CLIENT: u64 = 1_000;
/// How long a client waits before it tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(40);

/// One client of a run.
pub(super) struct Client {
    number: u64,
    transport: SimTransport,
    schedule: Arc<Schedule>,
    recorder: Recorder,
    process: Process,
    session: Option<SessionId>,
    sequence: u64,
    /// What the client last saw of each key: what its comparisons expect.
    seen: BTreeMap<String, Option<Text>>,
    /// The node to ask next, if the last answer gave a hint.
    hint: Option<NodeId>,
}

/// What one attempt brought.
enum Attempt {
    Answer(Answer),
    /// It never reached a node.
    Unsent(String),
    /// It may have taken effect, or a second copy of it may.
    Doubt(String),
    /// The session is gone: no attempt of this operation takes effect any more.
    SessionGone(String),
    /// It had no effect, and no attempt ever will.
    Refused(String),
}

impl Client {
    /// Client `number`, counted from 0.
    pub(super) fn new(
        number: u64,
        transport: SimTransport,
        schedule: Arc<Schedule>,
        recorder: Recorder,
    ) -> Self {
        Self {
            number,
            transport,
            schedule,
            recorder,
            process: Process(number),
            session: None,
            sequence: 0,
            seen: BTreeMap::new(),
            hint: None,
        }
    }

    /// Works the plan off until it ends or `end_us` of virtual time is reached.
    pub(super) async fn work(mut self, end_us: u64) {
        let schedule = self.schedule.clone();
        for planned in &schedule.clients[self.number as usize].operations {
            let early_us = planned.at_us.saturating_sub(now_us());
            if early_us > 0 {
                madsim::time::sleep(Duration::from_micros(early_us)).await;
            }
            if now_us() >= end_us {
                return;
            }
            if is_write(&planned.request) && !self.have_session(planned.node).await {
                continue;
            }
            self.operate(planned).await;
        }
    }

    /// Writes one key and reads them all, for the end of a run; everything must be answered.
    pub(super) async fn write_and_read_all(&mut self, keys: &[String]) -> Result<(), String> {
        let id = self.schedule.scenario.operations + 1;
        let set = keys.first().map(|key| Request::Set { key: key.clone() });
        let gets = keys.iter().map(|key| Request::Get { key: key.clone() });
        for request in set.into_iter().chain(gets) {
            if is_write(&request) && !self.have_session(1).await {
                return Err("no session could be opened".to_owned());
            }
            let planned = PlannedOperation { at_us: 0, node: 1, id, request };
            match self.operate(&planned).await {
                Outcome::Ok { .. } => {}
                Outcome::Fail { reason } | Outcome::Info { reason } => {
                    return Err(format!("{:?} got no answer: {reason}", planned.request));
                }
            }
        }
        Ok(())
    }

    /// One operation, from invocation to completion.
    async fn operate(&mut self, planned: &PlannedOperation) -> Outcome {
        let operation = self.resolve(planned);
        let invoked = EventKind::Invoke { operation: operation.clone() };
        self.recorder.history(self.process, invoked);
        let body = self.body(&operation);
        let outcome = self.attempt_until_decided(planned.node, &body).await;
        self.learn(&operation, &outcome);
        let completed = EventKind::Complete { outcome: outcome.clone() };
        self.recorder.history(self.process, completed);
        self.recorder.count(|coverage| match &outcome {
            Outcome::Ok { .. } => coverage.operations_ok += 1,
            Outcome::Fail { .. } => coverage.operations_failed += 1,
            Outcome::Info { .. } => coverage.operations_unknown += 1,
        });
        if matches!(outcome, Outcome::Info { .. }) {
            // One more than there are clients: the one that reads at the end has its own numbers.
            self.process.0 += self.schedule.scenario.clients + 1;
            self.session = None;
        }
        outcome
    }

    async fn attempt_until_decided(&mut self, first: u64, body: &ClientBody) -> Outcome {
        let timeout_us = self.schedule.scenario.operation_timeout_ms * 1000;
        let deadline_us = now_us() + timeout_us;
        let mut node = self.hint.unwrap_or(NodeId(first));
        let mut doubt: Option<String> = None;
        let mut last;
        loop {
            let left = deadline_us.saturating_sub(now_us()).min(timeout_us / 4);
            match self.attempt(node, body, Duration::from_micros(left)).await {
                Attempt::Answer(answer) => return Outcome::Ok { answer },
                Attempt::SessionGone(reason) => {
                    self.session = None;
                    self.recorder.count(|coverage| coverage.sessions_expired += 1);
                    return given_up(body, doubt, reason);
                }
                Attempt::Refused(reason) => return given_up(body, doubt, reason),
                Attempt::Unsent(reason) => last = reason,
                Attempt::Doubt(reason) => {
                    doubt = Some(reason.clone());
                    last = reason;
                }
            }
            if now_us() + RETRY_PAUSE.as_micros() as u64 >= deadline_us {
                return given_up(body, doubt, last);
            }
            madsim::time::sleep(RETRY_PAUSE).await;
            node = self.hint.unwrap_or(NodeId(node.0 % self.schedule.scenario.nodes + 1));
        }
    }

    async fn attempt(&mut self, node: NodeId, body: &ClientBody, timeout: Duration) -> Attempt {
        let request = ClientRequest { forwarded: false, body: body.clone() };
        let frame = codec::encode(&Frame::<SimRuntime>::Client(request))
            .expect("the workload stays inside the limits");
        let call = self.transport.call(node, Lane::Client, frame);
        self.hint = None;
        match SimRuntime::timeout(timeout, call).await {
            Err(_elapsed) => Attempt::Doubt(format!("node {node} did not answer in time")),
            Ok(Ok(frame)) => match codec::decode::<Response<SimRuntime>>(&frame) {
                Ok(Response::Client(response)) => self.judge(node, response),
                Ok(_) => Attempt::Doubt(format!("node {node} answered another request")),
                Err(error) => Attempt::Doubt(error.to_string()),
            },
            Ok(Err(
                error @ (TransportError::Unreachable { .. }
                | TransportError::Refused { .. }
                | TransportError::TooLarge { .. }),
            )) => Attempt::Unsent(error.to_string()),
            Ok(Err(error @ (TransportError::Broken { .. } | TransportError::Timeout { .. }))) => {
                Attempt::Doubt(error.to_string())
            }
        }
    }

    fn judge(&mut self, node: NodeId, response: ClientResponse) -> Attempt {
        let error = match response {
            ClientResponse::Written(Written { reply, .. }) => {
                self.hint = Some(node);
                return Attempt::Answer(reply_answer(reply));
            }
            ClientResponse::Value(value) => {
                self.hint = Some(node);
                return Attempt::Answer(Answer::Value { value: value.map(text) });
            }
            ClientResponse::Page(page) => {
                self.hint = Some(node);
                let rows = page.rows.into_iter().map(|(key, value)| (text(key), text(value)));
                return Attempt::Answer(Answer::Rows { rows: rows.collect() });
            }
            ClientResponse::Failed(error) => error,
        };
        match error {
            ClientError::NotLeader { leader } => {
                self.hint = leader.filter(|leader| *leader != node);
                Attempt::Doubt(format!("node {node} does not lead"))
            }
            ClientError::Unavailable { reason } | ClientError::Unknown { reason } => {
                Attempt::Doubt(reason)
            }
            ClientError::Refused(refusal) => Attempt::SessionGone(refusal.to_string()),
            ClientError::Limit(limit) => Attempt::Refused(limit.to_string()),
        }
    }

    /// Opens a session if the client has none. A retry may open a second one, which expires.
    async fn have_session(&mut self, first: u64) -> bool {
        if self.session.is_some() {
            return true;
        }
        let command = Command::OpenSession { ttl_ms: self.schedule.scenario.session_ttl_ms };
        let body = ClientBody::Write { stamp: None, command };
        let timeout = Duration::from_millis(self.schedule.scenario.operation_timeout_ms / 4);
        let mut node = self.hint.unwrap_or(NodeId(first));
        for _ in 0..self.schedule.scenario.nodes {
            if let Attempt::Answer(Answer::Value { value: Some(id) }) =
                self.attempt(node, &body, timeout).await
            {
                let digits: [u8; 8] = id.as_bytes().try_into().expect("a session's id has 8 bytes");
                self.session = Some(SessionId(u64::from_le_bytes(digits)));
                self.sequence = 0;
                return true;
            }
            node = self.hint.unwrap_or(NodeId(node.0 % self.schedule.scenario.nodes + 1));
        }
        false
    }

    /// Fills in what the plan leaves open: values, and what comparisons expect.
    fn resolve(&self, planned: &PlannedOperation) -> Operation {
        let value = Text::new(&format!("v{}", planned.id));
        match &planned.request {
            Request::Get { key } => Operation::Get { key: Text::new(key) },
            Request::Set { key } => Operation::Set { key: Text::new(key), value },
            Request::SetMulti { keys } => {
                let pairs = keys.iter().enumerate().map(|(number, key)| {
                    (Text::new(key), Text::new(&format!("v{}.{number}", planned.id)))
                });
                Operation::SetMulti { pairs: pairs.collect() }
            }
            Request::Delete { key } => Operation::Delete { key: Text::new(key) },
            Request::CompareAndSet { key } => {
                let expected = self.seen.get(key).cloned().flatten();
                Operation::CompareAndSet { key: Text::new(key), expected, value }
            }
            Request::CompareAndDelete { key } => {
                let seen = self.seen.get(key).cloned().flatten();
                let expected = seen.unwrap_or(Text::new("never written"));
                Operation::CompareAndDelete { key: Text::new(key), expected }
            }
            Request::Scan { prefix, limit } => {
                Operation::Scan { prefix: Text::new(prefix), limit: *limit }
            }
        }
    }

    /// The request that an operation makes; a write takes the session's next number.
    fn body(&mut self, operation: &Operation) -> ClientBody {
        let consistency = Consistency::Linearizable;
        let command = match operation.clone() {
            Operation::Get { key } => return ClientBody::Get { key: bytes(&key), consistency },
            Operation::Scan { prefix, limit } => {
                let scan = Scan { prefix: bytes(&prefix), after: None, limit };
                return ClientBody::Scan { scan, consistency };
            }
            Operation::Set { key, value } => {
                Command::Set { key: bytes(&key), value: bytes(&value) }
            }
            Operation::SetMulti { pairs } => {
                let pairs = pairs.iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
                Command::SetMulti { pairs }
            }
            Operation::Delete { key } => Command::Delete { key: bytes(&key) },
            Operation::CompareAndSet { key, expected, value } => Command::CompareAndSet {
                key: bytes(&key),
                expected: expected.as_ref().map(bytes),
                value: bytes(&value),
            },
            Operation::CompareAndDelete { key, expected } => {
                Command::CompareAndDelete { key: bytes(&key), expected: bytes(&expected) }
            }
            Operation::Append { .. }
            | Operation::CounterAdd { .. }
            | Operation::CounterGet { .. }
            | Operation::LockAcquire { .. }
            | Operation::LockRelease { .. } => unreachable!("the workload plans none of these"),
        };
        self.sequence += 1;
        let stamp = self.session.map(|session| SessionStamp { session, sequence: self.sequence });
        ClientBody::Write { stamp, command }
    }

    /// Remembers what the outcome says about the key, for later comparisons.
    fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        let Outcome::Ok { answer } = outcome else { return };
        let (key, value) = match (operation, answer) {
            (Operation::Get { key }, Answer::Value { value })
            | (
                Operation::CompareAndSet { key, .. } | Operation::CompareAndDelete { key, .. },
                Answer::Mismatch { value },
            ) => (key, value.clone()),
            (Operation::Set { key, value }, Answer::Done)
            | (Operation::CompareAndSet { key, value, .. }, Answer::Swapped) => {
                (key, Some(value.clone()))
            }
            (Operation::Delete { key }, Answer::Value { .. })
            | (Operation::CompareAndDelete { key, .. }, Answer::Swapped) => (key, None),
            _ => return,
        };
        self.seen.insert(key.to_string(), value);
    }
}

fn is_write(request: &Request) -> bool {
    !matches!(request, Request::Get { .. } | Request::Scan { .. })
}

/// An operation without an answer: a read did nothing; a write is in doubt if an attempt was.
fn given_up(body: &ClientBody, doubt: Option<String>, reason: String) -> Outcome {
    match doubt {
        Some(doubt) if body.is_write() => Outcome::Info { reason: doubt },
        _ => Outcome::Fail { reason },
    }
}

fn text(bytes: Bytes) -> Text {
    Text::from(&bytes[..])
}

fn bytes(text: &Text) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn reply_answer(reply: Reply) -> Answer {
    match reply {
        Reply::Done => Answer::Done,
        Reply::SessionOpened(id) => {
            Answer::Value { value: Some(Text::from(&id.0.to_le_bytes()[..])) }
        }
        Reply::Removed(value) => Answer::Value { value: value.map(text) },
        Reply::Swapped => Answer::Swapped,
        Reply::Mismatch(value) => Answer::Mismatch { value: value.map(text) },
        Reply::Refused(refusal) => unreachable!("a node answers a refusal as a failure: {refusal}"),
    }
}
