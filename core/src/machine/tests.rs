//! The state machine over a map: each test is a script of entries with the replies expected.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::command::Refusal;
use crate::limits;

#[derive(Default)]
struct MapRows(BTreeMap<Key, Value>);

impl Rows for MapRows {
    type Error = Infallible;

    fn get(&self, key: &Key) -> Result<Option<Value>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn put(
        &mut self,
        key: &Key,
        value: &Value,
        hash: RowHash,
    ) -> Result<Option<RowHash>, Infallible> {
        assert_eq!(hash, RowHash::of(key, value), "the hash must be the new row's");
        let old = self.0.insert(key.clone(), value.clone());
        Ok(old.map(|old| RowHash::of(key, &old)))
    }

    fn remove(&mut self, key: &Key) -> Result<Option<(Value, RowHash)>, Infallible> {
        let old = self.0.remove(key);
        Ok(old.map(|old| (old.clone(), RowHash::of(key, &old))))
    }
}

/// A machine over a map, fed one entry after another.
#[derive(Default)]
struct Bench {
    machine: Machine,
    rows: MapRows,
    index: u64,
}

impl Bench {
    fn apply(&mut self, ms: u64, stamp: Option<(u64, u64)>, command: Command) -> Reply {
        self.index += 1;
        let stamp =
            stamp.map(|(session, sequence)| SessionStamp { session: SessionId(session), sequence });
        let proposal = Proposal { time: LogTime::from_ms(ms), stamp, command };
        let reply = self.machine.apply(&mut self.rows, self.index, &proposal);
        self.check_digest();
        reply.expect("a map does not fail")
    }

    /// Applies without a session, at time 0.
    fn run(&mut self, command: Command) -> Reply {
        self.apply(0, None, command)
    }

    fn check_digest(&self) {
        let mut digest = RowsDigest::default();
        for (key, value) in &self.rows.0 {
            digest.insert(RowHash::of(key, value));
        }
        assert_eq!(self.machine.content(), digest, "the running digest must equal a fresh one");
    }

    fn value(&self, key: &str) -> Option<&str> {
        let value = self.rows.0.get(key.as_bytes())?;
        Some(std::str::from_utf8(value).expect("tests write text"))
    }
}

fn bytes(text: &str) -> Value {
    Value::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> Command {
    Command::Set { key: bytes(key), value: bytes(value) }
}

fn swap(key: &str, expected: Option<&str>, value: &str) -> Command {
    Command::CompareAndSet { key: bytes(key), expected: expected.map(bytes), value: bytes(value) }
}

fn swap_out(key: &str, expected: &str) -> Command {
    Command::CompareAndDelete { key: bytes(key), expected: bytes(expected) }
}

#[test]
fn commands_without_a_session() {
    let old = |value| Reply::Removed(Some(bytes(value)));
    let found = |value: Option<&str>| Reply::Mismatch(value.map(bytes));
    let delete = |key| Command::Delete { key: bytes(key) };
    let script = [
        (Command::Tick, Reply::Done, None),
        (set("k", "1"), Reply::Done, Some("1")),
        (set("k", "2"), Reply::Done, Some("2")),
        (swap("k", Some("1"), "3"), found(Some("2")), Some("2")),
        (swap("k", None, "3"), found(Some("2")), Some("2")),
        (swap("k", Some("2"), "3"), Reply::Swapped, Some("3")),
        (delete("k"), old("3"), None),
        (delete("k"), Reply::Removed(None), None),
        (swap("k", Some("3"), "4"), found(None), None),
        (swap("k", None, "4"), Reply::Swapped, Some("4")),
        (swap_out("k", "3"), found(Some("4")), Some("4")),
        (swap_out("k", "4"), Reply::Swapped, None),
        (swap_out("k", "4"), found(None), None),
        (Command::CloseSession, Reply::Done, None),
    ];
    let mut bench = Bench::default();
    for (step, (command, reply, value)) in script.into_iter().enumerate() {
        let name = command.name();
        assert_eq!(bench.run(command), reply, "reply of step {step}, {name}");
        assert_eq!(bench.value("k"), value, "value after step {step}, {name}");
    }
}

#[test]
fn of_a_key_that_stands_twice_in_a_multi_key_write_the_last_value_counts() {
    let mut bench = Bench::default();
    let pairs = [("a", "1"), ("b", "2"), ("a", "3")];
    let pairs = pairs.map(|(key, value)| (bytes(key), bytes(value))).to_vec();
    assert_eq!(bench.run(Command::SetMulti { pairs }), Reply::Done);
    assert_eq!((bench.value("a"), bench.value("b")), (Some("3"), Some("2")));
}

#[test]
fn a_retry_gets_the_stored_reply_and_has_no_effect() {
    let mut bench = Bench::default();
    let opened = bench.run(Command::OpenSession { ttl_ms: 100 });
    assert_eq!(opened, Reply::SessionOpened(SessionId(1)));
    assert_eq!(bench.apply(1, Some((1, 7)), swap("k", None, "mine")), Reply::Swapped);
    bench.apply(2, None, set("k", "theirs"));
    let before = bench.machine.content();
    assert_eq!(bench.apply(3, Some((1, 7)), swap("k", None, "mine")), Reply::Swapped);
    assert_eq!(bench.value("k"), Some("theirs"));
    assert_eq!(bench.machine.content(), before);
}

#[test]
fn a_request_older_than_the_last_is_refused() {
    let mut bench = Bench::default();
    bench.run(Command::OpenSession { ttl_ms: 100 });
    bench.apply(1, Some((1, 5)), set("k", "five"));
    let refusal = Refusal::StaleSequence { session: SessionId(1), sequence: 4, last: 5 };
    assert_eq!(bench.apply(2, Some((1, 4)), set("k", "four")), Reply::Refused(refusal));
    assert_eq!(bench.value("k"), Some("five"));
}

#[test]
fn a_session_expires_by_log_time_and_every_request_renews_it() {
    let expired = Reply::Refused(Refusal::SessionExpired(SessionId(1)));
    let mut bench = Bench::default();
    bench.apply(1000, None, Command::OpenSession { ttl_ms: 100 });
    assert_eq!(bench.apply(1099, Some((1, 1)), set("k", "1")), Reply::Done);
    assert_eq!(bench.apply(1198, Some((1, 1)), set("k", "1")), Reply::Done, "a retry renews too");
    assert_eq!(bench.apply(900, None, Command::Tick), Reply::Done);
    assert_eq!(bench.machine.log_time(), LogTime::from_ms(1198), "log time never goes back");
    assert_eq!(bench.apply(1297, Some((1, 2)), set("k", "2")), Reply::Done);
    bench.apply(1397, None, Command::Tick);
    assert_eq!(bench.machine.sessions().len(), 0);
    assert_eq!(bench.apply(1397, Some((1, 3)), set("k", "3")), expired);
    assert_eq!(bench.apply(1397, Some((9, 1)), set("k", "3")), {
        Reply::Refused(Refusal::SessionExpired(SessionId(9)))
    });
    assert_eq!(bench.value("k"), Some("2"));
}

#[test]
fn a_closed_session_is_gone() {
    let mut bench = Bench::default();
    bench.run(Command::OpenSession { ttl_ms: 100 });
    assert_eq!(bench.apply(1, Some((1, 1)), Command::CloseSession), Reply::Done);
    let again = bench.apply(1, Some((1, 1)), Command::CloseSession);
    assert_eq!(again, Reply::Refused(Refusal::SessionExpired(SessionId(1))));
    assert_eq!(bench.machine.sessions().digest(), RowsDigest::default());
}

#[test]
fn one_session_more_than_the_limit_is_refused_until_one_ends() {
    let mut bench = Bench::default();
    for index in 1..=limits::SESSIONS_MAX as u64 {
        let opened = bench.apply(index, None, Command::OpenSession { ttl_ms: 100_000 });
        assert_eq!(opened, Reply::SessionOpened(SessionId(index)));
    }
    let full = Reply::Refused(Refusal::TooManySessions(limits::SESSIONS_MAX as u64));
    assert_eq!(bench.apply(5000, None, Command::OpenSession { ttl_ms: 1 }), full);
    bench.apply(5000, Some((17, 1)), Command::CloseSession);
    let index = bench.index + 1;
    let opened = bench.apply(5000, None, Command::OpenSession { ttl_ms: 1 });
    assert_eq!(opened, Reply::SessionOpened(SessionId(index)));
}

#[test]
fn a_machine_loaded_from_its_session_rows_goes_on_as_if_it_had_never_stopped() {
    let mut bench = Bench::default();
    bench.run(Command::OpenSession { ttl_ms: 100 });
    bench.run(Command::OpenSession { ttl_ms: 500 });
    bench.apply(50, Some((1, 3)), Command::Delete { key: bytes("nothing") });
    bench.apply(60, Some((2, 1)), set("k", "v"));
    let changes = bench.machine.sessions_mut().take_changes();
    let rows =
        changes.iter().map(|(id, row)| (*id, row.as_deref().expect("both sessions are open")));
    let loaded = Machine::load(bench.machine.log_time(), bench.machine.content(), rows);
    let loaded = loaded.expect("rows that the machine wrote");
    assert_eq!(loaded.digests(), bench.machine.digests());
    bench.machine = loaded;
    let retried = bench.apply(149, Some((1, 3)), Command::Delete { key: bytes("k") });
    assert_eq!(retried, Reply::Removed(None));
    assert_eq!(bench.value("k"), Some("v"));
    bench.apply(249, None, Command::Tick);
    assert_eq!(bench.machine.sessions().len(), 1, "the shorter session has expired");
}

#[test]
fn time_and_sessions_are_part_of_the_state_but_not_of_the_content() {
    let mut bench = Bench::default();
    let first = bench.machine.digests();
    bench.apply(1, None, Command::Tick);
    let second = bench.machine.digests();
    bench.apply(1, None, Command::OpenSession { ttl_ms: 10 });
    let third = bench.machine.digests();
    assert_eq!((first.content, second.content), (second.content, third.content));
    assert_ne!(first.state, second.state);
    assert_ne!(second.state, third.state);
}
