//! The objects of the history format as one would write them down: the reference for everything
//! else. Slow, and without any knowledge of searching.

use std::collections::BTreeMap;

use aspen_check::history::{Answer, Operation, Text};

/// One copy of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) keys: BTreeMap<Text, Text>,
    counters: BTreeMap<Text, i64>,
    locks: BTreeMap<Text, LockState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LockState {
    /// The largest token so far.
    token: u64,
    held: bool,
    leased: bool,
    /// The holder never heard of its token.
    unheard: bool,
}

impl World {
    /// Plays an operation. `dice` decides what the outside decides: whether a lease has run out, and
    /// how far the next token is.
    pub(crate) fn play(&mut self, operation: &Operation, dice: u64) -> Answer {
        match operation {
            Operation::CounterAdd { key, delta } => {
                let count = self.counters.entry(key.clone()).or_default();
                *count += delta;
                Answer::Count { count: *count }
            }
            Operation::CounterGet { key } => {
                Answer::Count { count: self.counters.get(key).copied().unwrap_or(0) }
            }
            Operation::LockAcquire { key, leased } => {
                let lock = self.locks.entry(key.clone()).or_default();
                if lock.held && !(lock.leased && dice.is_multiple_of(2)) {
                    return Answer::Held;
                }
                let token = lock.token + 1 + dice % 3;
                *lock = LockState { token, held: true, leased: *leased, unheard: false };
                Answer::Token { token }
            }
            Operation::LockRelease { key, token } => {
                let lock = self.locks.entry(key.clone()).or_default();
                if !lock.held || lock.unheard || lock.token != *token {
                    return Answer::Stale;
                }
                lock.held = false;
                Answer::Done
            }
            Operation::Get { .. }
            | Operation::Set { .. }
            | Operation::SetMulti { .. }
            | Operation::Append { .. }
            | Operation::Delete { .. }
            | Operation::CompareAndSet { .. }
            | Operation::CompareAndDelete { .. }
            | Operation::Scan { .. } => self.play_keys(operation),
        }
    }

    fn play_keys(&mut self, operation: &Operation) -> Answer {
        let data = &mut self.keys;
        match operation {
            Operation::Get { key } => Answer::Value { value: data.get(key).cloned() },
            Operation::Set { key, value } => {
                data.insert(key.clone(), value.clone());
                Answer::Done
            }
            Operation::SetMulti { pairs } => {
                data.extend(pairs.iter().cloned());
                Answer::Done
            }
            Operation::Append { key, value } => {
                let held = data.get(key).map_or("".into(), |held| held.to_string());
                data.insert(key.clone(), Text::new(&format!("{held}{value}")));
                Answer::Done
            }
            Operation::Delete { key } => Answer::Value { value: data.remove(key) },
            Operation::CompareAndSet { key, expected, value } => {
                let found = data.get(key).cloned();
                if found != *expected {
                    return Answer::Mismatch { value: found };
                }
                data.insert(key.clone(), value.clone());
                Answer::Swapped
            }
            Operation::CompareAndDelete { key, expected } => {
                let found = data.get(key).cloned();
                if found.as_ref() != Some(expected) {
                    return Answer::Mismatch { value: found };
                }
                data.remove(key);
                Answer::Swapped
            }
            Operation::Scan { prefix, limit } => {
                let rows = data.iter().filter(|(key, _)| key.starts_with(prefix));
                let rows = rows.take(*limit as usize);
                Answer::Rows {
                    rows: rows.map(|(key, value)| (key.clone(), value.clone())).collect(),
                }
            }
            Operation::CounterAdd { .. }
            | Operation::CounterGet { .. }
            | Operation::LockAcquire { .. }
            | Operation::LockRelease { .. } => unreachable!("not on keys"),
        }
    }

    /// The data after an operation with this answer, or of unknown outcome; none, if it cannot be.
    pub(crate) fn after(&self, operation: &Operation, answer: Option<&Answer>) -> Option<World> {
        let mut after = self.clone();
        if let Operation::LockAcquire { key, leased } = operation {
            let lock = after.locks.entry(key.clone()).or_default();
            let free = !lock.held || lock.leased;
            let next = lock.token + 1;
            let (token, possible) = match answer {
                Some(Answer::Token { token }) => (*token, free && *token >= next),
                Some(_) => return lock.held.then_some(after),
                None => (next, free),
            };
            *lock = LockState { token, held: true, leased: *leased, unheard: answer.is_none() };
            return possible.then_some(after);
        }
        if let Operation::LockRelease { key, token } = operation
            && let Some(lock) = after.locks.get_mut(key)
            && lock.held
            && lock.unheard
        {
            // Its token is some number from the least possible one on.
            if answer == Some(&Answer::Stale) {
                return Some(after);
            }
            let possible = lock.token <= *token;
            (lock.token, lock.held) = (*token, false);
            return possible.then_some(after);
        }
        let played = after.play(operation, 0);
        let bare = matches!(operation, Operation::Delete { .. } | Operation::CounterAdd { .. });
        let fits = match answer {
            None => true,
            Some(Answer::Done) if bare => true,
            Some(answer) => *answer == played,
        };
        fits.then_some(after)
    }
}
