//! Plain enumeration of every order: what the checker is compared with.

use std::collections::BTreeMap;

use aspen_check::history::{Answer, Event, EventKind, Operation, Outcome, Process};

use super::reference::World;

struct Asked<'h> {
    operation: &'h Operation,
    answer: Option<&'h Answer>,
    invoked: usize,
    returned: usize,
}

/// Whether some order of the operations, which respects real time, gives every answer.
pub(crate) fn is_linearizable(history: &[Event]) -> bool {
    let mut asked: Vec<Option<Asked<'_>>> = Vec::new();
    let mut open: BTreeMap<Process, usize> = BTreeMap::new();
    for (place, event) in history.iter().enumerate() {
        match &event.kind {
            EventKind::Invoke { operation } => {
                open.insert(event.process, asked.len());
                let one = Asked { operation, answer: None, invoked: place, returned: usize::MAX };
                asked.push(Some(one));
            }
            EventKind::Complete { outcome } => {
                let number = open[&event.process];
                match outcome {
                    Outcome::Ok { answer } => {
                        let one = asked[number].as_mut().expect("it is open");
                        (one.answer, one.returned) = (Some(answer), place);
                    }
                    Outcome::Fail { .. } => asked[number] = None,
                    Outcome::Info { .. } => {}
                }
            }
        }
    }
    enumerate(&mut asked.into_iter().flatten().collect(), &World::default())
}

fn enumerate(left: &mut Vec<Asked<'_>>, world: &World) -> bool {
    if left.iter().all(|one| one.answer.is_none()) {
        return true;
    }
    for at in 0..left.len() {
        if left.iter().any(|other| other.returned < left[at].invoked) {
            continue;
        }
        let Some(after) = world.after(left[at].operation, left[at].answer) else { continue };
        let one = left.remove(at);
        let found = enumerate(left, &after);
        left.insert(at, one);
        if found {
            return true;
        }
    }
    false
}
