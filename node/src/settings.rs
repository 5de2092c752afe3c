//! What a node is told: variables of the environment, then a file, then the command line; the later
//! word counts.
//!
//! All three say the same things under the same names: `--heartbeat-interval-ms 200`,
//! `heartbeat-interval-ms = 200` and `ASPEN_HEARTBEAT_INTERVAL_MS=200`. Everything is checked before
//! anything is started or written.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aspen_core::{NodeConfig, NodeId};
use aspen_transport_iroh::{ClusterKeys, DiscoverySettings, PeerAddress, RelayUrl, Ticket};
use clap::Parser;
use serde::Deserialize;

/// Shortest cookie.
const COOKIE_BYTES_MIN: usize = 16;
/// Cookies that stand in examples.
const WELL_KNOWN_COOKIES: [&str; 2] = ["change-me-change-me", "aspen-aspen-aspen"];
/// What every variable of the environment begins with.
const VARIABLES: &str = "ASPEN_";
/// Longest wait for an election, in milliseconds: a day. openraft computes with multiples of it.
const TIMEOUT_MS_MAX: u128 = 24 * 60 * 60 * 1000;
pub(crate) const DEFAULT_BIND: &str = "0.0.0.0:7600";

/// The settings of a node, as far as one source gives them.
#[derive(Clone, Debug, Default, Parser, Deserialize)]
#[command(name = "aspen-node", version)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Who this node is in its cluster; never given to another machine
    #[arg(long, value_name = "N")]
    node_id: Option<u64>,
    /// The cluster's secret, of 16 bytes or more; better kept in a file
    #[arg(long, value_name = "TEXT")]
    cookie: Option<String>,
    /// A file with the cluster's secret
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<PathBuf>,
    /// The folder that the node keeps its data in; made if there is none
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the node listens; UDP [default: 0.0.0.0:7600]
    #[arg(long, value_name = "IP:PORT")]
    bind: Option<SocketAddr>,
    /// A relay to be reached through where no direct way is [default: none]
    #[arg(long, value_name = "URL")]
    relay_url: Option<String>,
    /// Where other nodes are, beside what the membership says; with commas between them
    #[arg(long, value_name = "ID@IP:PORT,…")]
    peers: Option<String>,
    /// A ticket of the cluster, for the addresses in it
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// Tell the other members nothing of where this node is, and hear nothing of where they are
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_gossip: Option<bool>,
    /// Neither ask nor answer in the local network where nodes are
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_mdns: Option<bool>,
    /// Look nodes up in the DNS, under n0's public domain iroh.link
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_dns_discovery: Option<bool>,
    /// Publish this node's addresses to n0's public server dns.iroh.link, and look others up there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_pkarr: Option<bool>,
    /// Where metrics and health are told over HTTP; TCP [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    metrics_addr: Option<SocketAddr>,
    /// How often a leader says that it is alive [default: 500]
    #[arg(long, value_name = "MS")]
    heartbeat_interval_ms: Option<u64>,
    /// Shortest wait for a leader before an election [default: 1500]
    #[arg(long, value_name = "MS")]
    election_timeout_min_ms: Option<u64>,
    /// Longest wait for a leader before an election [default: 3000]
    #[arg(long, value_name = "MS")]
    election_timeout_max_ms: Option<u64>,
    /// Answer linearizable reads under the leader's lease, without asking a quorum: faster, and stale
    /// where a machine's clock or the machine itself stands still for an election's time
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    lease_reads: Option<bool>,
    /// A file with settings, in TOML
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// What a node runs with, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Identity and timeouts.
    pub node: NodeConfig,
    /// The cluster's secret.
    pub cookie: Vec<u8>,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Where the node listens.
    pub bind: SocketAddr,
    /// The relay, if one is wanted.
    pub relay: Option<RelayUrl>,
    /// Where other nodes are, as the operator says.
    pub peers: Vec<PeerAddress>,
    /// How others are found beside that.
    pub discovery: DiscoverySettings,
    /// Where metrics and health are told, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
}

/// What is wrong with the settings, in one line that names the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

fn error(text: String) -> SettingsError {
    SettingsError(text)
}

/// Joins the sources of settings.
///
/// # Errors
/// [`SettingsError`] for the first thing that is wrong, with the flag, variable, line or field.
pub fn read(
    options: Options,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Settings, SettingsError> {
    let environment = from_environment(environment)?;
    let path = options.config.clone().or_else(|| environment.config.clone());
    let file = path.as_deref().map(from_file).transpose()?.unwrap_or_default();
    let joined = options.clone().over(file.clone()).over(environment.clone());
    joined.settle().map_err(|SettingsError(wrong)| {
        let path = path.unwrap_or_default();
        error(as_given(&wrong, &options, (path.as_path(), &file), &environment))
    })
}

/// What is wrong, with every setting named as it was given: by its flag, field or variable.
fn as_given(
    wrong: &str,
    options: &Options,
    (path, file): (&Path, &Options),
    environment: &Options,
) -> String {
    let mut words = Vec::new();
    for (at, word) in wrong.split(' ').enumerate() {
        let (flag, rest) = word.split_at(word.find([':', ',']).unwrap_or(word.len()));
        let setting = flag.strip_prefix("--").unwrap_or_default();
        words.push(if options.gives(setting) {
            word.to_owned()
        } else if file.gives(setting) {
            let place = if at == 0 { format!("{}: ", path.display()) } else { String::new() };
            format!("{place}{setting}{rest}")
        } else if environment.gives(setting) {
            format!("{VARIABLES}{}{rest}", setting.to_ascii_uppercase().replace('-', "_"))
        } else {
            word.to_owned()
        });
    }
    words.join(" ")
}

fn from_environment(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Options, SettingsError> {
    let mut joined = Options::default();
    let mut variables: Vec<(String, OsString)> = environment
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(VARIABLES))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let setting = name[VARIABLES.len()..].to_ascii_lowercase().replace('_', "-");
        let mut flag = OsString::from(format!("--{setting}="));
        flag.push(value);
        let parsed = Options::try_parse_from([OsString::from("aspen-node"), flag]);
        let parsed = parsed.map_err(|wrong| error(format!("{name}: {}", one_line(&wrong))))?;
        // Of one source: a file with the cookie does not take the cookie's place, both are refused.
        let cookie = joined.cookie.take();
        joined = parsed.over(joined);
        joined.cookie = joined.cookie.or(cookie);
    }
    Ok(joined)
}

fn from_file(path: &Path) -> Result<Options, SettingsError> {
    let text = fs::read_to_string(path)
        .map_err(|failed| error(format!("--config {}: {failed}", path.display())))?;
    toml::from_str(&text).map_err(|wrong| {
        let line = 1 + wrong.span().map_or(0, |span| text[..span.start].matches('\n').count());
        error(format!("{}:{line}: {}", path.display(), wrong.message().replace('\n', " ")))
    })
}

/// What clap found wrong, without its advice.
pub fn one_line(wrong: &clap::Error) -> String {
    let text = wrong.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

impl Options {
    /// Whether a setting that may turn out wrong later is given here.
    fn gives(&self, setting: &str) -> bool {
        match setting {
            "node-id" => self.node_id.is_some(),
            "cookie" => self.cookie.is_some(),
            "cookie-file" => self.cookie_file.is_some(),
            "relay-url" => self.relay_url.is_some(),
            "peers" => self.peers.is_some(),
            "ticket" => self.ticket.is_some(),
            "heartbeat-interval-ms" => self.heartbeat_interval_ms.is_some(),
            "election-timeout-min-ms" => self.election_timeout_min_ms.is_some(),
            "election-timeout-max-ms" => self.election_timeout_max_ms.is_some(),
            _ => false,
        }
    }

    /// These, and what they leave open from others.
    fn over(self, other: Self) -> Self {
        // A cookie and a file with one are two ways to say the same thing.
        let (cookie, cookie_file) = match (&self.cookie, &self.cookie_file) {
            (None, None) => (other.cookie, other.cookie_file),
            _ => (self.cookie, self.cookie_file),
        };
        Self {
            node_id: self.node_id.or(other.node_id),
            cookie,
            cookie_file,
            data_dir: self.data_dir.or(other.data_dir),
            bind: self.bind.or(other.bind),
            relay_url: self.relay_url.or(other.relay_url),
            peers: self.peers.or(other.peers),
            ticket: self.ticket.or(other.ticket),
            disable_gossip: self.disable_gossip.or(other.disable_gossip),
            disable_mdns: self.disable_mdns.or(other.disable_mdns),
            enable_dns_discovery: self.enable_dns_discovery.or(other.enable_dns_discovery),
            enable_pkarr: self.enable_pkarr.or(other.enable_pkarr),
            metrics_addr: self.metrics_addr.or(other.metrics_addr),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(other.heartbeat_interval_ms),
            election_timeout_min_ms: self.election_timeout_min_ms.or(other.election_timeout_min_ms),
            election_timeout_max_ms: self.election_timeout_max_ms.or(other.election_timeout_max_ms),
            lease_reads: self.lease_reads.or(other.lease_reads),
            config: self.config.or(other.config),
        }
    }

    fn settle(self) -> Result<Settings, SettingsError> {
        let missing = |flag: &str| error(format!("{flag} is missing; see aspen-node --help"));
        let id = self.node_id.ok_or_else(|| missing("--node-id"))?;
        if id == 0 {
            return Err(error("--node-id 0: expected a number from 1".to_owned()));
        }
        let cookie = cookie(self.cookie, self.cookie_file)?;
        let peers = peers(self.peers.as_deref(), self.ticket.as_deref(), &cookie)?;
        let discovery = DiscoverySettings {
            gossip: self.disable_gossip != Some(true),
            mdns: self.disable_mdns != Some(true),
            dns: self.enable_dns_discovery == Some(true),
            pkarr: self.enable_pkarr == Some(true),
        };
        let relay = self.relay_url.map(|url| {
            let wrong = |_| error(format!("--relay-url {url}: expected a URL"));
            url.parse::<RelayUrl>().map_err(wrong)
        });
        let mut node = NodeConfig::new(NodeId(id));
        let ms =
            |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
        node.heartbeat = ms(self.heartbeat_interval_ms, node.heartbeat);
        node.election_min = ms(self.election_timeout_min_ms, node.election_min);
        node.election_max = ms(self.election_timeout_max_ms, node.election_max);
        node.lease_reads = self.lease_reads.unwrap_or(false);
        check_timeouts(&node)?;
        Ok(Settings {
            node,
            cookie,
            data_dir: self.data_dir.ok_or_else(|| missing("--data-dir"))?,
            bind: self.bind.unwrap_or_else(|| DEFAULT_BIND.parse().expect("a constant address")),
            relay: relay.transpose()?,
            peers,
            discovery,
            metrics_addr: self.metrics_addr,
        })
    }
}

/// The cluster's secret, from one of the two places where it can stand.
pub(crate) fn cookie(
    text: Option<String>,
    file: Option<PathBuf>,
) -> Result<Vec<u8>, SettingsError> {
    let (place, cookie) = match (text, file) {
        (Some(_), Some(_)) => {
            let both = "--cookie and --cookie-file are both given; expected one of them";
            return Err(error(both.to_owned()));
        }
        (Some(text), None) => ("--cookie".to_owned(), text),
        (None, Some(path)) => {
            let place = format!("--cookie-file {}", path.display());
            let text = fs::read_to_string(&path);
            (place.clone(), text.map_err(|failed| error(format!("{place}: {failed}")))?)
        }
        (None, None) => {
            let neither = "--cookie or --cookie-file is missing; see aspen-node --help";
            return Err(error(neither.to_owned()));
        }
    };
    let cookie = cookie.trim();
    if cookie.len() < COOKIE_BYTES_MIN {
        let bytes = cookie.len();
        return Err(error(format!(
            "{place}: {bytes} bytes; expected {COOKIE_BYTES_MIN} or more, which nobody can guess"
        )));
    }
    let first = cookie.chars().next();
    if WELL_KNOWN_COOKIES.contains(&cookie) || cookie.chars().all(|one| Some(one) == first) {
        return Err(error(format!("{place}: everybody knows this one; expected one of your own")));
    }
    Ok(cookie.as_bytes().to_vec())
}

fn peers(
    list: Option<&str>,
    ticket: Option<&str>,
    cookie: &[u8],
) -> Result<Vec<PeerAddress>, SettingsError> {
    let peers = PeerAddress::list(list.unwrap_or_default());
    let mut peers = peers.map_err(|wrong| error(format!("--peers {wrong}")))?;
    if let Some(ticket) = ticket {
        let ticket = ticket.parse::<Ticket>();
        let ticket = ticket.map_err(|wrong| error(format!("--ticket: {wrong}")))?;
        if ticket.secret != *ClusterKeys::new(cookie).client_secret() {
            let foreign = "--ticket: it is of a cluster with another cookie";
            return Err(error(foreign.to_owned()));
        }
        peers.extend(ticket.nodes.into_values());
    }
    Ok(peers)
}

fn check_timeouts(node: &NodeConfig) -> Result<(), SettingsError> {
    let ms = |duration: Duration| duration.as_millis();
    let (heartbeat, min, max) = (ms(node.heartbeat), ms(node.election_min), ms(node.election_max));
    if heartbeat == 0 {
        return Err(error("--heartbeat-interval-ms 0: expected 1 or more".to_owned()));
    }
    if min < 2 * heartbeat {
        return Err(error(format!(
            "--election-timeout-min-ms {min}: expected at least two heartbeats, {} ms",
            2 * heartbeat
        )));
    }
    if max > TIMEOUT_MS_MAX {
        return Err(error(format!(
            "--election-timeout-max-ms {max}: expected at most a day, {TIMEOUT_MS_MAX}"
        )));
    }
    if max <= min {
        return Err(error(format!(
            "--election-timeout-max-ms {max}: expected more than --election-timeout-min-ms, {min}"
        )));
    }
    Ok(())
}
