//! From openraft's types to the trace's.

use std::io;

use aspen_core::types::{Entry, LogId, Vote};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};

use super::Types;
use crate::trace::{EntryMark, Position, Recovered, VoteMark};

pub(super) fn position(log_id: LogId) -> Position {
    Position { index: log_id.index, term: log_id.leader_id.term }
}

pub(super) fn vote(vote: &Vote) -> VoteMark {
    VoteMark {
        term: vote.leader_id.term,
        voted_for: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(super) fn entry(entry: &Entry) -> EntryMark {
    let (stamp, voters) = match &entry.payload {
        EntryPayload::Blank => (None, None),
        EntryPayload::Normal(proposal) => {
            let stamp = proposal.stamp.map(|stamp| (stamp.session.0, stamp.sequence));
            (stamp, None)
        }
        EntryPayload::Membership(membership) => {
            let sets = membership.get_joint_config().iter();
            (None, Some(sets.map(|set| set.iter().copied().collect()).collect()))
        }
    };
    EntryMark { position: position(entry.log_id), payload: payload_hash(entry), stamp, voters }
}

fn payload_hash(entry: &Entry) -> u64 {
    let bytes = postcard::to_stdvec(&entry.payload).expect("payloads are plain data");
    let hash = blake3::hash(&bytes);
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has more than 8 bytes"))
}

/// What the storage holds, read the way openraft reads it.
pub(super) async fn recovered<L, M>(
    log: &mut L,
    machine: &mut M,
    repaired: bool,
) -> io::Result<Recovered>
where
    L: RaftLogStorage<Types>,
    M: RaftStateMachine<Types>,
{
    let state = log.get_log_state().await?;
    let mut reader = log.get_log_reader().await;
    let stored_vote = reader.read_vote().await?;
    let first = state.last_purged_log_id.map_or(0, |log_id| log_id.index + 1);
    let end = state.last_log_id.map_or(0, |log_id| log_id.index + 1);
    let entries = reader.try_get_log_entries(first..end.max(first)).await?;
    let (applied, _membership) = machine.applied_state().await?;
    Ok(Recovered {
        vote: stored_vote.as_ref().map(vote),
        purged: state.last_purged_log_id.map(position),
        entries: entries.iter().map(entry).collect(),
        applied: applied.map(position),
        repaired,
    })
}
