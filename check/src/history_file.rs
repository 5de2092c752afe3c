//! History files: one event a line, as JSON, so that a real cluster's clients can write them too.
//!
//! The format is [`Event`]'s own. Reading streams and stops at the first line
//! that is not an event; whether the events make a well-formed history is the business of
//! [`check`](crate::check()), which counts the same lines. For that
//! reason every line is an event: empty lines are refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

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

impl HistoryFileError {
    /// The same behind so many lines more.
    fn after(mut self, lines: usize) -> Self {
        if let Self::Line { line, .. } = &mut self {
            *line += lines;
        }
        self
    }
}

/// How much is read from a file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How much of a file is worth a thread.
const PART_BYTES: u64 = 1 << 20;

/// How long a line of a history is, on the short side.
const LINE_BYTES: usize = 80;

/// Reads events one by one; ends after the first error.
#[derive(Debug)]
pub struct HistoryReader<R> {
    input: R,
    path: PathBuf,
    line: usize,
    /// How much of the input was read.
    bytes: u64,
    buffer: String,
    ended: bool,
}

impl HistoryReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`HistoryFileError::File`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, HistoryFileError> {
        Ok(Self::new(open(path)?, path))
    }
}

impl<R: BufRead> HistoryReader<R> {
    /// Reads from any source; errors name it `path`.
    pub fn new(input: R, path: &Path) -> Self {
        Self {
            input,
            path: path.to_owned(),
            line: 0,
            bytes: 0,
            buffer: String::new(),
            ended: false,
        }
    }

    fn read_event(&mut self) -> Result<Option<Event>, HistoryFileError> {
        self.buffer.clear();
        self.line += 1;
        match self.input.read_line(&mut self.buffer) {
            Ok(0) => Ok(None),
            Ok(bytes) => {
                self.bytes += bytes as u64;
                parse(self.buffer.trim_end()).map(Some).map_err(|problem| self.error(problem))
            }
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

/// Reads a whole history file; a long one in parts, on as many threads as there are cores.
///
/// # Errors
/// [`HistoryFileError`] that names the file and, where it is to blame, the line.
pub fn read(path: &Path) -> Result<Vec<Event>, HistoryFileError> {
    // What is no regular file has no length, and is one part.
    let bytes = std::fs::metadata(path).map_err(|source| file_error(path, source))?.len();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let parts = (bytes / PART_BYTES).clamp(1, cores as u64);
    let start = |part: u64| bytes / parts * part;
    let end = |part: u64| if part + 1 == parts { u64::MAX } else { start(part + 1) };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let read = |part| scope.spawn(move || read_part(path, start(part), end(part), bytes));
        let threads: Vec<_> = (0..parts).map(read).collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut history: Vec<Event> = Vec::new();
    for part in parts {
        // Every line before was an event.
        let part: Vec<Event> =
            part.map_err(|error: HistoryFileError| error.after(history.len()))?;
        if history.is_empty() { history = part } else { history.extend(part) }
    }
    Ok(history)
}

/// The lines that begin from `start` on and before `end`, of so many bytes.
fn read_part(
    path: &Path,
    start: u64,
    end: u64,
    bytes: u64,
) -> Result<Vec<Event>, HistoryFileError> {
    let mut input = open(path)?;
    let mut at = start;
    if let Some(before) = start.checked_sub(1) {
        // The line that the byte before belongs to is the one of the part before.
        let skip = |input: &mut BufReader<File>| {
            input.seek(SeekFrom::Start(before))?;
            input.skip_until(b'\n')
        };
        at = before + skip(&mut input).map_err(|source| file_error(path, source))? as u64;
    }
    let mut reader = HistoryReader::new(input, path);
    let mut events = Vec::new();
    // A vector that grows as it is filled copies everything again and again; what is too much costs
    // no memory as long as nothing is written there. Without the room it grows after all.
    let room = if start == 0 { bytes } else { bytes.min(end) - start };
    let _ = events.try_reserve(usize::try_from(room).unwrap_or(0) / LINE_BYTES);
    while at + reader.bytes < end
        && let Some(event) = reader.next()
    {
        events.push(event?);
    }
    Ok(events)
}

fn open(path: &Path) -> Result<BufReader<File>, HistoryFileError> {
    let file = File::open(path).map_err(|source| file_error(path, source))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
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
    fn the_parts_of_a_long_file_are_the_whole() {
        let name = format!("aspen-history-parts-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut text = format!("{GET}\n{OK}\n").repeat(40);
        let whole = read_text(text.as_bytes()).unwrap();
        std::fs::write(&path, &text).unwrap();
        let len = text.len() as u64;
        for cut in 0..len {
            let mut parts = read_part(&path, 0, cut, len).unwrap();
            parts.extend(read_part(&path, cut, u64::MAX, len).unwrap());
            assert!(parts == whole, "cut at byte {cut}");
        }
        // Two parts at least, where there are two cores.
        while text.len() as u64 <= 3 * PART_BYTES {
            text.push_str(&text.clone());
        }
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), read_text(text.as_bytes()).unwrap());
        let lines = text.lines().count();
        for bad in [3, lines / 2, lines] {
            let ruined =
                text.lines().zip(1..).map(|(line, number)| if number == bad { "{" } else { line });
            std::fs::write(&path, ruined.collect::<Vec<_>>().join("\n")).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!(".jsonl:{bad}: column 1: EOF")), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/history.jsonl")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/history.jsonl: "), "{error}");
    }
}
