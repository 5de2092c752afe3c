//! Histories that other test harnesses recorded, as events of this crate's own format.
//!
//! Two formats are read: [EDN](edn()) as Jepsen stores it, and the [lines](jepsen_log()) that
//! Jepsen logs. Both say the same of an operation, so each of them only finds the fields;
//! `records` knows what they mean and keeps the history well formed. Where a field can be
//! understood in two ways, the line is refused: a guess would make the verdict worthless.
//!
//! Left out: operations other than those on one register or one key (transactions, lists, sets,
//! queues), and what Jepsen's nemesis did. Verdicts on an imported history count its events, not
//! the lines of the file it came from.

mod edn;
mod jepsen_log;
mod records;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

pub use edn::edn;
pub use jepsen_log::jepsen_log;

use crate::history::Event;
use crate::history_file::HistoryFileError;

/// A format of histories from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Maps of EDN, see [`edn()`].
    Edn,
    /// Lines of a Jepsen log, see [`jepsen_log()`].
    JepsenLog,
}

impl Format {
    /// The format that a file's name promises: `.edn` or `.log`.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        if extension == "edn" {
            Some(Self::Edn)
        } else if extension == "log" {
            Some(Self::JepsenLog)
        } else {
            None
        }
    }
}

/// Reads a file of this format.
///
/// # Errors
/// [`HistoryFileError`] that names the file and, where it is to blame, the line.
pub fn read(path: &Path, format: Format) -> Result<Vec<Event>, HistoryFileError> {
    let file_error = |source| HistoryFileError::File { path: path.to_owned(), source };
    match format {
        Format::Edn => edn(&std::fs::read_to_string(path).map_err(file_error)?, path),
        Format::JepsenLog => {
            jepsen_log(BufReader::new(File::open(path).map_err(file_error)?), path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Budget, Verdict, check};

    #[test]
    fn a_files_name_promises_a_format() {
        assert_eq!(Format::of(Path::new("store/history.edn")), Some(Format::Edn));
        assert_eq!(Format::of(Path::new("etcd.log")), Some(Format::JepsenLog));
        assert_eq!(Format::of(Path::new("history.jsonl")), None);
        assert_eq!(Format::of(Path::new("history")), None);
    }

    #[test]
    fn files_are_read_and_missing_ones_are_named() {
        let cases = [
            (Format::Edn, "edn", "{:process 0, :type :invoke, :f :read, :value nil}\n"),
            (Format::JepsenLog, "log", "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n"),
        ];
        let mut histories = Vec::new();
        for (format, extension, text) in cases {
            let name = format!("aspen-import-{}.{extension}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            let history = read(&path, format);
            std::fs::remove_file(&path).unwrap();
            histories.push(history.unwrap());
            let error = read(&path, format).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        }
        assert_eq!(histories[0], histories[1]);
        assert_eq!(histories[0].len(), 1);
    }

    /// A read that began after the second write had ended sees what the first one wrote.
    #[test]
    fn a_stale_read_is_illegal_in_both_formats() {
        let operations = [
            "0 :invoke :write 1",
            "0 :ok :write 1",
            "1 :invoke :read nil",
            "0 :invoke :write 2",
            "0 :ok :write 2",
            "1 :ok :read 1",
            "1 :invoke :read nil",
            "1 :ok :read 1",
        ];
        let path = Path::new("stale");
        let verdict = |history: &[Event]| check(history, Budget::default()).unwrap();
        for (length, legal) in [(6, true), (8, false)] {
            let (mut log, mut maps) = (String::new(), String::new());
            for operation in &operations[..length] {
                let fields: Vec<&str> = operation.split(' ').collect();
                log += &format!("INFO  jepsen.util - {}\n", fields.join("\t"));
                maps += &format!(
                    "{{:process {}, :type {}, :f {}, :value {}}}\n",
                    fields[0], fields[1], fields[2], fields[3]
                );
            }
            let history = jepsen_log(log.as_bytes(), path).unwrap();
            assert_eq!(history, edn(&maps, path).unwrap());
            match verdict(&history) {
                Verdict::Linearizable => assert!(legal),
                Verdict::Illegal { .. } => assert!(!legal),
                Verdict::Unknown { undecided } => panic!("{undecided:?}"),
            }
        }
    }
}
