//! From the fields of a foreign history's lines to events.
//!
//! The rules are those of Jepsen. A completion `:fail` says that the operation did not take
//! effect, a comparison that did not hold included; what was found instead is not recorded, so
//! such a line constrains nothing. A completion `:ok` repeats what was invoked, or nothing; if it
//! says something else, nobody knows which of the two took effect, and the line is refused.
//!
//! A process that goes on after `:info` gets a fresh number, because its old operation may still
//! take effect.

use std::collections::BTreeMap;

use clojure_reader::edn::Edn;

use crate::history::{Answer, Event, EventKind, Operation, Outcome, Process, Text};

/// The key of a register that has none in the history.
const REGISTER: &str = "register";
/// Renamed processes are numbered from here until the largest number of the history is known.
/// The numbers of a history fit into 63 bits.
const RENAMED: u64 = 1 << 63;
/// How EDN writes a pair of `jepsen.independent` that does not print as a plain vector.
const TUPLE: &str = "jepsen.independent.Tuple";
/// How deep a form may be nested that an error or a reason shows.
const SHOWN_DEPTH_MAX: usize = 16;
/// A value that is not there.
static NIL: Edn<'static> = Edn::Nil;

/// What a line says of an operation.
pub(super) struct Record<'r> {
    pub(super) process: u64,
    pub(super) stage: Stage,
    pub(super) function: Function,
    pub(super) key: Option<&'r Edn<'r>>,
    pub(super) value: Option<&'r Edn<'r>>,
    /// Why it failed, or is of unknown outcome.
    pub(super) reason: Option<String>,
    pub(super) time_ns: Option<i64>,
}

/// What happened to an operation.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Invoke,
    Complete(Ending),
}

/// How an operation ended.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    Ok,
    Fail,
    Info,
}

impl Stage {
    /// The meaning of `:type`.
    pub(super) fn parse(field: Option<&Edn<'_>>) -> Result<Self, String> {
        match field.and_then(keyword) {
            Some("invoke") => Ok(Self::Invoke),
            Some("ok") => Ok(Self::Complete(Ending::Ok)),
            Some("fail") => Ok(Self::Complete(Ending::Fail)),
            Some("info") => Ok(Self::Complete(Ending::Info)),
            _ => Err(format!(
                "the type is {}; expected :invoke, :ok, :fail or :info",
                shown_field(field)
            )),
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Read,
    Write,
    Cas,
    Get,
    Put,
    Append,
    Delete,
}

/// The two families of operations, which a history does not mix: only one of them reads `""` for
/// what was never written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Register,
    KeyValue,
}

impl Function {
    /// The meaning of `:f`.
    pub(super) fn parse(field: Option<&Edn<'_>>) -> Result<Self, String> {
        match field.and_then(keyword) {
            Some("read") => Ok(Self::Read),
            Some("write") => Ok(Self::Write),
            Some("cas") => Ok(Self::Cas),
            Some("get") => Ok(Self::Get),
            Some("put") => Ok(Self::Put),
            Some("append") => Ok(Self::Append),
            Some("delete" | "del") => Ok(Self::Delete),
            _ => Err(format!(
                "the operation is {}; expected :read, :write, :cas, :get, :put, :append or :delete",
                shown_field(field)
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => ":read",
            Self::Write => ":write",
            Self::Cas => ":cas",
            Self::Get => ":get",
            Self::Put => ":put",
            Self::Append => ":append",
            Self::Delete => ":delete",
        }
    }

    /// Deleting belongs to both.
    fn family(self) -> Option<Family> {
        match self {
            Self::Read | Self::Write | Self::Cas => Some(Family::Register),
            Self::Get | Self::Put | Self::Append => Some(Family::KeyValue),
            Self::Delete => None,
        }
    }

    fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Get)
    }

    /// The operation, from a value without its key.
    fn operation(self, key: Text, value: &Edn<'_>) -> Result<Operation, String> {
        if matches!(self, Self::Read | Self::Get | Self::Delete) && *value != Edn::Nil {
            let name = self.name();
            return Err(format!("{name} asks with the value {}; expected nil", shown(value)));
        }
        Ok(match self {
            Self::Read | Self::Get => Operation::Get { key },
            Self::Write => Operation::Set { key, value: text(value)? },
            Self::Put => Operation::Set { key, value: some_text(value)? },
            Self::Append => Operation::Append { key, value: some_text(value)? },
            Self::Delete => Operation::Delete { key },
            Self::Cas => {
                let Some((old, new)) = pair(value) else {
                    return Err(format!(
                        "the value of :cas is {}; expected [old new]",
                        shown(value)
                    ));
                };
                Operation::CompareAndSet { key, expected: optional(old)?, value: text(new)? }
            }
        })
    }
}

/// Where an operation's key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyPlace {
    /// In a field of its own.
    Field,
    /// In the value, before what is otherwise the value.
    Tuple,
    /// Nowhere: there is one register.
    Nowhere,
}

/// An operation that waits for its completion.
struct Open {
    line: usize,
    function: Function,
    place: KeyPlace,
    key: Text,
    operation: Operation,
}

/// A process of the foreign history.
struct Client {
    /// Its number in ours.
    process: Process,
    open: Option<Open>,
    /// Whether its last operation is of unknown outcome.
    retired: bool,
}

/// Turns records into events.
#[derive(Default)]
pub(super) struct Records {
    events: Vec<Event>,
    clients: BTreeMap<u64, Client>,
    renamed: u64,
    family: Option<(Family, usize)>,
}

impl Records {
    /// Takes the next record, which stands on this line.
    pub(super) fn push(&mut self, line: usize, record: &Record<'_>) -> Result<(), String> {
        let (process, kind) = match record.stage {
            Stage::Invoke => self.invoke(line, record)?,
            Stage::Complete(ending) => self.complete(record, ending)?,
        };
        let counted = self.events.len() as u64;
        let said = record.time_ns.map(|time| u64::try_from(time).unwrap_or(0) / 1000);
        let last = self.events.last().map_or(0, |event| event.time_us);
        let time_us = said.unwrap_or(counted).max(last);
        self.events.push(Event { time_us, process, kind });
        Ok(())
    }

    /// The events, once all records were taken.
    pub(super) fn finish(self) -> Vec<Event> {
        let fresh = self.clients.keys().next_back().map_or(0, |last| last + 1);
        let mut events = self.events;
        for event in &mut events {
            if let Some(number) = event.process.0.checked_sub(RENAMED) {
                event.process = Process(fresh + number);
            }
        }
        events
    }

    fn invoke(&mut self, line: usize, record: &Record<'_>) -> Result<(Process, EventKind), String> {
        self.check_family(line, record.function)?;
        let (place, key, value) = address(record)?;
        let operation = record.function.operation(key.clone(), value)?;
        let client = self.clients.entry(record.process).or_insert_with(|| Client {
            process: Process(record.process),
            open: None,
            retired: false,
        });
        if let Some(open) = &client.open {
            return Err(format!(
                "process {} invokes {} while its {} of line {} is open; expected its completion",
                record.process,
                record.function.name(),
                open.function.name(),
                open.line
            ));
        }
        if std::mem::take(&mut client.retired) {
            client.process = Process(RENAMED + self.renamed);
            self.renamed += 1;
        }
        let kind = EventKind::Invoke { operation: operation.clone() };
        client.open = Some(Open { line, function: record.function, place, key, operation });
        Ok((client.process, kind))
    }

    /// Refuses a history that mixes families.
    fn check_family(&mut self, line: usize, function: Function) -> Result<(), String> {
        let Some(family) = function.family() else { return Ok(()) };
        let (before, first) = *self.family.get_or_insert((family, line));
        if before == family {
            return Ok(());
        }
        Err(format!(
            "{} does not belong with the operations since line {first}; expected either :read, \
             :write and :cas or :get, :put and :append in one history",
            function.name()
        ))
    }

    fn complete(
        &mut self,
        record: &Record<'_>,
        ending: Ending,
    ) -> Result<(Process, EventKind), String> {
        let (process, name) = (record.process, record.function.name());
        let client = self.clients.get_mut(&process);
        let Some((client, open)) = client.and_then(|client| {
            let open = client.open.take()?;
            Some((client, open))
        }) else {
            return Err(format!(
                "process {process} completes {name}, and has nothing open; expected its invocation"
            ));
        };
        if open.function != record.function {
            return Err(format!(
                "process {process} completes {name}; expected the completion of its {} of line {}",
                open.function.name(),
                open.line
            ));
        }
        let reason = || record.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
        let outcome = match ending {
            Ending::Ok => Outcome::Ok { answer: answer(&open, record)? },
            Ending::Fail => Outcome::Fail { reason: reason() },
            Ending::Info => {
                client.retired = true;
                Outcome::Info { reason: reason() }
            }
        };
        Ok((client.process, EventKind::Complete { outcome }))
    }
}

/// Where an invocation's key is, what it is, and the value without it.
fn address<'r>(record: &Record<'r>) -> Result<(KeyPlace, Text, &'r Edn<'r>), String> {
    let value = record.value.unwrap_or(&NIL);
    if let Some(key) = record.key {
        return Ok((KeyPlace::Field, text(key)?, value));
    }
    // A `:cas` has a pair in any case, so its key stands before a second one.
    match pair(value) {
        Some((key, inner)) if record.function != Function::Cas || pair(inner).is_some() => {
            Ok((KeyPlace::Tuple, text(key)?, inner))
        }
        _ if record.function.family() == Some(Family::Register) => {
            Ok((KeyPlace::Nowhere, Text::new(REGISTER), value))
        }
        _ => Err(format!(
            "{} has no key; expected :key, or a value [key value]",
            record.function.name()
        )),
    }
}

fn answer(open: &Open, record: &Record<'_>) -> Result<Answer, String> {
    let value = answered(open, record)?;
    match open.function {
        Function::Read => Ok(Answer::Value { value: optional(value)? }),
        Function::Get => Ok(Answer::Value {
            value: optional(value)?.filter(|value| !value.as_bytes().is_empty()),
        }),
        // What a delete answers differs between clients; that it took effect is certain.
        Function::Delete => Ok(Answer::Done),
        Function::Write | Function::Put | Function::Append | Function::Cas => {
            let repeats = *value == Edn::Nil
                || open.function.operation(open.key.clone(), value)? == open.operation;
            if !repeats {
                return Err(format!(
                    "{} is answered with {}; expected the value of line {}, or nil",
                    open.function.name(),
                    shown(value),
                    open.line
                ));
            }
            let swaps = open.function == Function::Cas;
            Ok(if swaps { Answer::Swapped } else { Answer::Done })
        }
    }
}

/// The value of a completion without its key, which must be that of the invocation.
fn answered<'r>(open: &Open, record: &Record<'r>) -> Result<&'r Edn<'r>, String> {
    let other_key = |key: &Edn<'_>| {
        format!(
            "the answer is about the key {}; expected the key of line {}",
            shown(key),
            open.line
        )
    };
    if let Some(key) = record.key
        && text(key)? != open.key
    {
        return Err(other_key(key));
    }
    let Some(value) = record.value else {
        if open.function.reads() {
            let name = open.function.name();
            return Err(format!("{name} is answered without a value; expected one, or nil"));
        }
        return Ok(&NIL);
    };
    if open.place != KeyPlace::Tuple || (*value == Edn::Nil && !open.function.reads()) {
        return Ok(value);
    }
    match pair(value) {
        Some((key, inner)) if text(key)? == open.key => Ok(inner),
        Some((key, _)) => Err(other_key(key)),
        None => Err(format!(
            "the answer is {}; expected [key value], as on line {}",
            shown(value),
            open.line
        )),
    }
}

/// The two elements of a vector, or of an independent key's tuple.
fn pair<'r>(value: &'r Edn<'r>) -> Option<(&'r Edn<'r>, &'r Edn<'r>)> {
    let mut value = value;
    if let Edn::Tagged(tag, tuple) = value
        && tag == TUPLE
    {
        value = tuple;
    }
    let Edn::Vector(elements) = value else { return None };
    let [first, second] = elements.as_slice() else { return None };
    Some((first, second))
}

/// The name of a keyword, without its colon.
pub(super) fn keyword<'r>(value: &'r Edn<'_>) -> Option<&'r str> {
    if let Edn::Key(name) = value { Some(name) } else { None }
}

/// A field in words.
pub(super) fn shown_field(field: Option<&Edn<'_>>) -> String {
    field.map_or_else(|| "missing".to_owned(), shown)
}

/// A form as EDN, unless it is nested so deep that writing it, which recurses, could end badly.
pub(super) fn shown(form: &Edn<'_>) -> String {
    if nested_within(form, SHOWN_DEPTH_MAX) {
        form.to_string()
    } else {
        "a deeply nested form".to_owned()
    }
}

fn nested_within(form: &Edn<'_>, depth: usize) -> bool {
    let within = |form: &Edn<'_>| depth > 0 && nested_within(form, depth - 1);
    if let Edn::Vector(forms) | Edn::List(forms) = form {
        forms.iter().all(within)
    } else if let Edn::Set(forms) = form {
        forms.iter().all(within)
    } else if let Edn::Map(fields) = form {
        fields.iter().all(|(key, value)| within(key) && within(value))
    } else if let Edn::Tagged(_, form) = form {
        within(form)
    } else {
        true
    }
}

/// A key or a value. A keyword keeps its colon: it is not the string of the same name.
fn text(value: &Edn<'_>) -> Result<Text, String> {
    if let Edn::Str(text) = value {
        return Ok(Text::new(text));
    }
    if matches!(value, Edn::Int(_) | Edn::Key(_) | Edn::Bool(_) | Edn::Double(_)) {
        return Ok(Text::new(&value.to_string()));
    }
    Err(format!(
        "{} is no key or value of a register; expected a number, a string, a keyword or a boolean",
        shown(value)
    ))
}

/// A value that may be absent.
fn optional(value: &Edn<'_>) -> Result<Option<Text>, String> {
    if *value == Edn::Nil { Ok(None) } else { text(value).map(Some) }
}

/// A value to put or to append. An empty one could not be told from an absent one, because both
/// are read as `""`.
fn some_text(value: &Edn<'_>) -> Result<Text, String> {
    let text = text(value)?;
    if text.as_bytes().is_empty() {
        return Err("\"\" is put or appended, which :get reads for an absent key, too; expected \
                    a value that is not empty"
            .to_owned());
    }
    Ok(text)
}
