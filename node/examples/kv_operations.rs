//! What can be done with keys, on a cluster of three.
//!
//! `cargo run -p aspen-node --example kv_operations`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::bail;
use aspen_core::KeyValueStore;
use aspen_core::api::{Consistency, Scan};
use aspen_core::command::{Command, Key, Reply, SessionStamp, Value};
use aspen_node::local::LocalCluster;

fn key(text: &'static str) -> Key {
    Key::from_static(text.as_bytes())
}

fn value(text: &'static str) -> Value {
    Value::from_static(text.as_bytes())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(3).await?;
    // Any node will do: one that does not lead sends the request on.
    let node = cluster.node(2.into())?.core();

    // Several keys at once, all or none.
    let pairs = vec![(key("fruit/apple"), value("3")), (key("fruit/pear"), value("5"))];
    node.write(None, Command::SetMulti { pairs }).await?;

    // Only if nobody was faster.
    let swap = |expected, new| Command::CompareAndSet {
        key: key("fruit/apple"),
        expected: Some(value(expected)),
        value: value(new),
    };
    let too_late = node.write(None, swap("4", "9")).await?;
    println!("expected 4: {:?}", too_late.reply);
    let swapped = node.write(None, swap("3", "2")).await?;
    println!("expected 3: {:?}", swapped.reply);

    // All keys with a prefix, in order; a long answer comes in pages.
    let scan = Scan { prefix: key("fruit/"), after: None, limit: 10 };
    for (key, value) in node.scan(scan, Consistency::Linearizable).await?.rows {
        println!("{} = {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
    }

    // A write that is stamped with a session may be asked for again, by whoever did not hear the
    // answer: it takes effect once, and the answer is the same. `aspen_cli::Client` does all this.
    let opened = node.write(None, Command::OpenSession { ttl_ms: 60_000 }).await?;
    let Reply::SessionOpened(session) = opened.reply else { bail!("no session: {opened:?}") };
    let stamp = Some(SessionStamp { session, sequence: 1 });
    for attempt in ["first", "second"] {
        let removed = node.write(stamp, Command::Delete { key: key("fruit/pear") }).await?;
        println!("{attempt} attempt: {:?}", removed.reply);
    }
    cluster.stop().await
}
