//! Messages in words, for artifacts and explanations: `append T3 17..20 commit 16`.

use aspen_core::codec::{self, AppendFrame, AppendResultFrame, Open, Request, Response};
use aspen_core::types::{Entry, LogId, Vote};
use aspen_transport_sim::SimRuntime;

type Rt = SimRuntime;

/// A frame in few words. Never fails: what does not decode is said to be so.
pub fn describe(frame: &[u8]) -> String {
    if frame.is_empty() {
        return String::new();
    }
    if let Ok(request) = codec::decode::<Request<Rt>>(frame) {
        return request_text(&request);
    }
    if let Ok(response) = codec::decode::<Response<Rt>>(frame) {
        return response_text(&response);
    }
    if let Ok(AppendFrame(append)) = codec::decode::<AppendFrame<Rt>>(frame) {
        return append_text(
            &append.vote,
            append.prev_log_id,
            &append.entries,
            append.leader_commit,
        );
    }
    if let Ok(AppendResultFrame(result)) = codec::decode::<AppendResultFrame<Rt>>(frame) {
        return match result {
            Ok(matching) => format!("appended up to {}", log_id(matching)),
            Err(refused) => format!("append refused: {refused}"),
        };
    }
    match codec::decode::<Open>(frame) {
        Ok(Open::Append) => "open append stream".to_owned(),
        Ok(Open::Snapshot { meta, .. }) => format!("open snapshot {}", log_id(meta.last_log_id)),
        Ok(Open::Backup { .. }) => "open backup".to_owned(),
        Err(_) => format!("{} bytes", frame.len()),
    }
}

fn request_text(request: &Request<Rt>) -> String {
    match request {
        Request::Vote(vote) => {
            format!("vote? {} last {}", vote_text(&vote.vote), log_id(vote.last_log_id))
        }
        Request::PreVote(vote) => {
            format!("pre-vote? {} last {}", vote_text(&vote.vote), log_id(vote.last_log_id))
        }
        Request::Append(append) => {
            append_text(&append.vote, append.prev_log_id, &append.entries, append.leader_commit)
        }
        Request::TransferLeader(transfer) => {
            format!("transfer leadership to {}", transfer.to_node_id())
        }
        Request::Client(client) => format!("client {:?}", client.body),
        Request::Control(control) => format!("control {:?}", control.body),
        Request::Confirm { term } => format!("confirm T{term}?"),
    }
}

fn response_text(response: &Response<Rt>) -> String {
    match response {
        Response::Vote(vote) => {
            let word = if vote.vote_granted { "granted" } else { "refused" };
            format!("vote {word} {}", vote_text(&vote.vote))
        }
        Response::Append(append) => format!("heartbeat answer: {append}"),
        Response::TransferLeader(result) => format!("transfer answer: {result:?}"),
        Response::Client(client) => format!("client answer {client:?}"),
        Response::Control(control) => format!("control answer {control:?}"),
        Response::Confirmed(true) => "confirmed".to_owned(),
        Response::Confirmed(false) => "not confirmed: a later term is known".to_owned(),
    }
}

fn append_text(
    vote: &Vote,
    previous: Option<LogId>,
    entries: &[Entry],
    commit: Option<LogId>,
) -> String {
    let (vote, commit) = (vote_text(vote), log_id(commit));
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => {
            let (first, last) = (first.log_id.index, last.log_id);
            format!("append {vote} {first}..={} commit {commit}", log_id(Some(last)))
        }
        _ => format!("heartbeat {vote} at {} commit {commit}", log_id(previous)),
    }
}

fn vote_text(vote: &Vote) -> String {
    format!("T{} n{}", vote.leader_id.term, vote.leader_id.voted_for)
}

fn log_id(log_id: Option<LogId>) -> String {
    log_id.map_or("-".to_owned(), |id| format!("{}@T{}", id.index, id.leader_id.term))
}
