//! Keys and values.

use std::sync::Arc;

use aspen_check::history::Text;
use aspen_core::api::{Consistency, Scan};
use aspen_core::command::{Command, Reply};
use aspen_core::limits::SCAN_ROWS_MAX;
use bytes::Bytes;
use clap::Subcommand;
use serde_json::json;

use super::{Ended, Exit, Output, usage};
use crate::client::{Client, Failure};

/// What can be done with keys and values.
#[derive(Debug, Subcommand)]
pub(super) enum Kv {
    /// Print a key's value; exit code 1 if it has none
    Get {
        /// The key
        key: String,
        /// What the asked node has, without asking a quorum
        #[arg(long)]
        stale: bool,
    },
    /// Set a key
    Set {
        /// The key
        key: String,
        /// Its new value
        value: String,
    },
    /// Remove a key; exit code 1 if it was not there
    Delete {
        /// The key
        key: String,
    },
    /// Print the keys that begin with a prefix, and their values
    Scan {
        /// What they begin with; empty: all
        #[arg(default_value = "")]
        prefix: String,
        /// Most rows
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
        /// What the asked node has, without asking a quorum
        #[arg(long)]
        stale: bool,
    },
    /// Set a key if it holds what is expected; exit code 1 if it does not
    Cas {
        /// The key
        key: String,
        /// What it must hold
        #[arg(long, value_name = "VALUE", required_unless_present = "absent")]
        expected: Option<String>,
        /// It must not be there
        #[arg(long, conflicts_with = "expected")]
        absent: bool,
        /// Its new value
        value: String,
    },
    /// Set several keys at once
    SetMulti {
        /// Keys and their values
        #[arg(required = true, value_name = "KEY=VALUE")]
        pairs: Vec<String>,
    },
}

fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}

fn text(value: Option<&Bytes>) -> Option<Text> {
    value.map(|value| Text::from(&value[..]))
}

impl Kv {
    pub(super) async fn run(self, client: &Arc<Client>, out: &Output) -> Result<Exit, Ended> {
        match self {
            Kv::Get { key, stale } => {
                let value = client.get(key.into(), consistency(stale)).await?;
                found(value.as_ref(), out, "value")
            }
            Kv::Set { key, value } => {
                let command = Command::Set { key: key.into(), value: value.into() };
                done(client.write(command).await?, out)
            }
            Kv::Delete { key } => {
                let reply = client.write(Command::Delete { key: key.into() }).await?;
                let Reply::Removed(value) = reply else { return Err(unexpected(&reply)) };
                found(value.as_ref(), out, "removed")
            }
            Kv::Scan { prefix, limit, stale } => scan(client, out, prefix, limit, stale).await,
            Kv::Cas { key, expected, absent: _, value } => {
                let (key, value) = (key.into(), value.into());
                let expected = expected.map(Bytes::from);
                let command = Command::CompareAndSet { key, expected, value };
                swapped(client.write(command).await?, out)
            }
            Kv::SetMulti { pairs } => {
                let pairs: Result<Vec<_>, Ended> = pairs.into_iter().map(pair).collect();
                done(client.write(Command::SetMulti { pairs: pairs? }).await?, out)
            }
        }
    }
}

fn pair(text: String) -> Result<(Bytes, Bytes), Ended> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(usage(format!("`{text}`: expected KEY=VALUE")));
    };
    Ok((Bytes::from(key.to_owned()), Bytes::from(value.to_owned())))
}

fn done(reply: Reply, out: &Output) -> Result<Exit, Ended> {
    if reply != Reply::Done {
        return Err(unexpected(&reply));
    }
    out.print(b"", &json!({}))?;
    Ok(Exit::Done)
}

fn swapped(reply: Reply, out: &Output) -> Result<Exit, Ended> {
    if reply == Reply::Swapped {
        out.print(b"", &json!({ "swapped": true }))?;
        return Ok(Exit::Done);
    }
    let Reply::Mismatch(value) = reply else { return Err(unexpected(&reply)) };
    let value = text(value.as_ref());
    let words = match &value {
        Some(value) => format!("it holds {value}\n"),
        None => "it is not there\n".to_owned(),
    };
    out.print(words.as_bytes(), &json!({ "swapped": false, "value": value }))?;
    Ok(Exit::Not)
}

/// A value that was there, or not.
fn found(value: Option<&Bytes>, out: &Output, name: &str) -> Result<Exit, Ended> {
    let line = value.map_or(Vec::new(), |value| [&value[..], b"\n"].concat());
    out.print(&line, &json!({ name: text(value) }))?;
    Ok(if value.is_some() { Exit::Done } else { Exit::Not })
}

async fn scan(
    client: &Client,
    out: &Output,
    prefix: String,
    limit: u64,
    stale: bool,
) -> Result<Exit, Ended> {
    let prefix = Bytes::from(prefix);
    let (mut rows, mut after, mut more) = (Vec::new(), None, true);
    while more && (rows.len() as u64) < limit {
        let limit = (limit - rows.len() as u64).min(SCAN_ROWS_MAX as u64);
        let page = client.scan(Scan { prefix: prefix.clone(), after, limit }, consistency(stale));
        let page = page.await?;
        after = page.rows.last().map(|(key, _)| key.clone());
        more = page.more && after.is_some();
        rows.extend(page.rows);
    }
    let line = |(key, value): &(Bytes, Bytes)| [&key[..], b"\t", &value[..], b"\n"].concat();
    let lines: Vec<u8> = rows.iter().flat_map(line).collect();
    let data: Vec<_> =
        rows.iter().map(|(key, value)| (text(Some(key)), text(Some(value)))).collect();
    out.print(&lines, &json!({ "rows": data, "more": more }))?;
    if more {
        out.note(&format!("there are more than these {} rows; see --limit", rows.len()))?;
    }
    Ok(Exit::Done)
}

fn unexpected(reply: &Reply) -> Ended {
    Failure::Unknown(format!("an answer to something else: {reply:?}")).into()
}
