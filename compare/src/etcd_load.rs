//! Clients that ask etcd as fast as it answers.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use etcd_client::{Client, ConnectOptions, KvClient};
use hdrhistogram::Histogram;

use crate::{Latencies, Latency, Loaded};

/// No answer takes longer, unless there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `aspen-cli bench` takes, and where etcd is.
#[derive(Args)]
pub(crate) struct EtcdLoad {
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    #[arg(long)]
    clients: u64,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    keys: u64,
    #[arg(long)]
    value_bytes: usize,
    #[arg(long)]
    reads: u64,
}

impl EtcdLoad {
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let loaded = runtime.block_on(self.load())?;
        println!("{}", serde_json::to_string(&loaded)?);
        Ok(())
    }

    async fn load(self) -> Result<Loaded> {
        let client = connect_to_leader(&self.endpoints).await?;
        let begun = Instant::now();
        let end = begun + Duration::from_secs(self.seconds);
        let workers = (0..self.clients).map(|number| {
            let client = client.kv_client();
            let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let Self { keys, value_bytes, reads, .. } = self;
            let value = format!("{number}-{}", "x".repeat(value_bytes));
            let value = value[..value_bytes].to_owned();
            let worker = Worker { client, dice, keys, value, reads_percent: reads };
            tokio::spawn(worker.work(end))
        });
        let workers: Vec<_> = workers.collect();
        let mut all = Tally::new()?;
        for worker in workers {
            let tally = worker.await??;
            all.reads.add(&tally.reads)?;
            all.writes.add(&tally.writes)?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let answered = all.reads.len() + all.writes.len();
        Ok(Loaded {
            answered,
            failed: 0,
            unknown: 0,
            per_second: answered as f64 / seconds,
            latency_us: Latencies { reads: latency(&all.reads), writes: latency(&all.writes) },
        })
    }
}

/// One connection to the leader, as `aspen-cli bench` has one. On this way etcd is faster than when
/// its clients spread over all nodes, and more connections made no difference.
async fn connect_to_leader(endpoints: &[String]) -> Result<Client> {
    for endpoint in endpoints {
        let patience = ConnectOptions::new().with_connect_timeout(PATIENCE).with_timeout(PATIENCE);
        let mut client = Client::connect([endpoint], Some(patience)).await?;
        let status = client.status().await?;
        let node = status.header().map(etcd_client::ResponseHeader::member_id);
        if node == Some(status.leader()) {
            return Ok(client);
        }
    }
    anyhow::bail!("no endpoint leads")
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let at = |quantile| histogram.value_at_quantile(quantile);
    (!histogram.is_empty()).then(|| Latency { p50: at(0.5), p99: at(0.99) })
}

/// How long operations took, in microseconds.
struct Tally {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self { reads: Histogram::new(3)?, writes: Histogram::new(3)? })
    }
}

struct Worker {
    client: KvClient,
    dice: u64,
    keys: u64,
    value: String,
    reads_percent: u64,
}

impl Worker {
    async fn work(mut self, end: Instant) -> Result<Tally> {
        let mut tally = Tally::new()?;
        while Instant::now() < end {
            let key = format!("key-{}", self.roll(self.keys));
            let is_read = self.roll(100) < self.reads_percent;
            let begun = Instant::now();
            if is_read {
                self.client.get(key, None).await?;
            } else {
                self.client.put(key, self.value.as_bytes(), None).await?;
            }
            let histogram = if is_read { &mut tally.reads } else { &mut tally.writes };
            histogram.record(begun.elapsed().as_micros() as u64)?;
        }
        Ok(tally)
    }

    /// Marsaglia's xorshift, as in `aspen-cli bench`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }
}
