//! The transport's laws, as checks that every implementation must pass.
//!
//! The laws are those of [`aspen_core::transport`]. Each check gets a fresh [`World`], the thing
//! that an implementation brings along: endpoints, and ways to cut a link and to restart a node.
//! Nothing in a check depends on how long something takes but for two bounds that the world
//! states. [`transport_laws!`](crate::transport_laws) makes one test of each.
//!
//! Left out: what only a network with chosen faults can show (loss, doubling, overtaking); the
//! simulated network's own tests have it.

mod calls;
mod faults;
mod peer;
mod streams;

use std::future::Future;
use std::time::Duration;

use aspen_core::transport::Transport;
use aspen_core::{NodeId, Runtime};
use openraft_rt::AsyncRuntime;

pub use calls::*;
pub use faults::*;
pub use peer::{Peer, StreamRecord};
pub use streams::*;

/// The first of the nodes that a check uses.
pub const A: NodeId = NodeId(1);
/// The second.
pub const B: NodeId = NodeId(2);
/// A node that no check ever starts.
pub const NOBODY: NodeId = NodeId(99);

/// A network of which the checks know only this.
pub trait World: Clone + Send + Sync + 'static {
    /// What the checks' own tasks and timers run on.
    type Runtime: Runtime;
    /// The transport under test.
    type Transport: Transport;

    /// Starts an endpoint that every other can reach, in place of an earlier one of that id,
    /// which ends as a killed process does.
    fn start(&self, node: NodeId) -> impl Future<Output = Self::Transport> + Send;

    /// Ends the node's endpoint as a killed process does.
    fn kill(&self, node: NodeId) -> impl Future<Output = ()> + Send;

    /// Lets nothing pass from `from` to `to`, without telling anyone.
    fn cut(&self, from: NodeId, to: NodeId) -> impl Future<Output = ()> + Send;

    /// Lets everything pass again.
    fn heal(&self, from: NodeId, to: NodeId) -> impl Future<Output = ()> + Send;

    /// After this long without a word from its peer, a stream breaks.
    fn idle_timeout(&self) -> Duration;

    /// Longer than anything takes that is not held up by a fault.
    fn patience(&self) -> Duration;
}

/// Waits for `future` as long as the world's patience lasts.
pub(crate) async fn soon<W: World, F>(world: &W, future: F) -> Option<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    W::Runtime::timeout(world.patience(), future).await.ok()
}

/// Waits until `holds` does, looking again and again, at most `limit`; says whether it does.
pub(crate) async fn eventually<W: World>(limit: Duration, holds: impl Fn() -> bool + Send) -> bool {
    let looks = 200;
    for _ in 0..looks {
        if holds() {
            return true;
        }
        W::Runtime::sleep(limit / looks).await;
    }
    holds()
}

/// Makes a test of each law: `transport_laws!(run)`, where `run` takes a law (a function from a
/// world to a future) and runs it.
#[macro_export]
macro_rules! transport_laws {
    ($run:path) => {
        $crate::transport_laws! { $run:
            a_call_is_answered_on_every_lane,
            every_call_gets_its_own_response,
            a_slow_call_holds_up_no_other,
            a_dropped_call_leaves_the_others_alone,
            a_refusal_reaches_the_caller,
            the_longest_frame_passes_and_a_longer_one_does_not,
            a_node_that_is_not_there_is_unreachable,
            a_stream_keeps_the_order_of_a_thousand_frames,
            a_stream_without_frames_stays_open,
            a_sender_waits_while_nobody_reads,
            a_finished_direction_ends_after_its_last_frame,
            a_dropped_sender_breaks_its_direction,
            a_dropped_receiver_stops_its_sender,
            a_full_lane_holds_up_no_other,
            a_cut_link_answers_no_call,
            a_short_cut_delays_a_stream_and_loses_nothing,
            a_lasting_cut_breaks_a_stream_at_both_ends,
            a_killed_peer_breaks_a_stream_after_a_prefix,
            a_restarted_node_answers_again,
        }
    };
    ($run:path: $($law:ident),* $(,)?) => {
        $(
            #[test]
            fn $law() {
                $run($crate::transport_conformance::$law);
            }
        )*
    };
}
