//! The servers as processes, and what they take of the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use procfs::WithCurrentSystemInfo;
use procfs::process::Process;

/// How many servers make a cluster.
pub(crate) const NODES: u16 = 3;
/// How long a cluster may take to serve.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Processes that end with this.
#[derive(Default)]
pub(crate) struct Cluster(Vec<Server>);

struct Server {
    process: Child,
    folder: PathBuf,
}

impl Cluster {
    /// Starts one more server; what it prints goes to files in its folder.
    pub(crate) fn start(&mut self, command: &mut Command, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        command.stdin(Stdio::null());
        command.stdout(File::create(folder.join("stdout"))?);
        command.stderr(File::create(folder.join("stderr"))?);
        let started = command.spawn();
        let program = command.get_program().display();
        let process = started.with_context(|| format!("{program} cannot be started"))?;
        self.0.push(Server { process, folder: folder.to_owned() });
        Ok(())
    }

    /// Fails with the last words of a server that has ended by itself.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for Server { process, folder } in &mut self.0 {
            if let Some(status) = process.try_wait()? {
                let words = std::fs::read_to_string(folder.join("stderr"))?;
                anyhow::bail!("a server has ended ({status}): {}", words.trim());
            }
        }
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = Result<Process>> {
        self.0.iter().map(|server| Ok(Process::new(server.process.id().cast_signed())?))
    }

    /// CPU time of all servers so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        let mut ticks = 0;
        for process in self.processes() {
            let stat = process?.stat()?;
            ticks += stat.utime + stat.stime;
        }
        Ok(ticks as f64 * 1e6 / procfs::ticks_per_second() as f64)
    }

    /// Resident memory of the largest server, in MiB.
    pub(crate) fn memory_mib(&self) -> Result<f64> {
        let mut most = 0;
        for process in self.processes() {
            most = most.max(process?.stat()?.rss_bytes().get());
        }
        Ok(most as f64 / f64::from(1 << 20))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for Server { process, .. } in &mut self.0 {
            // One that has ended already needs no more.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// CPU time of the load generators that have ended, in microseconds.
pub(crate) fn children_cpu_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}

/// Runs a program to its end; fails with its last words if it does.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("{}", program.display()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {}", program.display(), words.trim());
    Ok(output)
}
