//! What an operator can see: Prometheus metrics and a health endpoint, over HTTP.
//!
//! Counts and positions are read when they are asked for; durations are gathered in histograms.
//! docs/operations.md says what each metric means.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aspen_core::NodeId;
use aspen_core::node::Measures;
use aspen_core::transport::Lane;
use aspen_transport_iroh::{Announcements, CallTook, IrohTransport};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;

/// What an OpenMetrics text is sent as.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Durations that a node gathers while it runs.
#[derive(Clone, Debug)]
pub struct Timings {
    calls: Family<CallLabels, Histogram, fn() -> Histogram>,
    syncs: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    direction: &'static str,
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: u64,
}

/// From 50 us to 3.3 s, each bound twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 17))
}

impl Timings {
    /// Of a node that starts now.
    pub fn new() -> Self {
        Self { calls: Family::new_with_constructor(seconds), syncs: seconds() }
    }

    /// Notes a call.
    pub fn call(&self, took: CallTook) {
        let direction = if took.served { "served" } else { "made" };
        let lane = match took.lane {
            Lane::Control => "control",
            Lane::Replication => "replication",
            Lane::Snapshot => "snapshot",
            Lane::Client => "client",
        };
        let labels = CallLabels { direction, lane };
        self.calls.get_or_create(&labels).observe(took.time.as_secs_f64());
    }

    /// Notes a sync of the database.
    pub fn sync(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the numbers come from when they are asked for.
pub struct Source {
    /// Whose numbers they are.
    pub id: NodeId,
    /// Reads what Raft knows.
    pub measures: Box<dyn Fn() -> Measures + Send + Sync>,
    /// A leader that no quorum has answered for this long is not healthy.
    pub patience: Duration,
    /// Whose refusals are counted.
    pub transport: IrohTransport,
    /// What was heard of where others are.
    pub announcements: Arc<Announcements>,
    /// The database.
    pub file: PathBuf,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metrics of node {}", self.id)
    }
}

/// A source, as Prometheus asks it.
#[derive(Debug)]
struct Observed {
    source: Arc<Source>,
    /// The snapshot that was seen last, and since when.
    snapshot: Mutex<(Option<u64>, Instant)>,
}

/// Writes a gauge, where there is a number to write.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<u64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

impl Observed {
    fn raft(&self, encoder: &mut DescriptorEncoder<'_>, now: &Measures) -> fmt::Result {
        // An index that there is none of yet counts as 0.
        let lag = |ahead: Option<u64>, behind: Option<u64>| {
            Some(ahead.unwrap_or(0).saturating_sub(behind.unwrap_or(0)))
        };
        let leads = u64::from(now.leader == Some(self.source.id));
        for (name, help, value) in [
            ("node_id", "Who this node is", Some(self.source.id.0)),
            ("term", "Current term", Some(now.term)),
            ("leader", "Node taken for the leader; absent without one", now.leader.map(|id| id.0)),
            ("is_leader", "1 while this node leads", Some(leads)),
            ("voters", "Voters of the cluster", Some(now.voters as u64)),
            ("last_log_index", "Last entry of the log", now.last_log),
            ("committed_index", "Last entry known to be committed", now.committed),
            ("applied_index", "Last entry applied", now.applied),
            ("log_entries", "Entries kept in the log", lag(now.last_log, now.purged)),
            ("snapshot_index", "Last entry that the latest snapshot covers", now.snapshot),
            ("snapshot_behind", "Entries applied since", lag(now.applied, now.snapshot)),
            ("sessions", "Client sessions that are open", Some(now.sessions as u64)),
        ] {
            gauge(encoder, name, help, value)?;
        }
        let help = "Entries that a peer is not known to have; the leader tells";
        let mut family =
            encoder.encode_descriptor("replication_lag_entries", help, None, MetricType::Gauge)?;
        for (peer, matched) in &now.matched {
            let value = lag(now.last_log, *matched).unwrap_or(0);
            ConstGauge::new(value).encode(family.encode_family(&PeerLabel { peer: peer.0 })?)?;
        }
        Ok(())
    }

    /// How long the latest snapshot has been seen to be the latest.
    fn snapshot_age(&self, now: &Measures) -> u64 {
        let mut seen = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != now.snapshot {
            *seen = (now.snapshot, Instant::now());
        }
        seen.1.elapsed().as_secs()
    }

    fn refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let refused = self.source.transport.refusals();
        let counters = [
            ("too_many", &refused.too_many),
            ("handshake", &refused.handshake),
            ("not_allowed", &refused.not_allowed),
            ("unproven", &refused.unproven),
            ("unreadable", &refused.unreadable),
        ];
        let help = "Connections and streams that were turned away";
        count(encoder, "refused", help, "reason", &counters)
    }

    fn announcements(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let heard = &self.source.announcements;
        let counters = [
            ("sent", &heard.sent),
            ("believed", &heard.believed),
            ("malformed", &heard.malformed),
            ("unknown", &heard.unknown),
            ("stale", &heard.stale),
            ("replayed", &heard.replayed),
            ("forged", &heard.forged),
            ("too_many", &heard.too_many),
        ];
        count(encoder, "announcements", "Announcements of where nodes are", "outcome", &counters)
    }
}

/// Writes a family of counters, each under its value of the label.
fn count(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counters: &[(&str, &AtomicU64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, counter) in counters {
        let counted = ConstCounter::new(counter.load(Ordering::Relaxed));
        counted.encode(family.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = (self.source.measures)();
        self.raft(&mut encoder, &now)?;
        let age = now.snapshot.map(|_| self.snapshot_age(&now));
        gauge(&mut encoder, "snapshot_age_seconds", "Since the latest snapshot was seen", age)?;
        let bytes = std::fs::metadata(&self.source.file).ok().map(|file| file.len());
        gauge(&mut encoder, "storage_bytes", "Length of the database's file", bytes)?;
        self.refusals(&mut encoder)?;
        self.announcements(&mut encoder)
    }
}

struct Served {
    registry: Registry,
    source: Arc<Source>,
}

/// Serves `/metrics` and `/health` until the future is dropped.
///
/// # Errors
/// The system's, when the socket fails.
pub async fn serve(listener: TcpListener, source: Source, timings: &Timings) -> io::Result<()> {
    let source = Arc::new(source);
    let mut registry = Registry::with_prefix("aspen");
    let calls = timings.calls.clone();
    registry.register_with_unit("call", "Calls between nodes and clients", Unit::Seconds, calls);
    let syncs = timings.syncs.clone();
    registry.register_with_unit(
        "sync",
        "Syncs of the database and its journal",
        Unit::Seconds,
        syncs,
    );
    let snapshot = Mutex::new((None, Instant::now()));
    registry.register_collector(Box::new(Observed { source: source.clone(), snapshot }));
    let served = Arc::new(Served { registry, source });
    let routes = Router::new().route("/metrics", get(metrics)).route("/health", get(health));
    axum::serve(listener, routes.with_state(served)).await
}

async fn metrics(State(served): State<Arc<Served>>) -> impl IntoResponse {
    let mut out = String::new();
    match text::encode(&mut out, &served.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], out),
        Err(error) => {
            let plain = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, plain, error.to_string())
        }
    }
}

/// Healthy is a node that runs and knows a leader, and a leader that a quorum answers. openraft's
/// leader goes on leading when nobody does.
async fn health(State(served): State<Arc<Served>>) -> impl IntoResponse {
    let now = (served.source.measures)();
    let reason = if now.stopped {
        Some("stopped")
    } else if now.voters == 0 {
        Some("in no cluster yet")
    } else if now.leader.is_none() {
        Some("no leader")
    } else if now.leader == Some(served.source.id)
        && now.voters > 1
        && now.quorum_answered.is_none_or(|age| age > served.source.patience)
    {
        Some("no quorum")
    } else {
        None
    };
    let status = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = serde_json::json!({
        "healthy": reason.is_none(),
        "reason": reason,
        "node": served.source.id.0,
        "leader": now.leader.map(|id| id.0),
        "term": now.term,
    });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}
