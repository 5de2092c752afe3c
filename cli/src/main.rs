//! `aspen-cli`: parses its arguments and calls the library.

use std::io::Write;
use std::process::ExitCode;

use aspen_cli::commands;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::main(std::env::args_os()) {
        Ok(exit) => (exit as u8).into(),
        Err(ended) => {
            // Where even this cannot be written, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "aspen-cli: {}", ended.reason);
            (ended.exit as u8).into()
        }
    }
}
