//! Whom a fault hits: said by role in the schedule, resolved to nodes when the fault fires.

use std::fmt;
use std::str::FromStr;

use aspen_core::NodeId;
use serde::{Deserialize, Serialize};

/// One node, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    /// The leader of the highest term seen so far; the first node while there is none.
    Leader,
    /// The n-th node that is not the leader, by id, counted from 1.
    Follower(u64),
    /// The n-th node, whatever its role, counted from 1.
    Node(u64),
}

/// Some nodes, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Targets {
    /// One node.
    One(Target),
    /// As many as may fail with the cluster alive, without the leader.
    Minority,
    /// One more than may fail with the cluster alive, the leader among them.
    Majority,
    /// Every node.
    All,
}

impl Target {
    /// The node that it means now. Numbers beyond the cluster's size wrap around.
    pub fn resolve(self, nodes: &[NodeId], leader: Option<NodeId>) -> NodeId {
        let leader = leader.unwrap_or(nodes[0]);
        match self {
            Target::Leader => leader,
            Target::Follower(number) => {
                let followers: Vec<NodeId> =
                    nodes.iter().copied().filter(|node| *node != leader).collect();
                pick(&followers, number).unwrap_or(leader)
            }
            Target::Node(number) => pick(nodes, number).unwrap_or(leader),
        }
    }
}

impl Targets {
    /// The nodes that it means now, by id.
    pub fn resolve(self, nodes: &[NodeId], leader: Option<NodeId>) -> Vec<NodeId> {
        let minority = (nodes.len() - 1) / 2;
        let leader_now = leader.unwrap_or(nodes[0]);
        let followers = nodes.iter().copied().filter(|node| *node != leader_now);
        match self {
            Targets::One(target) => vec![target.resolve(nodes, leader)],
            Targets::Minority => followers.take(minority).collect(),
            Targets::Majority => {
                let mut hit: Vec<NodeId> = followers.take(minority).chain([leader_now]).collect();
                hit.sort();
                hit
            }
            Targets::All => nodes.to_vec(),
        }
    }
}

fn pick(nodes: &[NodeId], number: u64) -> Option<NodeId> {
    let count = nodes.len() as u64;
    let index = number.wrapping_sub(1).checked_rem(count)?;
    nodes.get(index as usize).copied()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Leader => f.write_str("leader"),
            Target::Follower(number) => write!(f, "follower {number}"),
            Target::Node(number) => write!(f, "node {number}"),
        }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Targets::One(target) => target.fmt(f),
            Targets::Minority => f.write_str("minority"),
            Targets::Majority => f.write_str("majority"),
            Targets::All => f.write_str("all"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse::<u64>().ok().filter(|number| *number > 0);
        let target = match text.split_once(' ') {
            None if text == "leader" => Some(Target::Leader),
            Some(("follower", digits)) => number(digits).map(Target::Follower),
            Some(("node", digits)) => number(digits).map(Target::Node),
            _ => None,
        };
        target.ok_or_else(|| {
            format!("unknown target `{text}`, expected leader, `follower N` or `node N`, N from 1")
        })
    }
}

impl FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "minority" => Ok(Targets::Minority),
            "majority" => Ok(Targets::Majority),
            "all" => Ok(Targets::All),
            text => text
                .parse()
                .map(Targets::One)
                .map_err(|error| format!("{error}, or minority, majority, all")),
        }
    }
}

macro_rules! as_string {
    ($type:ty) => {
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}

as_string!(Target);
as_string!(Targets);
