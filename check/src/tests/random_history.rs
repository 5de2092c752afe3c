//! Random histories: legal by construction, and spoiled afterwards if wanted.
//!
//! A single copy of the data is played by clients whose operations take effect at one instant
//! between invocation and completion, so the history is linearizable whatever the seed. Used by
//! the differential test and by the benchmark.

use std::collections::BTreeMap;

use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What kind of history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// Clients, each with one operation open at most.
    pub(crate) clients: usize,
    /// Operations invoked in all.
    pub(crate) operations: usize,
    /// Groups that operations stay inside.
    pub(crate) groups: usize,
    /// Keys in each group.
    pub(crate) keys: usize,
    /// Values to draw from; 0: every written value is new.
    pub(crate) values: u64,
    /// Operations in a hundred whose outcome stays unknown.
    pub(crate) info_percent: u32,
    /// What the clients ask for.
    pub(crate) mix: Mix,
}

/// What the clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Gets and sets.
    Register,
    /// Gets, sets, and comparisons that set.
    Compare,
    /// Gets, sets and deletes, which answer with what they removed.
    Delete,
    /// Everything, multi-key operations too.
    Everything,
}

#[derive(Default)]
enum Client {
    #[default]
    Idle,
    Asked(Operation),
    Answered(Answer),
}

struct Play {
    recipe: Recipe,
    random: ChaCha8Rng,
    data: BTreeMap<Text, Text>,
    clients: Vec<(Process, Client)>,
    /// Operations of unknown outcome that have not taken effect yet.
    adrift: Vec<Operation>,
    events: Vec<Event>,
    written: u64,
    next_process: u64,
}

/// A linearizable history.
pub(crate) fn legal(seed: u64, recipe: Recipe) -> Vec<Event> {
    let clients = (0..recipe.clients as u64).map(|number| (Process(number), Client::Idle));
    let mut play = Play {
        recipe,
        random: ChaCha8Rng::seed_from_u64(seed),
        data: BTreeMap::new(),
        clients: clients.collect(),
        adrift: Vec::new(),
        events: Vec::new(),
        written: 0,
        next_process: recipe.clients as u64,
    };
    let mut left = recipe.operations;
    loop {
        let number = play.random.random_range(0..play.clients.len());
        let idle = matches!(play.clients[number].1, Client::Idle);
        if idle && left == 0 {
            if play.clients.iter().all(|(_, client)| matches!(client, Client::Idle)) {
                return play.events;
            }
            continue;
        }
        left -= usize::from(idle);
        play.turn(number);
        if !play.adrift.is_empty() && play.random.random_range(0..4) == 0 {
            let which = play.random.random_range(0..play.adrift.len());
            let operation = play.adrift.swap_remove(which);
            apply(&mut play.data, &operation);
        }
    }
}

impl Play {
    fn turn(&mut self, number: usize) {
        let process = self.clients[number].0;
        let next = match std::mem::take(&mut self.clients[number].1) {
            Client::Idle => {
                let operation = self.draw();
                self.push(process, EventKind::Invoke { operation: operation.clone() });
                Client::Asked(operation)
            }
            Client::Asked(operation) => match self.random.random_range(0..100) {
                dice if dice < self.recipe.info_percent => {
                    self.adrift.push(operation);
                    self.lose_touch(number)
                }
                dice if dice < self.recipe.info_percent + 2 => {
                    let outcome = Outcome::Fail { reason: "refused".to_owned() };
                    self.push(process, EventKind::Complete { outcome });
                    Client::Idle
                }
                _ => Client::Answered(apply(&mut self.data, &operation)),
            },
            Client::Answered(answer) => {
                if self.random.random_range(0..100) < self.recipe.info_percent {
                    self.lose_touch(number)
                } else {
                    self.push(process, EventKind::Complete { outcome: Outcome::Ok { answer } });
                    Client::Idle
                }
            }
        };
        self.clients[number].1 = next;
    }

    fn lose_touch(&mut self, number: usize) -> Client {
        let outcome = Outcome::Info { reason: "timeout".to_owned() };
        self.push(self.clients[number].0, EventKind::Complete { outcome });
        self.clients[number].0 = Process(self.next_process);
        self.next_process += 1;
        Client::Idle
    }

    fn push(&mut self, process: Process, kind: EventKind) {
        let time_us = self.events.last().map_or(0, |event| event.time_us) + 1;
        self.events.push(Event { time_us, process, kind });
    }

    fn key(&mut self, group: usize) -> Text {
        Text::new(&format!("g{group}/k{}", self.random.random_range(0..self.recipe.keys)))
    }

    fn value(&mut self) -> Text {
        self.written += 1;
        match self.recipe.values {
            0 => Text::new(&format!("v{}", self.written)),
            values => Text::new(&format!("v{}", self.random.random_range(0..values))),
        }
    }

    /// What a key is expected to hold: mostly what it does hold.
    fn guess(&mut self, key: &Text) -> Option<Text> {
        match self.random.next_u32() % 4 {
            0 => Some(self.value()),
            _ => self.data.get(key).cloned(),
        }
    }

    fn draw(&mut self) -> Operation {
        let group = self.random.random_range(0..self.recipe.groups);
        let key = self.key(group);
        let dice = match self.recipe.mix {
            Mix::Register => [0, 8][self.random.random_range(0..2)],
            Mix::Compare => [0, 0, 8, 16][self.random.random_range(0..4)],
            Mix::Delete => [0, 0, 8, 14][self.random.random_range(0..4)],
            Mix::Everything => self.random.random_range(0..20),
        };
        match dice {
            0..8 => Operation::Get { key },
            8..13 => Operation::Set { key, value: self.value() },
            13 => {
                let other = self.key(group);
                Operation::SetMulti { pairs: vec![(key, self.value()), (other, self.value())] }
            }
            14 | 15 => Operation::Delete { key },
            16 | 17 => {
                let expected = self.guess(&key);
                Operation::CompareAndSet { key, expected, value: self.value() }
            }
            18 => match self.guess(&key) {
                Some(expected) => Operation::CompareAndDelete { key, expected },
                None => Operation::Get { key },
            },
            _ => {
                let limit = self.random.random_range(0..=self.recipe.keys as u64 + 1);
                Operation::Scan { prefix: Text::new(&format!("g{group}/")), limit }
            }
        }
    }
}

/// The key-value model as one would write it down: the reference for everything else.
pub(crate) fn apply(data: &mut BTreeMap<Text, Text>, operation: &Operation) -> Answer {
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
            let rows = data.iter().filter(|(key, _)| key.0.starts_with(&prefix.0));
            let rows = rows.take(*limit as usize).map(|(key, value)| (key.clone(), value.clone()));
            Answer::Rows { rows: rows.collect() }
        }
    }
}

/// Changes one answer, or moves one completion to an earlier place. The result is well
/// formed; whether it is linearizable is for an oracle to say.
pub(crate) fn spoil(seed: u64, events: &mut [Event]) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let answered: Vec<usize> = (0..events.len())
        .filter(|at| {
            matches!(&events[*at].kind, EventKind::Complete { outcome: Outcome::Ok { .. } })
        })
        .collect();
    if answered.is_empty() {
        return;
    }
    let at = answered[random.random_range(0..answered.len())];
    if random.random_range(0..3) == 0 {
        slide(events, at, random.random_range(0..4));
        return;
    }
    let known = values(events);
    let value = match random.random_range(0..=known.len()) {
        0 => None,
        number => Some(known[number - 1].clone()),
    };
    if let EventKind::Complete { outcome: Outcome::Ok { answer } } = &mut events[at].kind {
        *answer = match answer.clone() {
            Answer::Done => Answer::Done,
            Answer::Value { .. } => Answer::Value { value },
            Answer::Swapped => Answer::Mismatch { value },
            Answer::Mismatch { .. } if random.random_range(0..2) == 0 => Answer::Swapped,
            Answer::Mismatch { .. } => Answer::Mismatch { value },
            Answer::Rows { mut rows } => {
                let row = random.random_range(0..=rows.len());
                match (rows.get_mut(row), value) {
                    (Some(row), Some(value)) => row.1 = value,
                    (Some(_), None) => drop(rows.remove(row)),
                    (None, _) => drop(rows.pop()),
                }
                Answer::Rows { rows }
            }
        };
    }
}

/// Moves the event at `at` towards the beginning, not past its process's previous event.
fn slide(events: &mut [Event], mut at: usize, places: usize) {
    for _ in 0..places {
        if at == 0 || events[at - 1].process == events[at].process {
            return;
        }
        let (earlier, later) = (events[at - 1].time_us, events[at].time_us);
        events.swap(at - 1, at);
        (events[at - 1].time_us, events[at].time_us) = (earlier, later);
        at -= 1;
    }
}

fn values(events: &[Event]) -> Vec<Text> {
    let mut values = Vec::new();
    for event in events {
        if let EventKind::Invoke { operation } = &event.kind {
            match operation {
                Operation::Set { value, .. } | Operation::CompareAndSet { value, .. } => {
                    values.push(value.clone());
                }
                Operation::SetMulti { pairs } => {
                    values.extend(pairs.iter().map(|(_, value)| value.clone()));
                }
                Operation::Get { .. }
                | Operation::Delete { .. }
                | Operation::CompareAndDelete { .. }
                | Operation::Scan { .. } => {}
            }
        }
    }
    values
}
