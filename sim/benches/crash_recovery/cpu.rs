//! The process's own CPU time, where the system tells.

/// CPU time of this process in milliseconds, user and system; `None` where there is no `/proc`.
pub(crate) fn time_ms() -> Option<u64> {
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK_MS)
}
