//! The cluster: its birth, its members, its leader.

use std::collections::{BTreeMap, BTreeSet};

use aspen_core::NodeId;
use aspen_core::api::{ClusterState, ControlBody};
use aspen_transport_iroh::{PeerAddress, Ticket};
use clap::Subcommand;
use serde_json::json;

use super::{Ended, Exit, Output, usage};
use crate::client::{Client, Failure};

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
pub(super) enum Cluster {
    /// Make a new cluster of these nodes; the ticket's node does it. Once in a cluster's life
    Init {
        /// Its first voters, each as the ticket that it printed, or as N=ADDRESS
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Show what every node says of the cluster
    Status,
    /// Add a node that receives the log and does not vote, and wait until it answers and has
    /// caught up
    AddLearner {
        /// The node, as the ticket that it printed, or as N=ADDRESS
        node: String,
    },
    /// Remove a node that does not vote
    RemoveLearner {
        /// The node
        #[arg(value_name = "N")]
        node: u64,
    },
    /// Make these nodes the voters; whoever votes now and is not among them leaves
    ChangeMembership {
        /// The voters
        #[arg(required = true, value_delimiter = ',', value_name = "N")]
        voters: Vec<u64>,
    },
    /// Hand the leadership to another voter, and wait until that one leads
    TransferLeader {
        /// To whom
        node: u64,
    },
    /// Have the ticket's node take a snapshot
    Snapshot,
    /// Print a ticket that names every member
    Ticket,
}

/// A node as it is named on the command line.
fn named(text: &str, client: &Client) -> Result<BTreeMap<NodeId, String>, Ended> {
    if let Some((id, address)) = text.split_once('=')
        && let Ok(id) = id.parse::<u64>()
    {
        let address: PeerAddress =
            address.parse().map_err(|error| usage(format!("node {id}: {error}")))?;
        return Ok(BTreeMap::from([(NodeId(id), address.to_string())]));
    }
    let ticket: Ticket = text
        .parse()
        .map_err(|error| usage(format!("`{text}`: {error}; or a node as N=ID@HOST:PORT")))?;
    if ticket.secret != *client.secret() {
        return Err(usage(format!("`{text}`: it is of a cluster with another cookie")));
    }
    Ok(ticket.nodes.into_iter().map(|(id, address)| (id, address.to_string())).collect())
}

impl Cluster {
    pub(super) async fn run(self, client: &Client, out: &Output) -> Result<Exit, Ended> {
        let body = match self {
            Cluster::Status => return status(client, out).await,
            Cluster::Ticket => return ticket(client, out).await,
            Cluster::Init { nodes } => {
                let mut voters = BTreeMap::new();
                for node in nodes {
                    voters.extend(named(&node, client)?);
                }
                ControlBody::Init { voters }
            }
            Cluster::AddLearner { node } => {
                let mut nodes = named(&node, client)?.into_iter();
                let (Some((node, address)), None) = (nodes.next(), nodes.next()) else {
                    return Err(usage("the ticket names several nodes; expected N=ADDRESS".into()));
                };
                ControlBody::AddLearner { node, address }
            }
            Cluster::RemoveLearner { node } => ControlBody::RemoveLearner { node: NodeId(node) },
            Cluster::ChangeMembership { voters } => {
                ControlBody::ChangeMembership { voters: voters.into_iter().map(NodeId).collect() }
            }
            Cluster::TransferLeader { node } => ControlBody::TransferLeader { to: NodeId(node) },
            Cluster::Snapshot => ControlBody::Snapshot,
        };
        client.control(body).await?;
        out.print(b"", &json!({}))?;
        Ok(Exit::Done)
    }
}

async fn ticket(client: &Client, out: &Output) -> Result<Exit, Ended> {
    let state = client.state().await?;
    let parsed = |(id, text): (&NodeId, &String)| Some((*id, text.parse().ok()?));
    let nodes = state.addresses.iter().filter_map(parsed).collect();
    let ticket = Ticket { nodes, secret: client.secret().clone() }.to_string();
    out.print(format!("{ticket}\n").as_bytes(), &json!({ "ticket": ticket }))?;
    Ok(Exit::Done)
}

async fn status(client: &Client, out: &Output) -> Result<Exit, Ended> {
    let states = client.states().await;
    let mut lines = String::new();
    let mut data = Vec::new();
    for (node, state) in &states {
        match state {
            Ok(state) => {
                lines += &line(state);
                data.push(json!({ "node": node, "state": state }));
            }
            Err(failure) => {
                lines += &format!("node {node}: {failure}\n");
                data.push(json!({ "node": node, "error": failure.to_string() }));
            }
        }
    }
    out.print(lines.as_bytes(), &json!({ "nodes": data }))?;
    let answered = states.iter().filter_map(|(_, state)| state.as_ref().ok());
    if answered.clone().next().is_none() {
        return Err(Failure::Unavailable("no node answers".to_owned()).into());
    }
    Ok(if answered.clone().any(|state| state.leader.is_some()) { Exit::Done } else { Exit::Not })
}

fn line(state: &ClusterState) -> String {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let ids = |ids: &BTreeSet<NodeId>| {
        let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
        if ids.is_empty() { "-".to_owned() } else { ids.join(",") }
    };
    let role = match state.leader {
        Some(leader) if leader == state.id => "leader",
        _ if state.voters.iter().any(|voters| voters.contains(&state.id)) => "follower",
        _ if state.learners.contains(&state.id) => "learner",
        _ => "outside",
    };
    let voters: Vec<String> = state.voters.iter().map(ids).collect();
    format!(
        "node {}: {role}, term {}, leader {}, log to {}, applied to {}, snapshot to {}, voters {}, \
         learners {}\n",
        state.id,
        state.term,
        number(state.leader.map(|leader| leader.0)),
        number(state.last_log_index),
        number(state.applied_index),
        number(state.snapshot_index),
        if voters.is_empty() { "-".to_owned() } else { voters.join(" and ") },
        ids(&state.learners),
    )
}
