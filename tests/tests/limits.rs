//! The limits hold together: the largest legal of everything fits a message, and one byte more is
//! refused with an error that names the limit.

use aspen_core::NodeId;
use aspen_core::api::{ClientBody, ClientRequest, ClientResponse, Consistency, Scan, ScanPage};
use aspen_core::codec::{self, AppendFrame, CodecError, Request, Response, SnapshotChunk};
use aspen_core::command::{Command, Proposal, SessionId, SessionStamp};
use aspen_core::limits::{
    APPEND_BYTES_MAX, KEY_BYTES_MAX, MESSAGE_BYTES_MAX, MULTI_BYTES_MAX, MULTI_KEYS_MAX,
    SCAN_BYTES_MAX, SCAN_ROWS_MAX, SESSION_TTL_MAX, SNAPSHOT_CHUNK_BYTES, VALUE_BYTES_MAX,
};
use aspen_core::types::{CommittedLeaderId, Entry, LogId, LogTime, Vote};
use aspen_transport_sim::SimRuntime;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;

fn filled(bytes: usize) -> Bytes {
    vec![0xff; bytes].into()
}

fn largest_set() -> Command {
    Command::Set { key: filled(KEY_BYTES_MAX), value: filled(VALUE_BYTES_MAX) }
}

/// As many keys as may be, and as many bytes as may be.
fn largest_multi() -> Vec<(Bytes, Bytes)> {
    let each = MULTI_BYTES_MAX / MULTI_KEYS_MAX - KEY_BYTES_MAX;
    let mut pairs = vec![(filled(KEY_BYTES_MAX), filled(each)); MULTI_KEYS_MAX];
    let rest = MULTI_BYTES_MAX - MULTI_KEYS_MAX * (KEY_BYTES_MAX + each);
    pairs[0].1 = filled(each + rest);
    pairs
}

/// The longest encoding: every number is the largest.
fn entry(command: Command) -> Entry {
    let stamp = SessionStamp { session: SessionId(u64::MAX), sequence: u64::MAX };
    let proposal = Proposal { time: LogTime { ms: u64::MAX }, stamp: Some(stamp), command };
    Entry { log_id: last_log_id(), payload: EntryPayload::Normal(proposal) }
}

fn last_log_id() -> LogId {
    LogId::new(CommittedLeaderId::new(u64::MAX), u64::MAX)
}

fn append(entries: Vec<Entry>) -> AppendFrame<SimRuntime> {
    AppendFrame(AppendEntriesRequest {
        vote: Vote::new_committed(u64::MAX, NodeId(u64::MAX)),
        prev_log_id: Some(last_log_id()),
        entries,
        leader_commit: Some(last_log_id()),
    })
}

#[test]
fn the_largest_legal_write_fits_a_message_wherever_it_travels() {
    let largest_swap = Command::CompareAndSet {
        key: filled(KEY_BYTES_MAX),
        expected: Some(filled(VALUE_BYTES_MAX)),
        value: filled(VALUE_BYTES_MAX),
    };
    for command in [largest_set(), largest_swap, Command::SetMulti { pairs: largest_multi() }] {
        assert_eq!(command.check_limits(), Ok(()));
        let body = ClientBody::Write { stamp: None, command: command.clone() };
        let request = ClientRequest { forwarded: true, body };
        codec::encode(&Request::<SimRuntime>::Client(request)).unwrap();

        // A batch is full once it passes its limit, so the largest is one byte short of it and
        // has the largest entry on top.
        let mut batch: Vec<Entry> = Vec::new();
        let size = codec::encode(&append(vec![entry(largest_set())])).unwrap().len();
        batch.resize(APPEND_BYTES_MAX / size, entry(largest_set()));
        batch.push(entry(command));
        let frame = codec::encode(&append(batch)).unwrap();
        assert!(frame.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(
            codec::encode(&codec::decode::<AppendFrame<SimRuntime>>(&frame).unwrap()),
            Ok(frame)
        );
    }
}

#[test]
fn the_largest_page_and_the_largest_chunk_fit_a_message() {
    let many = vec![(filled(8), filled(SCAN_BYTES_MAX / SCAN_ROWS_MAX - 8)); SCAN_ROWS_MAX];
    let few_bytes = KEY_BYTES_MAX + VALUE_BYTES_MAX;
    let few =
        vec![(filled(KEY_BYTES_MAX), filled(VALUE_BYTES_MAX)); SCAN_BYTES_MAX / few_bytes + 1];
    for rows in [many, few] {
        let page = ClientResponse::Page(ScanPage { rows, more: true });
        codec::encode(&Response::<SimRuntime>::Client(page)).unwrap();
    }
    codec::encode(&SnapshotChunk(filled(2 * SNAPSHOT_CHUNK_BYTES + VALUE_BYTES_MAX))).unwrap();
}

#[test]
fn one_more_than_a_limit_is_refused_by_its_name() {
    let key = || filled(1);
    let long_key = || filled(KEY_BYTES_MAX + 1);
    let long_value = || filled(VALUE_BYTES_MAX + 1);
    let mut heavy = largest_multi();
    let longer = filled(heavy[0].1.len() + 1);
    heavy[0].1 = longer;
    let mut many = vec![(key(), key()); MULTI_KEYS_MAX];
    many.push((key(), key()));
    let ttl_ms = SESSION_TTL_MAX.as_millis() as u64 + 1;
    let write = |command| ClientBody::Write { stamp: None, command };
    let scan = |prefix, limit| ClientBody::Scan {
        scan: Scan { prefix, after: None, limit },
        consistency: Consistency::Linearizable,
    };
    let get = ClientBody::Get { key: long_key(), consistency: Consistency::Linearizable };
    let swap = |expected, value| Command::CompareAndSet { key: key(), expected, value };
    let cases = [
        (get, "key bytes is 1025, the limit is 1024"),
        (write(Command::Set { key: long_key(), value: key() }), "key bytes is 1025"),
        (write(Command::Delete { key: long_key() }), "key bytes is 1025"),
        (write(Command::Set { key: key(), value: long_value() }), "value bytes is 1048577"),
        (write(swap(None, long_value())), "value bytes is 1048577, the limit is 1048576"),
        (write(swap(Some(long_value()), key())), "value bytes is 1048577"),
        (
            write(Command::CompareAndDelete { key: key(), expected: long_value() }),
            "value bytes is 1048577",
        ),
        (write(Command::SetMulti { pairs: many }), "keys of a multi-key write is 101"),
        (
            write(Command::SetMulti { pairs: heavy }),
            "bytes of a multi-key write is 4194305, the limit is 4194304",
        ),
        (write(Command::OpenSession { ttl_ms }), "session time to live in ms is 86400001"),
        (scan(long_key(), 1), "prefix bytes is 1025, the limit is 1024"),
        (scan(key(), 10_001), "scan rows is 10001, the limit is 10000"),
    ];
    for (body, expected) in cases {
        let error = body.check_limits().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}, expected {expected}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_name() {
    let header = codec::encode(&SnapshotChunk(Bytes::new())).unwrap().len();
    // Its length takes three bytes more than that of nothing.
    let most = MESSAGE_BYTES_MAX - header - 3;
    assert_eq!(codec::encode(&SnapshotChunk(filled(most))).unwrap().len(), MESSAGE_BYTES_MAX);
    let error = codec::encode(&SnapshotChunk(filled(most + 1))).unwrap_err();
    assert_eq!(error, CodecError::TooLarge(MESSAGE_BYTES_MAX + 1));
    assert!(error.to_string().contains("the limit of 10485760 bytes"), "{error}");
}
