//! Histories as Jepsen logs them: a line for each event, among the lines of everything else.
//!
//! After the logger's name stand four forms of EDN: the process, the type, the operation and its
//! value; what follows them is the reason of a completion that is not `:ok`. A log has no times
//! that count from the run's beginning, so an event's number is its time.

use std::io::BufRead;
use std::path::Path;

use clojure_reader::edn::{self as reader, Edn};

use super::records::{Function, Record, Records, Stage, keyword, shown};
use crate::history::Event;
use crate::history_file::HistoryFileError;

/// The logger's name as older and newer versions of Jepsen write it.
const MARKERS: [&str; 2] = ["jepsen.util - ", "jepsen.util: "];

/// Reads the history in a Jepsen log; errors name it `path`.
///
/// # Errors
/// [`HistoryFileError::Line`] at the first operation that is not understood, or cannot belong to a
/// history; [`HistoryFileError::File`] when reading fails.
pub fn jepsen_log(mut reader: impl BufRead, path: &Path) -> Result<Vec<Event>, HistoryFileError> {
    let mut records = Records::default();
    let (mut buffer, mut line) = (Vec::new(), 0);
    loop {
        buffer.clear();
        let length = reader
            .read_until(b'\n', &mut buffer)
            .map_err(|source| HistoryFileError::File { path: path.to_owned(), source })?;
        if length == 0 {
            return Ok(records.finish());
        }
        line += 1;
        // Other lines of a log hold whatever the programs under test printed.
        let text = String::from_utf8_lossy(&buffer);
        if let Some(operation) = operation(&text) {
            push(&mut records, line, operation).map_err(|problem| HistoryFileError::Line {
                path: path.to_owned(),
                line,
                problem,
            })?;
        }
    }
}

/// What a line says of an operation by a numbered process.
fn operation(line: &str) -> Option<&str> {
    let said = MARKERS.iter().find_map(|marker| line.split_once(marker))?.1.trim();
    let process = said.split_whitespace().next()?;
    process.bytes().all(|byte| byte.is_ascii_digit()).then_some(said)
}

fn push(records: &mut Records, line: usize, operation: &str) -> Result<(), String> {
    let mut rest = operation;
    let mut next = || -> Option<Edn<'_>> {
        let (form, after) = reader::read(rest).ok()?;
        rest = after;
        Some(form)
    };
    let (Some(process), Some(stage), Some(function), Some(value)) =
        (next(), next(), next(), next())
    else {
        return Err(format!(
            "not an operation: {operation}; expected a process, :type, :f and a value"
        ));
    };
    let Edn::Int(number) = process else {
        return Err(format!("the process is {}; expected a number", shown(&process)));
    };
    let reason = match rest.trim() {
        "" => keyword(&value).map(|_| value.to_string()),
        reason => Some(reason.to_owned()),
    };
    records.push(
        line,
        &Record {
            process: number.unsigned_abs(),
            stage: Stage::parse(Some(&stage))?,
            function: Function::parse(Some(&function))?,
            key: None,
            value: Some(&value),
            reason,
            time_ns: None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, EventKind, Operation, Outcome, Process, Text};

    fn import(log: &[u8]) -> Result<Vec<Event>, String> {
        jepsen_log(log, Path::new("etcd.log")).map_err(|error| error.to_string())
    }

    #[test]
    fn operations_are_found_among_other_lines() {
        let log = b"INFO  jepsen.core - Worker 0 starting\n\
            INFO  jepsen.util - 0\t:invoke\t:write\t4\n\
            INFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
            \n\
            2015-05-03 12:00:00,123{GMT} INFO  [jepsen worker 1] jepsen.util - 1   :invoke :read  nil\r\n\
            2026-05-03 12:00:00,124{UTC}\tINFO\t[worker 0] jepsen.util: 0  :ok     :write  4\n\
            noise \xff\xfe\n\
            INFO  jepsen.util - 1 :ok :read 4\n\
            INFO  jepsen.util - 2\t:invoke\t:cas\t[4 5]\n\
            INFO  jepsen.util - 2\t:info\t:cas\t:timed-out\n\
            INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
            INFO  jepsen.util - 2\t:fail\t:read\tnil\tjava.io.IOException: no #route";
        let key = || Text::new("register");
        let invoke = |operation| EventKind::Invoke { operation };
        let complete = |outcome| EventKind::Complete { outcome };
        let value = Text::new("4");
        let expected = [
            (0, invoke(Operation::Set { key: key(), value: value.clone() })),
            (1, invoke(Operation::Get { key: key() })),
            (0, complete(Outcome::Ok { answer: Answer::Done })),
            (1, complete(Outcome::Ok { answer: Answer::Value { value: Some(value.clone()) } })),
            (
                2,
                invoke(Operation::CompareAndSet {
                    key: key(),
                    expected: Some(value),
                    value: Text::new("5"),
                }),
            ),
            (2, complete(Outcome::Info { reason: ":timed-out".to_owned() })),
            (3, invoke(Operation::Get { key: key() })),
            (3, complete(Outcome::Fail { reason: "java.io.IOException: no #route".to_owned() })),
        ];
        let expected: Vec<Event> = (0..)
            .zip(expected)
            .map(|(time_us, (process, kind))| Event { time_us, process: Process(process), kind })
            .collect();
        assert_eq!(import(log).unwrap(), expected);
        assert_eq!(import(b"").unwrap(), []);
    }

    #[test]
    fn operations_that_are_not_understood_are_named() {
        for (operation, problem) in [
            ("1", "not an operation: 1; expected a process, :type, :f and a value"),
            (
                "1 :invoke :cas [0 3",
                "not an operation: 1 :invoke :cas [0 3; expected a process, :type, :f and a value",
            ),
            ("1 nodes are up", "the type is nodes; expected :invoke, :ok, :fail or :info"),
            (
                "1 :invoke :enqueue 3",
                "the operation is :enqueue; expected :read, :write, :cas, :get, :put, :append or \
                 :delete",
            ),
            (
                "1 :ok :read 3",
                "process 1 completes :read, and has nothing open; expected its invocation",
            ),
            (
                "99999999999999999999 :invoke :read nil",
                "not an operation: 99999999999999999999 :invoke :read nil; expected a process, \
                 :type, :f and a value",
            ),
        ] {
            let log = format!("\nINFO  jepsen.util - {operation}\n");
            assert_eq!(import(log.as_bytes()).unwrap_err(), format!("etcd.log:2: {problem}"));
        }
    }

    #[test]
    fn a_log_that_cannot_be_read_is_named() {
        let path = Path::new("/");
        let reader = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let error = jepsen_log(reader, path).unwrap_err().to_string();
        assert!(error.starts_with("/: "), "{error}");
    }
}
