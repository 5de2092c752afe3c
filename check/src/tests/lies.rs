//! Answers that make a legal history illegal for certain, so that no oracle is needed to say so.

use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Text};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What makes a history illegal for certain, where written values are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// An answer that no operation brought about.
    NeverWritten,
    /// A get that saw a value before anybody asked to write it.
    NotYetWritten,
    /// A get that saw a value after a later write of the key had been answered.
    Overwritten,
}

/// Changes one answer at a random place, so that no order explains the history any more. False, if
/// there is no answer that could be changed like this.
pub(crate) fn tell_lie(seed: u64, lie: Lie, events: &mut [Event]) -> bool {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let start = random.random_range(0..events.len());
    let places = (start..events.len()).chain(0..start);
    for at in places {
        if let Some(answer) = lying_answer(events, at, lie) {
            events[at].kind = EventKind::Complete { outcome: Outcome::Ok { answer } };
            return true;
        }
    }
    false
}

/// The answer that makes a lie of the completion at `at`.
pub(crate) fn lying_answer(events: &[Event], at: usize, lie: Lie) -> Option<Answer> {
    let EventKind::Complete { outcome: Outcome::Ok { answer } } = &events[at].kind else {
        return None;
    };
    let process = events[at].process;
    let asked = events[..at].iter().rposition(|event| event.process == process)?;
    let EventKind::Invoke { operation } = &events[asked].kind else { return None };
    let Operation::Get { key } = operation else {
        return (lie == Lie::NeverWritten).then(|| impossible(answer)).flatten();
    };
    let set = |event: &Event| {
        let EventKind::Invoke { operation: Operation::Set { key: other, value } } = &event.kind
        else {
            return None;
        };
        (other == key).then(|| value.clone())
    };
    let value = match lie {
        Lie::NeverWritten => Text::new("never written"),
        Lie::NotYetWritten => events[at..].iter().find_map(set)?,
        Lie::Overwritten => overwritten(&events[..asked], set)?,
    };
    Some(Answer::Value { value: Some(value) })
}

/// An answer that no operation brought about.
fn impossible(answer: &Answer) -> Option<Answer> {
    let value = Some(Text::new("never written"));
    match answer {
        Answer::Value { .. } => Some(Answer::Value { value }),
        Answer::Mismatch { .. } => Some(Answer::Mismatch { value }),
        Answer::Count { .. } => Some(Answer::Count { count: 1 << 40 }),
        Answer::Token { .. } => Some(Answer::Token { token: 0 }),
        Answer::Done | Answer::Swapped | Answer::Rows { .. } | Answer::Held | Answer::Stale => None,
    }
}

/// The value of a set that was answered before another one was asked, which was answered, too.
fn overwritten(events: &[Event], set: impl Fn(&Event) -> Option<Text>) -> Option<Text> {
    let answered = |from: usize| {
        let process = events[from].process;
        let next = from + 1 + events[from + 1..].iter().position(|one| one.process == process)?;
        let ok = matches!(&events[next].kind, EventKind::Complete { outcome: Outcome::Ok { .. } });
        ok.then_some(next)
    };
    let later = (0..events.len())
        .rev()
        .find(|at| set(&events[*at]).is_some() && answered(*at).is_some())?;
    let mut earlier = (0..later).rev().filter_map(|at| Some((set(&events[at])?, answered(at)?)));
    earlier.find(|(_, answered)| *answered < later).map(|(value, _)| value)
}
