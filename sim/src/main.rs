//! `aspen-sim`: parses its arguments and calls the library.

use std::io::Write;
use std::process::ExitCode;

use aspen_sim::commands;

/// A run makes millions of small allocations on a thread of its own; the system's allocator costs
/// a tenth of its CPU and keeps the memory of threads that are gone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::main(std::env::args_os()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Where even this cannot be written, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "aspen-sim: {failure}");
            failure.exit().into()
        }
    }
}
