//! The nodes' logs, for people: `RUST_LOG` filters them, each line has virtual time and node.

use std::fmt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Virtual time inside a run, nothing outside.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match madsim::time::TimeHandle::try_current() {
            Some(time) => write!(writer, "{:>10.3} ms", time.elapsed().as_secs_f64() * 1000.0),
            None => write!(writer, "{:>13}", "-"),
        }
    }
}

/// Shows logs on stderr if `RUST_LOG` asks for any; without it, logging costs nothing.
pub(crate) fn init() {
    if std::env::var_os("RUST_LOG").is_none() {
        return;
    }
    // The executor's spans name the node that a line comes from.
    let nodes = "madsim=error".parse().expect("the directive is a constant");
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env().add_directive(nodes))
        .with_timer(VirtualTime)
        .with_writer(std::io::stderr);
    // Whoever embeds the library may have set a subscriber already; theirs stays.
    let _ = subscriber.try_init();
}
