//! Dialed connections of which nothing is heard are closed, so that they are dialed anew.
//!
//! QUIC ends them too, but may take its time: an idle timeout is never shorter than three probe
//! timeouts (RFC 9000, 10.1), and those come from the round trips that were measured. A process that
//! was stopped for four seconds takes its stop for a round trip, and for fourteen seconds then holds
//! on to connections that its peers have given up. Nor is it told: peers answer what they do not
//! know with a stateless reset, but noq 1.4 heeds those of a connection's first path alone (noq#437).
//!
//! How far a peer is does not matter: both sides say several times in an idle timeout that they are
//! there, whether they have heard anything or not.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use aspen_core::NodeId;
use aspen_core::transport::Lane;
use iroh::endpoint::{Connection, FrameStats};

use crate::access::closed;
use crate::connections::Connections;

/// How often it looks in an idle timeout.
const LOOKS_PER_IDLE_TIMEOUT: u32 = 16;

/// What was last heard on a connection.
struct Heard {
    connection: Connection,
    /// All frames that came; only a peer can send those, while datagrams may be of anybody.
    frames: FrameStats,
    /// They came after this.
    after: Instant,
}

/// Watches until the connections are gone.
pub(crate) async fn watch(connections: Weak<Connections>, idle_timeout: Duration) {
    let interval = idle_timeout / LOOKS_PER_IDLE_TIMEOUT;
    let mut heard: BTreeMap<(NodeId, Lane), Heard> = BTreeMap::new();
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(interval).await;
        let Some(connections) = connections.upgrade() else { return };
        let mut after = std::mem::replace(&mut looked, Instant::now());
        let stopped = looked - after;
        // What waits to be read by now was sent by peers that may have given up since.
        if stopped >= idle_timeout {
            tracing::warn!(?stopped, "this process stood still: its connections are dialed anew");
            connections.hang_up();
            heard.clear();
            continue;
        }
        // Nor could anything be heard in a shorter stop: silence begins now.
        if stopped >= 2 * interval {
            heard.clear();
            after = looked;
        }
        let open = connections.open();
        heard.retain(|way, _| open.contains_key(way));
        for ((node, lane), connection) in open {
            let frames = connection.stats().frame_rx;
            let last = heard.get(&(node, lane)).filter(|last| {
                last.connection.stable_id() == connection.stable_id() && last.frames == frames
            });
            match last {
                None => {
                    heard.insert((node, lane), Heard { connection, frames, after });
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
