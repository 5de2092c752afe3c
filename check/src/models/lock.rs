//! A lock with fencing tokens: each grant brings a larger token than every one before.
//!
//! A lock is granted when it is free, or when its holder's lease may have run out, which the model
//! takes to be possible at any time. It is refused only while somebody holds it. A release takes
//! effect with the token of the present holder alone.
//!
//! A grant of unknown outcome has some token between those before and those after it. The model
//! leaves as little room for it as there must be, and lets a release name it: its client may have
//! learned of it after all. Left out: that a release which was refused as stale says which token it
//! is not.

use crate::history::{Answer, Operation};
use crate::model::Model;
use crate::operations;

/// The model. Its operations are [`Operation::LockAcquire`] and [`Operation::LockRelease`].
#[derive(Debug)]
pub(crate) struct Lock;

/// What a lock holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grants {
    /// Tokens up to this one are used up.
    used: u64,
    holder: Option<Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Holder {
    /// None: nobody said which, and it is not less than what is used up.
    token: Option<u64>,
    leased: bool,
}

impl Model for Lock {
    type Operation = Operation;
    type Answer = Answer;
    type State = Grants;

    fn initial(&self) -> Grants {
        Grants::default()
    }

    fn step(
        &self,
        state: &Grants,
        operation: &Operation,
        answer: Option<&Answer>,
    ) -> Option<Grants> {
        match (operation, answer) {
            (Operation::LockAcquire { .. }, Some(Answer::Held)) => {
                state.holder.is_some().then(|| state.clone())
            }
            (Operation::LockAcquire { leased, .. }, _) => {
                let available = state.holder.as_ref().is_none_or(|holder| holder.leased);
                let token = match answer {
                    Some(Answer::Token { token }) => Some(*token),
                    _ => None,
                };
                let used = token.map_or(state.used.checked_add(1), Some)?;
                let holder = Some(Holder { token, leased: *leased });
                (available && used > state.used).then_some(Grants { used, holder })
            }
            (Operation::LockRelease { token, .. }, _) => {
                let holder = state.holder.as_ref();
                let holds = holder.is_some_and(|holder| match holder.token {
                    Some(held) => held == *token,
                    None => state.used <= *token,
                });
                let unknown = holder.is_some_and(|holder| holder.token.is_none());
                match answer {
                    Some(Answer::Stale) => (!holds || unknown).then(|| state.clone()),
                    _ => holds.then(|| Grants { used: state.used.max(*token), holder: None }),
                }
            }
            _ => None,
        }
    }

    fn describe(&self, operation: &Operation) -> String {
        operations::describe(operation)
    }

    fn describe_answer(&self, answer: &Answer) -> String {
        operations::describe_answer(answer)
    }

    fn reads_only(&self, _: &Operation, answer: Option<&Answer>) -> bool {
        matches!(answer, Some(Answer::Held | Answer::Stale))
    }

    fn likeness(&self, operation: &Operation, answer: Option<&Answer>) -> Option<u128> {
        match (operation, answer) {
            (Operation::LockAcquire { leased, .. }, None) => Some((*leased).into()),
            (Operation::LockRelease { token, .. }, None | Some(Answer::Done)) => {
                Some(u128::from(*token) + 2)
            }
            _ => None,
        }
    }

    fn can_follow(&self, state: &Grants, _: &Operation, answer: &Answer) -> bool {
        if let Answer::Token { token } = answer { state.used < *token } else { true }
    }
}
