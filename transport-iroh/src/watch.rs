//! Dialed connections of which nothing is heard are closed, so that they are dialed anew.
//!
//! QUIC ends them too, but may take its time: an idle timeout is never shorter than three probe
//! timeouts (RFC 9000, 10.1), and those come from the round trips that were measured. A process that
//! was stopped for four seconds takes these for a round trip, and holds on for fourteen to
//! connections that its peers have long given up. Nor is it told: peers answer what they do not
//! know with a stateless reset, but noq 1.4 heeds those of a connection's first path alone (noq#437).

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use iroh::endpoint::{Connection, FrameStats};

use crate::access::closed;
use crate::connections::Connections;

/// How often is looked in an idle timeout.
const LOOKS_PER_IDLE_TIMEOUT: u32 = 16;

/// What was last heard on a connection.
struct Heard {
    connection: Connection,
    /// All frames that came; only a peer can send those, while datagrams may be of anybody.
    frames: FrameStats,
    /// The look before the one that found them: they came after it.
    after: Instant,
}

/// Watches until the connections are gone.
pub(crate) async fn watch(connections: Weak<Connections>, idle_timeout: Duration) {
    let mut heard: BTreeMap<(NodeId, Lane), Heard> = BTreeMap::new();
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(idle_timeout / LOOKS_PER_IDLE_TIMEOUT).await;
        let Some(connections) = connections.upgrade() else { return };
        let open = connections.open();
        let before = std::mem::replace(&mut looked, Instant::now());
        let stopped = looked - before;
        // What waits to be read by now was sent by peers that have given up since.
        if stopped >= idle_timeout {
            tracing::warn!(?stopped, "this process stood still: its connections are dialed anew");
            connections.hang_up();
            for connection in open.values() {
                connection.close(closed::STOOD_STILL, b"stood still");
            }
            heard.clear();
            continue;
        }
        heard.retain(|way, _| open.contains_key(way));
        for ((node, lane), connection) in open {
            let frames = connection.stats().frame_rx;
            let last = heard.get(&(node, lane)).filter(|last| {
                last.connection.stable_id() == connection.stable_id() && last.frames == frames
            });
            match last {
                None => {
                    heard.insert((node, lane), Heard { connection, frames, after: before });
                }
                Some(last) if looked - last.after >= idle_timeout => {
                    tracing::info!(%node, ?lane, "nothing is heard: the connection is closed");
                    connection.close(closed::SILENT, b"nothing is heard");
                }
                Some(_) => {}
            }
        }
    }
}
