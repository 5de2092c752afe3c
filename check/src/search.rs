//! The search for an order of a group's operations that explains every answer.
//!
//! Wing and Gong's search with Lowe's improvements ("Testing for linearizability", section 4:
//! just-in-time linearization, with a memory of visited configurations), turned into a sweep, so
//! that memory follows the number of operations that are open at once and not the length of the
//! history. A [`Configuration`] is the state that the system is in, and which of the open operations
//! have taken effect. At an invocation an operation becomes open. At a completion the operation must
//! have taken effect: configurations in which it has not are expanded by the open operations, in
//! every order, until it has. When none is left, the history up to that completion is not
//! linearizable.
//!
//! What states and operations are is a [`Space`]'s business. Six things make the sweep fast, none
//! of which changes the answer:
//! - an operation that only reads takes effect as soon as it can: it changes nothing, so whatever
//!   could follow can still follow;
//! - a state from which an operation with a known answer can no longer get that answer is hopeless;
//! - of the open operations that are alike, the one that ends first goes first: the others can take
//!   its place later;
//! - a write that nobody notices takes effect right before another write of the same keys, as soon
//!   as there is one: that hides it at once, and later it could only do harm;
//! - of two configurations that differ only in the optional operations that they have used up, or
//!   in the unnoticed writes that they still have to place, the one with fewer of both is enough:
//!   it can do whatever the other can;
//! - an optional operation is forgotten once nobody can notice it any more.
//!
//! A differential test holds this search against plain enumeration.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;

use crate::calls::{Call, Line, NEVER};
use crate::configuration::{Configuration, Levels, Ranking, Seen};
use crate::mask::{Mask, WideMask};

/// One operation as the search sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Which of the group's calls it is.
    pub(crate) call: u32,
    /// When it was asked.
    pub(crate) invoked: Line,
    /// When its answer came: it must have taken effect. For an optional step, when it stops to
    /// matter: it is forgotten, whether it has or not.
    pub(crate) leaves: Line,
    /// Its outcome is unknown: it may be left out.
    pub(crate) optional: bool,
    /// It leaves every state as it is.
    pub(crate) reads_only: bool,
    /// It must take effect, at all times can, and nobody will notice.
    pub(crate) silent: bool,
    /// The same number: the same effect in every state, and the same answer. 0: nothing is alike.
    pub(crate) likeness: u32,
}

impl Step {
    /// A call as a step; what nobody notices and what is alike is still to be found out.
    pub(crate) fn new<O, A>(number: u32, call: &Call<'_, O, A>, reads_only: bool) -> Self {
        Self {
            call: number,
            invoked: call.invoked,
            leaves: call.returned,
            optional: call.answer.is_none(),
            reads_only,
            silent: false,
            likeness: 0,
        }
    }

    /// Whether this one can take effect in place of a later one that is alike, and the other way
    /// round: what must take effect comes before what may, and what ends earlier before the rest.
    fn comes_before(&self, other: &Step) -> bool {
        let place = |step: &Step| (step.optional, step.leaves, step.invoked);
        place(self) < place(other)
    }
}

/// A group of operations, ready for the search.
pub(crate) trait Space {
    /// What the group's objects hold.
    type State: Clone + Eq + Hash;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The steps, in the order of their invocations.
    fn steps(&self) -> &[Step];

    /// The state after a step; none, if it cannot take effect in this one.
    fn after(&self, step: usize, state: &Self::State) -> Option<Self::State>;

    /// Whether a step that only reads can take effect.
    fn holds(&self, step: usize, state: &Self::State) -> bool {
        self.after(step, state).is_some()
    }

    /// Whether some step that has to take effect cannot any more, when `to` follows upon `from`.
    /// Still to come are the open steps in `waiting`, and those invoked after the line `now`. A
    /// search is right, and slow, without.
    fn hopeless(
        &self,
        from: &Self::State,
        to: &Self::State,
        now: Line,
        waiting: impl Iterator<Item = usize> + Clone,
    ) -> bool;

    /// Whether a step overwrites all that the `silent` one writes, whatever it finds.
    fn hides(&self, step: usize, silent: usize) -> bool {
        let _ = (step, silent);
        false
    }
}

/// How a sweep ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending<S> {
    /// Every operation with an answer found its place.
    Linearizable,
    /// One did not.
    Stuck(Stuck<S>),
    /// The budget of visited states was spent.
    Spent,
    /// The caller wanted it to end.
    Stopped,
}

/// Where the sweep found no way on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck<S> {
    /// The step that completed without a place to take effect.
    pub(crate) step: usize,
    /// States that the system may have been in while it was looked for, in the order in which they
    /// were met; not more than [`STATES_MAX`].
    pub(crate) states: Vec<S>,
}

/// Most states that are told of a stuck sweep.
pub(crate) const STATES_MAX: usize = 64;

/// Whether the sweep uses what comes later to abandon configurations early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foresight {
    /// It fails as soon as failure is certain.
    Full,
    /// It fails at the end of the shortest prefix that is not linearizable.
    Blind,
}

/// What a sweep may spend.
pub(crate) struct Allowance<'a> {
    /// How many states it may still visit.
    pub(crate) states: u64,
    /// Asked now and then; with yes the sweep ends.
    pub(crate) stop: &'a mut dyn FnMut() -> bool,
}

/// Between two questions whether to stop, in visited states.
const STATES_PER_QUESTION: u64 = 4096;

/// How many comparisons of burdens take as long as visiting a state.
const COMPARISONS_PER_STATE: u64 = 64;

impl Allowance<'_> {
    /// Counts the preparation of so many operations, too.
    pub(crate) fn spend_on(&mut self, operations: usize) {
        self.states = self.states.saturating_sub(operations as u64);
    }

    fn spend<S>(&mut self) -> Result<(), Ending<S>> {
        if self.states == 0 {
            return Err(Ending::Spent);
        }
        self.states -= 1;
        if self.states.is_multiple_of(STATES_PER_QUESTION) && (self.stop)() {
            return Err(Ending::Stopped);
        }
        Ok(())
    }
}

/// Sweeps over one group.
pub(crate) fn sweep<P: Space>(
    space: &P,
    foresight: Foresight,
    allowance: &mut Allowance<'_>,
) -> Ending<P::State> {
    match open_max(space.steps()) {
        0..=64 => Sweep::<P, u64>::new(space, foresight, allowance).run(),
        65..=128 => Sweep::<P, u128>::new(space, foresight, allowance).run(),
        _ => Sweep::<P, WideMask>::new(space, foresight, allowance).run(),
    }
}

/// Most steps that are open at once.
fn open_max(steps: &[Step]) -> usize {
    let mut leaving = BinaryHeap::new();
    let mut most = 0;
    for step in steps {
        while leaving.peek().is_some_and(|Reverse(line)| *line < step.invoked) {
            leaving.pop();
        }
        leaving.push(Reverse(step.leaves));
        most = most.max(leaving.len());
    }
    most
}

/// How a step leaves, in the order in which it happens at one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leaving {
    Completed,
    Retired,
}

struct Sweep<'a, 'b, P: Space, M> {
    space: &'a P,
    steps: &'a [Step],
    foresight: Foresight,
    allowance: &'a mut Allowance<'b>,
    /// The line that the sweep has reached.
    now: Line,
    /// The step in each slot.
    slots: Vec<usize>,
    slot_of: Vec<u32>,
    /// For each slot the open ones that are alike and go first.
    first: Vec<M>,
    open: M,
    optional: M,
    readers: M,
    silent: M,
    configurations: Vec<Configuration<P::State, M>>,
    /// Room for the expansions.
    waiting: Vec<Configuration<P::State, M>>,
    seen: Seen<P::State, M>,
    levels: Levels<P::State, M>,
}

impl<'a, 'b, P: Space, M: Mask> Sweep<'a, 'b, P, M> {
    fn new(space: &'a P, foresight: Foresight, allowance: &'a mut Allowance<'b>) -> Self {
        let steps = space.steps();
        let start = Configuration { state: space.initial(), taken: M::default() };
        Self {
            space,
            steps,
            foresight,
            allowance,
            now: 0,
            slots: Vec::new(),
            slot_of: vec![0; steps.len()],
            first: Vec::new(),
            open: M::default(),
            optional: M::default(),
            readers: M::default(),
            silent: M::default(),
            configurations: vec![start],
            waiting: Vec::new(),
            seen: Seen::default(),
            levels: Levels::default(),
        }
    }

    fn run(mut self) -> Ending<P::State> {
        self.take_all().err().unwrap_or(Ending::Linearizable)
    }

    fn take_all(&mut self) -> Result<(), Ending<P::State>> {
        // The steps come in the order of their invocations; those that are open, by their ends.
        let mut open = BinaryHeap::new();
        for (number, step) in self.steps.iter().enumerate() {
            while let Some(&Reverse(next @ (line, _, _))) = open.peek()
                && line < step.invoked
            {
                open.pop();
                self.leave(next)?;
            }
            self.now = step.invoked;
            self.invoke(number);
            if step.leaves != NEVER {
                let how = if step.optional { Leaving::Retired } else { Leaving::Completed };
                open.push(Reverse((step.leaves, how, number)));
            }
        }
        while let Some(Reverse(next)) = open.pop() {
            self.leave(next)?;
        }
        Ok(())
    }

    fn leave(&mut self, (line, how, step): (Line, Leaving, usize)) -> Result<(), Ending<P::State>> {
        self.now = line;
        match how {
            Leaving::Completed => self.complete(step)?,
            Leaving::Retired => self.retire(step),
        }
        Ok(())
    }

    fn invoke(&mut self, number: usize) {
        let slot = self.open.first_free();
        if slot as usize == self.slots.len() {
            self.slots.push(number);
            self.first.push(M::default());
        } else {
            self.slots[slot as usize] = number;
        }
        self.slot_of[number] = slot;
        let step = &self.steps[number];
        if step.likeness != 0 {
            self.compare_with_open(slot);
        }
        self.open.insert(slot);
        if step.optional {
            self.optional.insert(slot);
        }
        if step.silent {
            self.silent.insert(slot);
        }
        if step.reads_only {
            self.readers.insert(slot);
            for configuration in &mut self.configurations {
                if self.space.holds(number, &configuration.state) {
                    configuration.taken.insert(slot);
                }
            }
        }
    }

    /// Puts a step that becomes open in order with those that are alike.
    fn compare_with_open(&mut self, slot: u32) {
        let step = &self.steps[self.slots[slot as usize]];
        for other in self.open.slots() {
            let open = &self.steps[self.slots[other as usize]];
            if open.likeness == step.likeness {
                let (first, later) =
                    if step.comes_before(open) { (slot, other) } else { (other, slot) };
                self.first[later as usize].insert(first);
            }
        }
    }

    fn complete(&mut self, number: usize) -> Result<(), Ending<P::State>> {
        let slot = self.slot_of[number];
        let mut done = std::mem::take(&mut self.configurations);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(done.extract_if(.., |configuration| !configuration.taken.has(slot)));
        if !waiting.is_empty() {
            let states = self.expand(&mut waiting, slot, &mut done)?;
            if done.is_empty() {
                return Err(Ending::Stuck(Stuck { step: number, states }));
            }
        }
        self.configurations = done;
        self.waiting = waiting;
        let mut freed = M::default();
        freed.insert(slot);
        self.release(&freed);
        self.retire_taken();
        Ok(())
    }

    /// Lets open steps take effect, in every order, until the one in `slot` has; such
    /// configurations go to `done`. Gives back the states met, of a blind sweep.
    ///
    /// Configurations with a smaller burden come first, so that one which takes on more without
    /// need meets the one that does not, and goes no further.
    fn expand(
        &mut self,
        waiting: &mut Vec<Configuration<P::State, M>>,
        slot: u32,
        done: &mut Vec<Configuration<P::State, M>>,
    ) -> Result<Vec<P::State>, Ending<P::State>> {
        let ranking = self.ranking();
        let mut states = Vec::new();
        let (mut seen, mut levels) =
            (std::mem::take(&mut self.seen), std::mem::take(&mut self.levels));
        seen.clear();
        for one in done.iter() {
            seen.is_new(one, &ranking);
        }
        for one in waiting.drain(..) {
            if seen.is_new(&one, &ranking) {
                levels.push(one, &ranking);
            }
        }
        while let Some(configuration) = levels.pop() {
            if self.foresight == Foresight::Blind
                && states.len() < STATES_MAX
                && !states.contains(&configuration.state)
            {
                states.push(configuration.state.clone());
            }
            for next in self.open.without(&self.readers).without(&configuration.taken).slots() {
                if !self.first[next as usize].is_subset(&configuration.taken) {
                    continue;
                }
                let Some(next) = self.apply(&configuration, next) else { continue };
                self.allowance.spend()?;
                let is_new = seen.is_new(&next, &ranking);
                self.charge(&mut seen)?;
                if !is_new {
                    continue;
                }
                if next.taken.has(slot) {
                    done.push(next);
                } else {
                    levels.push(next, &ranking);
                }
            }
        }
        (self.seen, self.levels) = (seen, levels);
        Ok(states)
    }

    /// Comparing many burdens takes as long as visiting states, so it counts, too.
    fn charge(&mut self, seen: &mut Seen<P::State, M>) -> Result<(), Ending<P::State>> {
        while seen.compared >= COMPARISONS_PER_STATE {
            seen.compared -= COMPARISONS_PER_STATE;
            self.allowance.spend()?;
        }
        Ok(())
    }

    fn ranking(&self) -> Ranking<M> {
        Ranking { optional: self.optional.clone(), silent: self.silent.clone() }
    }

    /// The configuration after the step in `slot`, with the open writes that it hides and the open
    /// reads that it makes possible; none, if the step cannot or should not take effect.
    fn apply(
        &self,
        from: &Configuration<P::State, M>,
        slot: u32,
    ) -> Option<Configuration<P::State, M>> {
        let number = self.slots[slot as usize];
        let state = self.space.after(number, &from.state)?;
        // An optional step that changes nothing is better kept.
        if self.steps[number].optional && state == from.state {
            return None;
        }
        let mut taken = from.taken.clone();
        taken.insert(slot);
        if self.foresight == Foresight::Full {
            let waiting = self.open.without(&taken);
            let waiting = waiting.slots().map(|slot| self.slots[slot as usize]);
            if self.space.hopeless(&from.state, &state, self.now, waiting) {
                return None;
            }
        }
        for other in self.open.and(&self.silent).without(&taken).slots() {
            if self.space.hides(number, self.slots[other as usize]) {
                taken.insert(other);
            }
        }
        for reader in self.open.and(&self.readers).without(&taken).slots() {
            if self.space.holds(self.slots[reader as usize], &state) {
                taken.insert(reader);
            }
        }
        Some(Configuration { state, taken })
    }

    /// Frees slots, and drops configurations that another one makes superfluous.
    fn release(&mut self, freed: &M) {
        for mask in [&mut self.open, &mut self.optional, &mut self.readers, &mut self.silent] {
            *mask = mask.without(freed);
        }
        for configuration in &mut self.configurations {
            configuration.taken = configuration.taken.without(freed);
        }
        for slot in freed.slots() {
            self.first[slot as usize] = M::default();
        }
        if freed.slots().any(|slot| self.steps[self.slots[slot as usize]].likeness != 0) {
            self.first.iter_mut().for_each(|first| *first = first.without(freed));
        }
        if self.configurations.len() > 1 {
            let all = std::mem::take(&mut self.configurations);
            self.configurations = self.seen.best(all, &self.ranking());
        }
    }

    /// Forgets an optional step, if [`retire_taken`](Self::retire_taken) has not done so before and
    /// given its slot to another one.
    fn retire(&mut self, number: usize) {
        let slot = self.slot_of[number];
        if self.slots[slot as usize] == number {
            let mut freed = M::default();
            freed.insert(slot);
            self.release(&freed);
        }
    }

    /// Frees the slots of optional steps that have taken effect in every configuration.
    fn retire_taken(&mut self) {
        let everywhere =
            self.configurations.iter().fold(self.optional.clone(), |all, one| all.and(&one.taken));
        if !everywhere.is_empty() {
            self.release(&everywhere);
        }
    }
}
