//! Histories as Jepsen stores them, in EDN: a map for each event, one after another or in a vector.
//!
//! The maps are read one at a time, because the reader gives no positions inside of a form, and
//! an error should name the line of its map. Fields that say nothing of the operation (`:index`
//! above all) are not looked at: the order of the maps is the order of the events.

use std::path::Path;

use clojure_reader::edn::{self as reader, Edn};
use clojure_reader::error::Code;

use super::records::{Function, Record, Records, Stage, keyword, shown, shown_field};
use crate::history::Event;
use crate::history_file::HistoryFileError;

const EXPECTED: &str =
    "expected maps such as {:process 0, :type :invoke, :f :read, :value nil} as EDN";

/// What is wrong, and on which line.
type Problem = (usize, String);

/// Reads a history of EDN maps; errors name it `path`.
///
/// # Errors
/// [`HistoryFileError::Line`] at the first map that is not understood, or cannot belong to a
/// history.
pub fn edn(input: &str, path: &Path) -> Result<Vec<Event>, HistoryFileError> {
    events(input).map_err(|(line, problem)| HistoryFileError::Line {
        path: path.to_owned(),
        line,
        problem,
    })
}

fn events(input: &str) -> Result<Vec<Event>, Problem> {
    let mut forms = Forms { rest: input, line: 1 };
    let mut records = Records::default();
    let in_vector = forms.skip("[")?;
    loop {
        if in_vector && forms.skip("]")? {
            if forms.at_end()? {
                break;
            }
            return Err((forms.line, format!("something follows the vector; {EXPECTED}")));
        }
        if forms.at_end()? {
            if in_vector {
                return Err((forms.line, format!("the vector does not end; {EXPECTED}")));
            }
            break;
        }
        let line = forms.line;
        let form = forms.read()?;
        push(&mut records, line, &form).map_err(|problem| (line, problem))?;
    }
    Ok(records.finish())
}

fn push(records: &mut Records, line: usize, form: &Edn<'_>) -> Result<(), String> {
    let mut form = form;
    while let Edn::Tagged(_, inner) = form {
        form = inner;
    }
    let Edn::Map(fields) = form else {
        return Err(format!("a form that is not a map; {EXPECTED}"));
    };
    let field = |name: &'static str| fields.get(&Edn::key(name));
    let process = match field("process") {
        Some(Edn::Key(_)) => return Ok(()),
        Some(Edn::Int(process)) => u64::try_from(*process).ok(),
        _ => None,
    };
    let Some(process) = process else {
        let found = shown_field(field("process"));
        return Err(format!("the process is {found}; expected a number, or a keyword to skip"));
    };
    let time_ns = match field("time") {
        None | Some(Edn::Nil) => None,
        Some(Edn::Int(time)) => Some(*time),
        Some(time) => {
            return Err(format!("the time is {}; expected whole nanoseconds", shown(time)));
        }
    };
    let value = field("value");
    let error = field("error").filter(|error| **error != Edn::Nil);
    let reason = error.or_else(|| value.filter(|value| keyword(value).is_some()));
    records.push(
        line,
        &Record {
            process,
            stage: Stage::parse(field("type"))?,
            function: Function::parse(field("f"))?,
            key: field("key"),
            value,
            reason: reason.map(shown),
            time_ns,
        },
    )
}

/// The forms of a text, with the line on which the next one begins.
struct Forms<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Forms<'t> {
    /// Skips this text if it comes next.
    fn skip(&mut self, text: &str) -> Result<bool, Problem> {
        self.skip_blanks()?;
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        Ok(rest.is_some())
    }

    fn at_end(&mut self) -> Result<bool, Problem> {
        self.skip_blanks()?;
        Ok(self.rest.is_empty())
    }

    /// Skips whitespace, comments and discarded forms.
    fn skip_blanks(&mut self) -> Result<(), Problem> {
        loop {
            self.advance(self.rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace()));
            if self.rest.starts_with(';') {
                self.advance(self.rest.find('\n').map_or("", |end| &self.rest[end..]));
            } else if let Some(discarded) = self.rest.strip_prefix("#_") {
                self.advance(discarded);
                self.read()?;
            } else {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Edn<'t>, Problem> {
        match reader::read(self.rest) {
            Ok((form, rest)) => {
                self.advance(rest);
                Ok(form)
            }
            Err(error) => {
                let at = error.ptr.unwrap_or(self.rest.len());
                // A form that does not end is reported where it begins, the only place known.
                if error.code == Code::UnexpectedEOF && at == self.rest.len() {
                    return Err((self.line, format!("a form that does not end; {EXPECTED}")));
                }
                let line = self.line + lines(&self.rest[..at]);
                Err((line, format!("{}; {EXPECTED}", cause(&error.code))))
            }
        }
    }

    fn advance(&mut self, rest: &'t str) {
        self.line += lines(&self.rest[..self.rest.len() - rest.len()]);
        self.rest = rest;
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The reader's error codes in words; it has more than these, and may get others.
fn cause(code: &Code) -> String {
    if let Code::UnmatchedDelimiter(delimiter) = code {
        return format!("`{delimiter}` closes nothing");
    }
    let words = [
        (Code::HashMapDuplicateKey, "a map has the same key twice"),
        (Code::UnexpectedEOF, "a key without a value ends a map"),
        (Code::InvalidNumber, "a number cannot be read"),
        (Code::InvalidEscape, "a string has an unknown escape"),
        (Code::InvalidTag, "a tag cannot be read"),
    ];
    let known = words.iter().find(|(known, _)| known == code);
    known.map_or_else(|| format!("{code:?}"), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::history_file;

    fn import(input: &str) -> Result<Vec<Event>, String> {
        edn(input, Path::new("store/history.edn")).map_err(|error| error.to_string())
    }

    /// The events as a history file has them.
    fn lines(input: &str) -> Vec<String> {
        let events = import(input).unwrap();
        check(&events, crate::Budget::default()).expect("a well-formed history");
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
    }

    fn invoke(time_us: u64, process: u64, operation: &str) -> String {
        format!(
            r#"{{"time_us":{time_us},"process":{process},"type":"invoke","operation":{operation}}}"#
        )
    }

    fn complete(time_us: u64, process: u64, outcome: &str) -> String {
        format!(
            r#"{{"time_us":{time_us},"process":{process},"type":"complete","outcome":{outcome}}}"#
        )
    }

    fn done() -> String {
        r#"{"outcome":"ok","answer":{"answer":"done"}}"#.to_owned()
    }

    fn value(value: &str) -> String {
        format!(r#"{{"outcome":"ok","answer":{{"answer":"value","value":{value}}}}}"#)
    }

    #[test]
    fn a_register_in_every_spelling() {
        let maps = [
            "{:index 0, :time 1000, :process 0, :type :invoke, :f :write, :value 3}",
            "{:index 1, :time 2999, :process :nemesis, :type :info, :f :start, :value {:a [1.5 2]}}",
            "#jepsen.history.Op{:time 3000, :process 1, :type :invoke, :f :read, :value nil}",
            "{:time 2000, :process 0, :type :ok, :f :write, :value 3}",
            "{:time 4000, :process 1, :type :ok, :f :read, :value nil, :error [:none \"x\"]}",
            "{:time 5000, :process 1, :type :invoke, :f :cas, :value [nil 4]}",
            "{:time 6000, :process 1, :type :fail, :f :cas, :value [nil 4]}",
            "{:time 7000, :process 1, :type :invoke, :f :cas, :value [3 \"a\"]}",
            "{:time 8000, :process 1, :type :ok, :f :cas, :value [3 \"a\"]}",
            "{:time 9000, :process 1, :type :invoke, :f :write, :value :a}",
            "{:time 9000, :process 1, :type :info, :f :write, :value :a, :error :timeout}",
        ];
        let get = r#"{"op":"get","key":"register"}"#;
        let expected = [
            invoke(1, 0, r#"{"op":"set","key":"register","value":"3"}"#),
            invoke(3, 1, get),
            complete(3, 0, &done()),
            complete(4, 1, &value("null")),
            invoke(
                5,
                1,
                r#"{"op":"compare_and_set","key":"register","expected":null,"value":"4"}"#,
            ),
            complete(6, 1, r#"{"outcome":"fail","reason":"no reason given"}"#),
            invoke(7, 1, r#"{"op":"compare_and_set","key":"register","expected":"3","value":"a"}"#),
            complete(8, 1, r#"{"outcome":"ok","answer":{"answer":"swapped"}}"#),
            invoke(9, 1, r#"{"op":"set","key":"register","value":":a"}"#),
            complete(9, 1, r#"{"outcome":"info","reason":":timeout"}"#),
        ];
        let one_line = maps.join(" ");
        let commented =
            format!("; a history\r\n{} ; the end\n#_ {{:process 1}} \n", maps.join(",\r\n"));
        for text in [maps.join("\n"), one_line.clone(), format!("\n[{one_line}]\n"), commented] {
            assert_eq!(lines(&text), expected, "{text}");
        }
        assert_eq!(lines(" ; nothing"), Vec::<String>::new());
        assert_eq!(lines("[]"), Vec::<String>::new());
    }

    #[test]
    fn independent_keys_are_the_first_of_two() {
        let text = "
            {:process 0, :type :invoke, :f :write, :value [1 3]}
            {:process 0, :type :ok, :f :write, :value #jepsen.independent.Tuple [1 3]}
            {:process 0, :type :invoke, :f :read, :value [:k nil]}
            {:process 0, :type :ok, :f :read, :value [:k nil]}
            {:process 0, :type :invoke, :f :cas, :value [1 [3 4]]}
            {:process 0, :type :ok, :f :cas, :value [1 [3 4]]}
            {:process 0, :type :invoke, :f :read, :key 1}
            {:process 0, :type :ok, :f :read, :value 4}";
        let swap = r#"{"op":"compare_and_set","key":"1","expected":"3","value":"4"}"#;
        let expected = [
            invoke(0, 0, r#"{"op":"set","key":"1","value":"3"}"#),
            complete(1, 0, &done()),
            invoke(2, 0, r#"{"op":"get","key":":k"}"#),
            complete(3, 0, &value("null")),
            invoke(4, 0, swap),
            complete(5, 0, r#"{"outcome":"ok","answer":{"answer":"swapped"}}"#),
            invoke(6, 0, r#"{"op":"get","key":"1"}"#),
            complete(7, 0, &value(r#""4""#)),
        ];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn an_empty_answer_to_get_is_an_absent_key() {
        let text = r#"
            {:process 2, :type :invoke, :f :get, :key "0", :value nil}
            {:process 2, :type :ok, :f :get, :key "0", :value ""}
            {:process 2, :type :invoke, :f :append, :key "0", :value "x\n"}
            {:process 2, :type :ok, :f :append, :key "0", :value "x\n"}
            {:process 2, :type :invoke, :f :put, :key "0", :value "y"}
            {:process 2, :type :ok, :f :put, :key "0"}
            {:process 2, :type :invoke, :f :get, :value ["0" nil]}
            {:process 2, :type :ok, :f :get, :value ["0" "y"]}
            {:process 2, :type :invoke, :f :del, :key "0"}
            {:process 2, :type :ok, :f :del, :key "0", :value 1}"#;
        let get = r#"{"op":"get","key":"0"}"#;
        let expected = [
            invoke(0, 2, get),
            complete(1, 2, &value("null")),
            invoke(2, 2, r#"{"op":"append","key":"0","value":"x\n"}"#),
            complete(3, 2, &done()),
            invoke(4, 2, r#"{"op":"set","key":"0","value":"y"}"#),
            complete(5, 2, &done()),
            invoke(6, 2, get),
            complete(7, 2, &value(r#""y""#)),
            invoke(8, 2, r#"{"op":"delete","key":"0"}"#),
            complete(9, 2, &done()),
        ];
        // Only the fields are compared: the checker has its own tests of appends.
        let events: Vec<String> = import(text)
            .unwrap()
            .iter()
            .map(|event| serde_json::to_string(event).unwrap())
            .collect();
        assert_eq!(events, expected);
    }

    #[test]
    fn a_process_that_goes_on_after_info_is_a_new_one() {
        let mut text = String::new();
        for process in [0, 0, 4, 0, 4] {
            text += &format!("{{:process {process}, :type :invoke, :f :write, :value 1}}\n");
            text += &format!("{{:process {process}, :type :info, :f :write, :value 1}}\n");
        }
        text += "{:process 5, :type :invoke, :f :read}\n";
        let events = import(&text).unwrap();
        check(&events, crate::Budget::default()).expect("a well-formed history");
        let processes: Vec<u64> = events.iter().map(|event| event.process.0).collect();
        assert_eq!(processes, [0, 0, 6, 6, 4, 4, 7, 7, 8, 8, 5]);
    }

    #[test]
    fn what_was_imported_can_be_written_and_read() {
        let text = "{:process 0, :type :invoke, :f :write, :value \"a b\"}";
        let events = import(text).unwrap();
        let name = format!("aspen-import-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        history_file::write(&path, &events).unwrap();
        let again = history_file::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again.unwrap(), events);
    }

    fn refused(input: &str, expected: &str) {
        let error = import(input).unwrap_err();
        assert_eq!(error, format!("store/history.edn:{expected}"), "{input}");
    }

    #[test]
    fn what_is_not_edn_is_named() {
        let read = "{:process 0, :type :invoke, :f :read}";
        for (input, problem) in [
            (format!("{read}\n{{:process 0,\n:type"), "2: a form that does not end"),
            (format!("{read}\n{{:process 0,\n:type]}}"), "3: `]` closes nothing"),
            (format!("{read}\n}}"), "2: `}` closes nothing"),
            (format!("[{read}\n"), "2: the vector does not end"),
            (format!("[{read}\n] {read}"), "2: something follows the vector"),
            ("{:a 1\n:a 2}".to_owned(), "2: a map has the same key twice"),
            ("\n{:a 1 :b}".to_owned(), "2: a key without a value ends a map"),
            ("{:a 12x}".to_owned(), "1: a number cannot be read"),
            ("{:a \"\\q\"}".to_owned(), "1: a string has an unknown escape"),
            ("#4 {}".to_owned(), "1: a tag cannot be read"),
            ("{:a \\abc}".to_owned(), "1: InvalidChar"),
            ("; x\n7".to_owned(), "2: a form that is not a map"),
        ] {
            refused(&input, &format!("{problem}; {EXPECTED}"));
        }
    }

    #[test]
    fn fields_that_are_not_understood_are_named() {
        for (fields, problem) in [
            (
                ":type :invoke, :f :read",
                "the process is missing; expected a number, or a keyword to skip",
            ),
            (
                ":process -1, :type :invoke, :f :read",
                "the process is -1; expected a number, or a keyword to skip",
            ),
            (
                ":process 0, :type :sleep, :f :read",
                "the type is :sleep; expected :invoke, :ok, :fail or :info",
            ),
            (
                ":process 0, :type :invoke, :f :txn",
                "the operation is :txn; expected :read, :write, :cas, :get, :put, :append or \
                 :delete",
            ),
            (
                ":process 0, :type :invoke, :f :read, :time 1.5",
                "the time is 1.5; expected whole nanoseconds",
            ),
            (
                ":process 0, :type :invoke, :f :read, :value 7",
                ":read asks with the value 7; expected nil",
            ),
            (
                ":process 0, :type :invoke, :f :cas, :value 7",
                "the value of :cas is 7; expected [old new]",
            ),
            (
                ":process 0, :type :invoke, :f :get",
                ":get has no key; expected :key, or a value [key value]",
            ),
            (
                ":process 0, :type :invoke, :f :write, :value [1 [2 3]]",
                "[2 3] is no key or value of a register; expected a number, a string, a keyword \
                 or a boolean",
            ),
            (
                ":process 0, :type :invoke, :f :write",
                "nil is no key or value of a register; expected a number, a string, a keyword or \
                 a boolean",
            ),
            (
                ":process 0, :type :invoke, :f :put, :key 1, :value \"\"",
                "\"\" is put or appended, which :get reads for an absent key, too; expected a \
                 value that is not empty",
            ),
            (
                ":process 0, :type :ok, :f :read, :value 1",
                "process 0 completes :read, and has nothing open; expected its invocation",
            ),
        ] {
            refused(&format!("\n{{{fields}}}"), &format!("2: {problem}"));
        }
    }

    #[test]
    fn a_deeply_nested_value_is_named_and_not_written_out() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!("{{:process 0, :type :invoke, :f :write, :value {deep}}}");
        refused(
            &text,
            "1: a deeply nested form is no key or value of a register; expected a number, a \
             string, a keyword or a boolean",
        );
        refused(&deep, &format!("1: a form that is not a map; {EXPECTED}"));
    }

    #[test]
    fn completions_that_do_not_fit_are_named() {
        let write = ":type :invoke, :f :write, :value [1 2]";
        let read = ":type :invoke, :f :read, :value [1 nil]";
        for (first, second, problem) in [
            (
                write,
                write,
                "process 0 invokes :write while its :write of line 1 is open; expected its completion",
            ),
            (
                write,
                ":type :info, :f :read",
                "process 0 completes :read; expected the completion of its :write of line 1",
            ),
            (
                write,
                ":type :ok, :f :write, :value [1 3]",
                ":write is answered with 3; expected the value of line 1, or nil",
            ),
            (
                write,
                ":type :ok, :f :write, :key 2",
                "the answer is about the key 2; expected the key of line 1",
            ),
            (
                read,
                ":type :ok, :f :read, :value [2 3]",
                "the answer is about the key 2; expected the key of line 1",
            ),
            (
                read,
                ":type :ok, :f :read, :value 3",
                "the answer is 3; expected [key value], as on line 1",
            ),
            (
                read,
                ":type :ok, :f :read",
                ":read is answered without a value; expected one, or nil",
            ),
            (
                ":type :invoke, :f :read",
                ":type :ok, :f :read, :value [1 2]",
                "[1 2] is no key or value of a register; expected a number, a string, a keyword \
                 or a boolean",
            ),
            (
                write,
                ":type :invoke, :f :get, :key 1",
                ":get does not belong with the operations since line 1; expected either :read, \
                 :write and :cas or :get, :put and :append in one history",
            ),
        ] {
            let text = format!("{{:process 0, {first}}}\n{{:process 0, {second}}}");
            refused(&text, &format!("2: {problem}"));
        }
    }
}
