//! A load on a cluster, under way, and the judgement of what its clients saw.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aspen_check::history::Event;
use aspen_check::{Budget, Verdict, check};
use aspen_cli::load::{self, Load, Tally};
use tokio::task::JoinHandle;

use super::{Cluster, PATIENCE, client_of};

const LOAD: Load = Load { clients: 8, keys: 5, value_bytes: 0, reads_percent: 40, record: true };

/// A load on the cluster, under way.
pub(crate) struct Running {
    pub(crate) tally: Arc<Tally>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, LOAD).await
    }

    /// The same with values that fill a disk.
    pub(crate) async fn start_heavy(cluster: &Cluster) -> Self {
        Self::start_with(cluster, Load { value_bytes: 4 << 10, ..LOAD }).await
    }

    async fn start_with(cluster: &Cluster, load: Load) -> Self {
        let client = client_of(cluster.nodes.values(), PATIENCE).await;
        let tally = Tally::new();
        let task = tokio::spawn(load::run(client, load, tally.clone()));
        let running = Self { tally, task };
        running.answers(100).await;
        running
    }

    /// Waits until so many more operations are answered.
    pub(crate) async fn answers(&self, more: u64) {
        let goal = self.tally.answered.load(Ordering::Relaxed) + more;
        let waiting = async {
            while self.tally.answered.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the cluster serves");
    }

    /// Ends the load; what its clients saw must have come from one copy of the data.
    pub(crate) async fn stop(self) -> Vec<Event> {
        self.tally.stop();
        self.task.await.unwrap();
        let history = self.tally.take_history();
        assert_eq!(check(&history, Budget::default()), Ok(Verdict::Linearizable));
        history
    }
}
