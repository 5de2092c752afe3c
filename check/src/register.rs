//! The polynomial special case: one key, and every value of it is written once.
//!
//! Then an answer says which write it saw, and no search is needed (Gibbons and Korach, "Testing
//! shared memories", section 4, for reads and writes; comparisons that held are added here). The
//! operations fall into *blocks*: a write, the reads that saw it, and, where a comparison replaced
//! its value, the values that came of it, one after another. A block occupies the key without a
//! break, at least from its `first` answer to its `latest` invocation. So one block comes before
//! another when its first answer precedes the other's latest invocation, and a history is
//! linearizable when no two blocks come before each other, and inside of a block nothing that saw
//! an earlier value was invoked after a later one had been seen.
//!
//! All that is checked answer by answer, in the order of the lines, so up to the first line that
//! breaks it the history is linearizable, and with that line, and the answers of the operations that
//! are open there, it is not. An operation of unknown outcome counts from the moment at which
//! somebody saw its value, and otherwise never took effect.
//!
//! For each block it is enough to look once at each later one that begins before its latest
//! invocation. In a linearizable history these are at most as many as operations were open when it
//! began, so time is linear in operations, and memory too.

use crate::calls::{Call, Line, NEVER};
use crate::cells::{Access, Cell, NONE};
use crate::groups::Group;

/// A group on one key with unique values.
#[derive(Debug)]
pub(crate) struct Register<'a, 'h> {
    calls: &'a [Call<'h>],
    answered: &'a [u32],
    accesses: &'a [Access],
    values: Vec<Value>,
    /// In the order of their first answers.
    blocks: Vec<Block>,
    /// Room for the values that an answer reveals.
    revealed: Vec<Cell>,
}

/// What is known of a cell.
#[derive(Clone, Copy, Debug)]
struct Value {
    /// The call that writes it.
    writer: u32,
    /// The first answer that shows that it, or one that came of it, was in place.
    seen: Line,
    /// The latest invocation of an operation that found it in place.
    latest: Line,
    /// The value that a comparison put in its place.
    next: Cell,
    block: u32,
}

/// Not seen yet.
const UNSEEN: Line = NEVER;
/// In place of a writer.
const NOBODY: u32 = u32::MAX;
const INITIALLY: u32 = u32::MAX - 1;

/// Operations that nothing may come between.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The first answer that shows it.
    first: Line,
    /// The latest invocation in it.
    latest: Line,
    /// The smallest `first` of the earlier blocks that this one comes before. If anything in it is
    /// invoked after that line, that block comes before this one, too.
    deadline: Line,
    /// The later blocks below this number were compared with it.
    reach: u32,
}

/// Where a history stops being linearizable.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// The call whose answer cannot be.
    pub(crate) call: u32,
    /// Lines of the operations that show it: invocations and answers.
    pub(crate) lines: Vec<Line>,
}

impl<'a, 'h> Register<'a, 'h> {
    /// Prepares a group, unless a value is written twice.
    pub(crate) fn new(group: &'a Group<'h>) -> Option<Self> {
        let single = group.single.as_ref()?;
        let (accesses, cells) = (&single.accesses, single.values.held().len());
        let mut read = vec![false; cells];
        for access in accesses {
            if let Some(read) = read.get_mut(access.condition as usize) {
                *read = true;
            }
        }
        let unseen = Value { writer: NOBODY, seen: UNSEEN, latest: 0, next: NONE, block: u32::MAX };
        let mut values = vec![unseen; cells];
        values[0] = Value { writer: INITIALLY, seen: 0, block: 0, ..unseen };
        for (number, (access, call)) in accesses.iter().zip(&group.calls).enumerate() {
            let effect = access.effect as usize;
            let matters = access.effect != NONE && (call.answer.is_some() || read[effect]);
            if !matters {
                continue;
            }
            if values[effect].writer != NOBODY {
                return None;
            }
            values[effect].writer = number as u32;
        }
        let initially = Block { first: 0, latest: 0, deadline: NEVER, reach: 1 };
        Some(Self {
            calls: &group.calls,
            answered: &group.answered,
            accesses,
            values,
            blocks: vec![initially],
            revealed: Vec::new(),
        })
    }

    /// Takes the answers in their order, those before a line.
    pub(crate) fn run(&mut self, before: Line) -> Result<(), Broken> {
        for number in self.answered {
            let returned = self.calls[*number as usize].returned;
            if returned >= before {
                break;
            }
            self.answer(*number, returned).map_err(|lines| Broken { call: *number, lines })?;
        }
        Ok(())
    }

    fn answer(&mut self, number: u32, now: Line) -> Result<(), Vec<Line>> {
        let Access { condition, effect } = self.accesses[number as usize];
        let shown = if effect == NONE { condition } else { effect };
        if shown == NONE {
            return Ok(());
        }
        if self.values[shown as usize].seen == UNSEEN {
            self.reveal(shown, now)?;
        }
        if effect == NONE {
            self.find(condition, self.calls[number as usize].invoked)?;
        }
        Ok(())
    }

    /// An operation that was invoked on this line found a value in place.
    fn find(&mut self, cell: Cell, invoked: Line) -> Result<(), Vec<Line>> {
        let value = &mut self.values[cell as usize];
        if invoked <= value.latest {
            return Ok(());
        }
        value.latest = invoked;
        let (next, block) = (value.next, value.block);
        if let Some(next) = self.values.get(next as usize)
            && invoked > next.seen
        {
            return Err(vec![next.seen]);
        }
        self.raise(block, invoked)
    }

    /// A value was in place, and so was all that it came of.
    fn reveal(&mut self, cell: Cell, now: Line) -> Result<(), Vec<Line>> {
        self.revealed.clear();
        let mut at = cell;
        let before = loop {
            let writer = self.values[at as usize].writer;
            let Some(call) = self.calls.get(writer as usize) else { return Err(Vec::new()) };
            if call.invoked > now {
                return Err(Vec::new());
            }
            self.values[at as usize].seen = now;
            self.revealed.push(at);
            at = self.accesses[writer as usize].condition;
            match self.values.get(at as usize) {
                None => break None,
                Some(value) if value.seen == UNSEEN => {}
                // Comparisons that need each other.
                Some(value) if value.seen == now => return Err(Vec::new()),
                Some(value) => match self.values.get(value.next as usize) {
                    Some(other) => return Err(vec![other.seen]),
                    None => break Some(at),
                },
            }
        };
        self.append(before, now)
    }

    /// Puts the revealed values behind the one that they came of, or into a block of their own.
    fn append(&mut self, before: Option<Cell>, now: Line) -> Result<(), Vec<Line>> {
        let block = match before {
            Some(before) => self.values[before as usize].block,
            None => self.blocks.len() as u32,
        };
        if before.is_none() {
            self.blocks.push(Block { first: now, latest: 0, deadline: NEVER, reach: block + 1 });
        }
        let (mut previous, mut latest) = (before.unwrap_or(NONE), 0);
        for cell in self.revealed.iter().rev() {
            let invoked = self.calls[self.values[*cell as usize].writer as usize].invoked;
            latest = latest.max(invoked);
            if let Some(previous) = self.values.get_mut(previous as usize) {
                previous.next = *cell;
                previous.latest = previous.latest.max(invoked);
            }
            self.values[*cell as usize].block = block;
            previous = *cell;
        }
        self.raise(block, latest)
    }

    /// Something in a block was invoked on this line.
    fn raise(&mut self, number: u32, invoked: Line) -> Result<(), Vec<Line>> {
        let number = number as usize;
        let mut block = self.blocks[number];
        if invoked <= block.latest {
            return Ok(());
        }
        block.latest = invoked;
        let mut overtaken = (invoked > block.deadline)
            .then(|| self.blocks.partition_point(|other| other.first < block.deadline));
        while let Some(other) = self.blocks.get_mut(block.reach as usize)
            && other.first < invoked
            && overtaken.is_none()
        {
            if other.latest > block.first {
                overtaken = Some(block.reach as usize);
            }
            other.deadline = other.deadline.min(block.first);
            block.reach += 1;
        }
        self.blocks[number] = block;
        match overtaken.map(|other| self.blocks[other]) {
            Some(other) => Err(vec![block.first, other.first, other.latest]),
            None => Ok(()),
        }
    }

    /// Whether a call could have found this value in place instead, after the answers so far.
    pub(crate) fn admits(&self, call: u32, cell: Cell) -> bool {
        let Call { invoked, returned, .. } = self.calls[call as usize];
        let value = self.values[cell as usize];
        if value.seen == UNSEEN {
            let Some(writer) = self.calls.get(value.writer as usize) else { return false };
            let from = self.accesses[value.writer as usize].condition;
            return writer.invoked < returned
                && match self.values.get(from as usize) {
                    None => true,
                    Some(from) if from.seen == UNSEEN || from.next != NONE => false,
                    Some(from) => self.may_raise(from.block, invoked.max(writer.invoked)),
                };
        }
        let replaced = self.values.get(value.next as usize);
        replaced.is_none_or(|next| invoked <= next.seen) && self.may_raise(value.block, invoked)
    }

    fn may_raise(&self, number: u32, invoked: Line) -> bool {
        let block = &self.blocks[number as usize];
        let later = self.blocks[block.reach as usize..].iter();
        let overtaken =
            later.take_while(|other| other.first < invoked).any(|other| other.latest > block.first);
        invoked <= block.latest || (invoked <= block.deadline && !overtaken)
    }
}
