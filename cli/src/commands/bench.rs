//! A load against the cluster, and its figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aspen_check::history_file;
use aspen_core::limits::VALUE_BYTES_MAX;
use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Ended, Exit, Output, usage};
use crate::client::Client;
use crate::load::{self, Load, Tally};

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// Ask as fast as the cluster answers, and print how fast that was
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// How many clients ask at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: u64,
    /// How long
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// How many keys
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keys: u64,
    /// How long each value is
    #[arg(long, value_name = "N", default_value_t = 256)]
    value_bytes: usize,
    /// How many in a hundred operations are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    reads: u64,
    /// Write what the clients saw, for `aspen-sim check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

impl Bench {
    pub(super) async fn run(self, client: &Arc<Client>, out: &Output) -> Result<Exit, Ended> {
        for (flag, number) in [("--clients", self.clients), ("--keys", self.keys)] {
            if number == 0 {
                return Err(usage(format!("{flag} 0: expected 1 or more")));
            }
        }
        if self.reads > 100 {
            return Err(usage(format!("--reads {}: expected at most 100", self.reads)));
        }
        if self.value_bytes > VALUE_BYTES_MAX {
            let (given, most) = (self.value_bytes, VALUE_BYTES_MAX);
            return Err(usage(format!("--value-bytes {given}: expected at most {most}")));
        }
        let load = Load {
            clients: self.clients,
            keys: self.keys,
            value_bytes: self.value_bytes,
            reads_percent: self.reads,
            record: self.history.is_some(),
        };
        client.prefer_leader().await?;
        let tally = Tally::new();
        let begun = Instant::now();
        let running = tokio::spawn(load::run(client.clone(), load, tally.clone()));
        let length = Duration::from_secs(self.seconds);
        show_progress(&tally, begun, length).await;
        tally.stop();
        if let Err(panicked) = running.await {
            std::panic::resume_unwind(panicked.into_panic());
        }
        let seconds = begun.elapsed().as_secs_f64();
        report(&tally, seconds, out)?;
        if let Some(path) = &self.history {
            let written = history_file::write(path, &tally.take_history());
            written.map_err(|error| Ended { exit: Exit::Own, reason: error.to_string() })?;
        }
        let answered = tally.answered.load(Ordering::Relaxed);
        Ok(if answered > 0 { Exit::Done } else { Exit::Unavailable })
    }
}

async fn show_progress(tally: &Tally, begun: Instant, length: Duration) {
    let bar = ProgressBar::new(length.as_millis() as u64);
    let style = ProgressStyle::with_template("{bar:40} {msg}");
    bar.set_style(style.expect("a constant template"));
    while begun.elapsed() < length {
        tokio::time::sleep(TICK.min(length.saturating_sub(begun.elapsed()))).await;
        let answered = tally.answered.load(Ordering::Relaxed);
        let rate = answered as f64 / begun.elapsed().as_secs_f64();
        bar.set_position(begun.elapsed().as_millis() as u64);
        bar.set_message(format!("{answered} operations, {rate:.0} a second"));
    }
    bar.finish_and_clear();
}

fn report(tally: &Tally, seconds: f64, out: &Output) -> std::io::Result<()> {
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    let (answered, failed) = (count(&tally.answered), count(&tally.failed));
    let unknown = count(&tally.unknown);
    let rate = answered as f64 / seconds;
    let latencies = tally.latencies();
    let mut lines = format!(
        "{answered} operations in {seconds:.1} s, {rate:.0} a second; {failed} failed, {unknown} \
         unknown\n"
    );
    let mut kinds = serde_json::Map::new();
    for (name, histogram) in [("reads", &latencies.reads), ("writes", &latencies.writes)] {
        if !histogram.is_empty() {
            lines += &line(name, histogram);
            kinds.insert(name.to_owned(), data(histogram));
        }
    }
    let data = json!({
        "seconds": seconds, "answered": answered, "failed": failed, "unknown": unknown,
        "per_second": rate, "latency_us": kinds,
    });
    out.print(lines.as_bytes(), &data)
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn line(name: &str, histogram: &Histogram<u64>) -> String {
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    let parts = QUANTILES.map(|(name, q)| format!("{name} {}", ms(histogram.value_at_quantile(q))));
    format!("{name}: {} ms, longest {} ms\n", parts.join(", "), ms(histogram.max()))
}

fn data(histogram: &Histogram<u64>) -> Value {
    let quantiles = QUANTILES.map(|(name, q)| (name, histogram.value_at_quantile(q)));
    let all = quantiles.into_iter().chain([("max", histogram.max()), ("count", histogram.len())]);
    Value::Object(all.map(|(name, number)| (name.to_owned(), number.into())).collect())
}
