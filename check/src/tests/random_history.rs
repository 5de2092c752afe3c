//! Random histories: legal by construction, and spoiled afterwards if wanted.
//!
//! A single copy of the data is played by clients whose operations take effect at one instant
//! between invocation and completion, so the history is linearizable whatever the seed. Used by
//! the differential test and by the benchmark.

use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::reference::World;

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
    /// Deletes and additions in a hundred that do not say what they removed or came to.
    pub(crate) bare_percent: u32,
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
    /// Gets and appends, and now and then a set or a delete.
    Append,
    /// Gets and appends, and everything else on keys, multi-key operations too.
    AppendEverything,
    /// Everything on keys but appends, multi-key operations too.
    Everything,
    /// Additions to counters, and reads of them.
    Counter,
    /// Locks, taken and given back.
    Lock,
}

#[derive(Default)]
enum Client {
    #[default]
    Idle,
    Asked(Operation),
    Answered(Operation, Answer),
}

struct Play {
    recipe: Recipe,
    random: ChaCha8Rng,
    world: World,
    clients: Vec<(Process, Client)>,
    /// Operations of unknown outcome that have not taken effect yet.
    adrift: Vec<Operation>,
    events: Vec<Event>,
    written: u64,
    /// The tokens of locks that clients have heard of.
    tokens: Vec<(Text, u64)>,
    next_process: u64,
}

/// A linearizable history.
pub(crate) fn legal(seed: u64, recipe: Recipe) -> Vec<Event> {
    let clients = (0..recipe.clients as u64).map(|number| (Process(number), Client::Idle));
    let mut play = Play {
        recipe,
        random: ChaCha8Rng::seed_from_u64(seed),
        world: World::default(),
        clients: clients.collect(),
        adrift: Vec::new(),
        events: Vec::new(),
        written: 0,
        tokens: Vec::new(),
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
            let dice = play.random.next_u64();
            play.world.play(&operation, dice);
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
                _ => {
                    let dice = self.random.next_u64();
                    let answer = self.world.play(&operation, dice);
                    let answer = self.answer(&operation, answer);
                    Client::Answered(operation, answer)
                }
            },
            Client::Answered(operation, answer) => {
                if self.random.random_range(0..100) < self.recipe.info_percent {
                    self.lose_touch(number)
                } else {
                    if let (Operation::LockAcquire { key, .. }, Answer::Token { token }) =
                        (operation, &answer)
                    {
                        self.tokens.push((key, *token));
                    }
                    self.push(process, EventKind::Complete { outcome: Outcome::Ok { answer } });
                    Client::Idle
                }
            }
        };
        self.clients[number].1 = next;
    }

    /// What the client is told.
    fn answer(&mut self, operation: &Operation, answer: Answer) -> Answer {
        let may_be_bare =
            matches!(operation, Operation::Delete { .. } | Operation::CounterAdd { .. });
        let bare = may_be_bare && self.random.random_range(0..100) < self.recipe.bare_percent;
        if bare { Answer::Done } else { answer }
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
            // Here some can be put together in several ways, and one is empty.
            values if self.recipe.mix == Mix::AppendEverything => {
                Text::new(["a", "aa", "b", "ab", ""][self.random.random_range(0..values as usize)])
            }
            values => Text::new(&format!("v{}", self.random.random_range(0..values))),
        }
    }

    /// What a key is expected to hold: mostly what it does hold.
    fn guess(&mut self, key: &Text) -> Option<Text> {
        match self.random.next_u32() % 4 {
            0 => Some(self.value()),
            _ => self.world.keys.get(key).cloned(),
        }
    }

    fn draw(&mut self) -> Operation {
        let group = self.random.random_range(0..self.recipe.groups);
        let key = self.key(group);
        let dice = match self.recipe.mix {
            Mix::Register => [0, 8][self.random.random_range(0..2)],
            Mix::Compare => [0, 0, 8, 16][self.random.random_range(0..4)],
            Mix::Delete => [0, 0, 8, 14][self.random.random_range(0..4)],
            Mix::Append => [0, 0, 20, 20, 20, 20, 8, 14][self.random.random_range(0..8)],
            Mix::AppendEverything => {
                [0, 20, 20, 20, 8, 13, 14, 16, 18, 19][self.random.random_range(0..10)]
            }
            Mix::Everything => self.random.random_range(0..20),
            Mix::Counter => [21, 22][self.random.random_range(0..2)],
            Mix::Lock => [23, 24][self.random.random_range(0..2)],
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
            19 => {
                let limit = self.random.random_range(0..=self.recipe.keys as u64 + 1);
                Operation::Scan { prefix: Text::new(&format!("g{group}/")), limit }
            }
            20 => Operation::Append { key, value: self.value() },
            21 => Operation::CounterGet { key },
            22 => {
                let least = if self.recipe.values == 0 { 1 } else { -1 };
                Operation::CounterAdd { key, delta: self.random.random_range(least..3) }
            }
            23 => Operation::LockAcquire { key, leased: self.random.random_range(0..2) == 0 },
            _ => {
                let dice = self.random.random_range(0..2);
                let mut known = self.tokens.iter().rev().filter(|(lock, _)| *lock == key);
                let token = known.nth(dice).map_or(0, |(_, token)| *token);
                Operation::LockRelease { key, token }
            }
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
        *answer = other(answer.clone(), value, &mut random);
    }
}

/// Another answer of the same operation.
fn other(answer: Answer, value: Option<Text>, random: &mut ChaCha8Rng) -> Answer {
    let near = random.random_range(0..3);
    match answer {
        Answer::Done | Answer::Stale => answer,
        Answer::Value { .. } => Answer::Value { value },
        Answer::Swapped => Answer::Mismatch { value },
        Answer::Mismatch { .. } if near == 0 => Answer::Swapped,
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
        Answer::Count { count } => Answer::Count { count: count + near as i64 - 1 },
        Answer::Token { token } if near == 0 => Answer::Token { token: token + 1 },
        Answer::Token { token } => Answer::Token { token: token.saturating_sub(1) },
        Answer::Held => Answer::Token { token: near as u64 + 1 },
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
            if let Operation::Set { value, .. }
            | Operation::Append { value, .. }
            | Operation::CompareAndSet { value, .. } = operation
            {
                values.push(value.clone());
            } else if let Operation::SetMulti { pairs } = operation {
                values.extend(pairs.iter().map(|(_, value)| value.clone()));
            }
        }
    }
    values
}

/// What the comparison with plain enumeration draws from: few operations, and between the recipes
/// everything that a history can hold.
pub(crate) fn small_recipes() -> Vec<Recipe> {
    let base = Recipe {
        clients: 4,
        operations: 8,
        groups: 1,
        keys: 1,
        values: 0,
        info_percent: 10,
        bare_percent: 0,
        mix: Mix::Everything,
    };
    vec![
        Recipe { clients: 3, operations: 7, ..base },
        Recipe { clients: 3, operations: 7, keys: 2, values: 2, info_percent: 20, ..base },
        Recipe { keys: 2, info_percent: 30, ..base },
        Recipe { clients: 2, groups: 2, keys: 2, values: 3, info_percent: 15, ..base },
        Recipe { clients: 5, operations: 7, keys: 3, values: 1, info_percent: 5, ..base },
        Recipe { mix: Mix::Register, ..base },
        Recipe { mix: Mix::Register, info_percent: 30, ..base },
        Recipe { mix: Mix::Register, values: 3, ..base },
        Recipe { mix: Mix::Compare, ..base },
        Recipe { mix: Mix::Compare, clients: 3, operations: 9, info_percent: 25, ..base },
        Recipe { mix: Mix::Compare, values: 2, ..base },
        Recipe { mix: Mix::Delete, ..base },
        Recipe { mix: Mix::Delete, bare_percent: 100, ..base },
        Recipe { mix: Mix::Delete, bare_percent: 50, values: 2, info_percent: 20, ..base },
        Recipe { mix: Mix::Append, operations: 7, ..base },
        Recipe { mix: Mix::Append, operations: 7, values: 2, bare_percent: 50, ..base },
        Recipe { mix: Mix::Append, clients: 3, bare_percent: 100, info_percent: 25, ..base },
        Recipe { mix: Mix::Append, values: 1, info_percent: 25, ..base },
        Recipe { mix: Mix::AppendEverything, clients: 3, bare_percent: 30, ..base },
        Recipe { mix: Mix::AppendEverything, clients: 3, keys: 2, info_percent: 25, ..base },
        Recipe { mix: Mix::AppendEverything, clients: 3, keys: 2, values: 2, ..base },
        Recipe { mix: Mix::AppendEverything, values: 5, info_percent: 25, ..base },
        Recipe { mix: Mix::AppendEverything, clients: 3, keys: 2, values: 4, ..base },
        Recipe { mix: Mix::Counter, operations: 7, bare_percent: 30, ..base },
        Recipe { mix: Mix::Counter, operations: 7, values: 1, bare_percent: 50, ..base },
        Recipe { mix: Mix::Lock, ..base },
        Recipe { mix: Mix::Lock, clients: 3, groups: 2, info_percent: 25, ..base },
    ]
}
