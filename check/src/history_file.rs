//! History files: one event a line, as JSON, so that a real cluster's clients can write them too.
//!
//! The format is [`Event`]'s own. Reading streams and stops at the first line
//! that is not an event; whether the events make a well-formed history is the business of
//! [`check`](crate::check()), which counts the same lines. For that
//! reason every line is an event: empty lines are refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::history::Event;

/// Why a history file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFileError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A line is not an event.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What was found and what was expected.
        problem: String,
    },
}

/// How much is read from a file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How long a line of a history is, on the short side.
const LINE_BYTES: usize = 80;

/// Reads events one by one; ends after the first error.
#[derive(Debug)]
pub struct HistoryReader<R> {
    input: R,
    path: PathBuf,
    line: usize,
    buffer: String,
    ended: bool,
}

impl HistoryReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`HistoryFileError::File`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, HistoryFileError> {
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        Ok(Self::new(BufReader::with_capacity(BUFFER_BYTES, file), path))
    }
}

impl<R: BufRead> HistoryReader<R> {
    /// Reads from any source; errors name it `path`.
    pub fn new(input: R, path: &Path) -> Self {
        Self { input, path: path.to_owned(), line: 0, buffer: String::new(), ended: false }
    }

    fn read_event(&mut self) -> Result<Option<Event>, HistoryFileError> {
        self.buffer.clear();
        self.line += 1;
        match self.input.read_line(&mut self.buffer) {
            Ok(0) => Ok(None),
            Ok(_) => parse(self.buffer.trim_end()).map(Some).map_err(|problem| self.error(problem)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.error("expected UTF-8".to_owned()))
            }
            Err(source) => Err(file_error(&self.path, source)),
        }
    }

    fn error(&self, problem: String) -> HistoryFileError {
        HistoryFileError::Line { path: self.path.clone(), line: self.line, problem }
    }
}

impl<R: BufRead> Iterator for HistoryReader<R> {
    type Item = Result<Event, HistoryFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read_event().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

fn parse(line: &str) -> Result<Event, String> {
    if line.is_empty() {
        return Err("an empty line; expected one history event a line".to_owned());
    }
    serde_json::from_str(line).map_err(|error| {
        // serde_json counts lines inside of its input, which is one line; only the column helps.
        let text = error.to_string();
        let cause = text.split(" at line ").next().unwrap_or_default();
        let column = error.column();
        format!("column {column}: {cause}; expected one history event as a JSON object")
    })
}

fn file_error(path: &Path, source: io::Error) -> HistoryFileError {
    HistoryFileError::File { path: path.to_owned(), source }
}

/// Reads a whole history file.
///
/// # Errors
/// [`HistoryFileError`] that names the file and, where it is to blame, the line.
pub fn read(path: &Path) -> Result<Vec<Event>, HistoryFileError> {
    let mut history = Vec::new();
    // A vector that grows as it is filled copies everything again and again; what is too much costs
    // no memory as long as nothing is written there.
    if let Ok(file) = std::fs::metadata(path) {
        let lines = usize::try_from(file.len()).unwrap_or(0) / LINE_BYTES;
        // Without the room it grows after all.
        let _ = history.try_reserve(lines);
    }
    for event in HistoryReader::open(path)? {
        history.push(event?);
    }
    Ok(history)
}

/// Writes events one by one, each as a line of its own.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    output: W,
}

impl<W: Write> HistoryWriter<W> {
    /// Writes to any sink; a buffered one is faster.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes the next event.
    ///
    /// # Errors
    /// What the sink says.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, event)?;
        self.output.write_all(b"\n")
    }

    /// Hands on what is buffered, and gives the sink back.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

/// Writes a history file, in place of an older one.
///
/// # Errors
/// [`HistoryFileError::File`] when the file system says no.
pub fn write(path: &Path, history: &[Event]) -> Result<(), HistoryFileError> {
    let fill = || {
        let mut writer = HistoryWriter::new(BufWriter::new(File::create(path)?));
        history.iter().try_for_each(|event| writer.write(event))?;
        writer.finish().map(drop)
    };
    fill().map_err(|source| file_error(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str =
        r#"{"time_us":5,"process":1,"type":"invoke","operation":{"op":"get","key":"a"}}"#;
    const OK: &str = r#"{"time_us":9,"process":1,"type":"complete","outcome":{"outcome":"ok","answer":{"answer":"value","value":null}}}"#;

    fn read_text(text: &[u8]) -> Result<Vec<Event>, String> {
        let reader = HistoryReader::new(text, Path::new("runs/1/history.jsonl"));
        reader.map(|event| event.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let events = read_text(format!("{GET}\n{OK}").as_bytes()).unwrap();
        assert_eq!(events.len(), 2);
        let name = format!("aspen-history-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        write(&path, &events).unwrap();
        let bytes = std::fs::read_to_string(&path).unwrap();
        let again = read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes, format!("{GET}\n{OK}\n"));
        assert_eq!(again.unwrap(), events);
    }

    #[test]
    fn bad_lines_are_named() {
        let cases: [(String, &str); 5] = [
            (format!("{GET}\n\n{OK}"), "runs/1/history.jsonl:2: an empty line; expected"),
            (format!("{GET}\n{{"), "runs/1/history.jsonl:2: column 1: EOF while parsing"),
            (GET.replace("invoke", "ask"), "runs/1/history.jsonl:1: column"),
            (
                GET.replace("\"time_us\":5,", ""),
                "runs/1/history.jsonl:1: column 64: missing field `time_us`",
            ),
            (GET.replace("get", "increment"), "runs/1/history.jsonl:1: column"),
        ];
        for (text, expected) in cases {
            let error = read_text(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(
                error.ends_with("expected one history event as a JSON object")
                    || text.contains("\n\n"),
                "{error}"
            );
        }
        let error = read_text(b"\xff\xfe\n").unwrap_err();
        assert_eq!(error, "runs/1/history.jsonl:1: expected UTF-8");
    }

    #[test]
    fn reading_stops_at_the_first_bad_line() {
        let text = format!("{GET}\nnonsense\n{OK}");
        let mut reader = HistoryReader::new(text.as_bytes(), Path::new("h"));
        assert!(reader.next().is_some_and(|event| event.is_ok()));
        assert!(reader.next().is_some_and(|event| event.is_err()));
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/history.jsonl")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/history.jsonl: "), "{error}");
    }
}
