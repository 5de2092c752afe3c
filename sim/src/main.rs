//! `aspen-sim`: parses its arguments and calls the library.

use std::io::Write;
use std::process::ExitCode;

use aspen_sim::commands;

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
