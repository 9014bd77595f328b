//! The record that `strace` makes, as events.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::crash::ACK;

/// The system calls that matter.
pub(crate) const CALLS: &[&str] = &[
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "close",
];

/// What happens to a file; files go by their names within the folder, the folder itself is `""`.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A file is made, or emptied.
    Create(String),
    /// Bytes are written at an offset.
    Write(String, usize, Vec<u8>),
    /// A file gets another length.
    Truncate(String, usize),
    /// A file gets another name.
    Rename(String, String),
    /// A file loses its name.
    Remove(String),
    /// What was written before this ...
    FlushBegins(String),
    /// ... is on the disk after this.
    FlushEnds(String),
    /// The process tells the world that a write is stored.
    Acknowledged(String),
}

/// The events on files in `folder`.
pub(crate) fn parse(log: &str, folder: &Path) -> Vec<Event> {
    let mut parser = Parser {
        folder: folder.to_owned(),
        open: HashMap::new(),
        unfinished: HashMap::new(),
        events: Vec::new(),
    };
    for line in log.lines() {
        parser.line(line);
    }
    parser.events
}

struct Parser {
    folder: PathBuf,
    /// Descriptor → file and the offset of the next plain write.
    open: HashMap<u32, (String, usize)>,
    /// Thread → the call that it is in.
    unfinished: HashMap<String, String>,
    events: Vec<Event>,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let (thread, rest) = line.trim_start().split_once(' ').unwrap();
        let rest = rest.trim_start();
        if let Some(call) = rest.strip_suffix(" <unfinished ...>") {
            self.begins(call);
            self.unfinished.insert(thread.into(), call.into());
        } else if rest.starts_with("<... ") {
            let call = self.unfinished.remove(thread).unwrap();
            let tail = rest.split_once(" resumed>").unwrap().1;
            self.ends(&(call + tail));
        } else if rest.contains('(') {
            self.begins(rest);
            self.ends(rest);
        }
    }

    /// What may be on the disk from the moment at which the call begins.
    fn begins(&mut self, call: &str) {
        let (name, arguments) = call.split_once('(').unwrap();
        match name {
            "write" => {
                let descriptor = number(arguments);
                let bytes = string(arguments);
                if descriptor == 1 {
                    let said = String::from_utf8_lossy(&bytes).into_owned();
                    let acknowledged = said.lines().filter_map(|line| line.strip_prefix(ACK));
                    self.events
                        .extend(acknowledged.map(|said| Event::Acknowledged(said.into())));
                } else if let Some((file, offset)) = self.open.get_mut(&descriptor) {
                    let at = *offset;
                    *offset += bytes.len();
                    self.events.push(Event::Write(file.clone(), at, bytes));
                }
            }
            "pwrite64" => {
                if let Some(file) = self.file(arguments) {
                    let bytes = string(arguments);
                    let numbers = arguments.rsplit_once("\", ").unwrap().1;
                    let offset = number(numbers.split_once(", ").unwrap().1);
                    self.events.push(Event::Write(file, offset as usize, bytes));
                }
            }
            "ftruncate" => {
                if let Some(file) = self.file(arguments) {
                    let length = number(arguments.split_once(", ").unwrap().1);
                    self.events.push(Event::Truncate(file, length as usize));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(file) = self.file(arguments) {
                    self.events.push(Event::FlushBegins(file));
                }
            }
            "rename" => {
                let (from, to) = arguments.split_once(", ").unwrap();
                if let (Some(from), Some(to)) = (self.path(from), self.path(to)) {
                    self.events.push(Event::Rename(from, to));
                }
            }
            "unlink" => {
                if let Some(file) = self.path(arguments) {
                    self.events.push(Event::Remove(file));
                }
            }
            _ => {}
        }
    }

    /// What is known when it has ended.
    fn ends(&mut self, call: &str) {
        let (name, arguments) = call.split_once('(').unwrap();
        let (arguments, result) = arguments.rsplit_once(" = ").unwrap();
        let failed = result.starts_with('-');
        match name {
            "openat" if !failed => {
                if let Some(file) = self.path(arguments) {
                    self.open.insert(number(result), (file.clone(), 0));
                    if arguments.contains("O_CREAT") && arguments.contains("O_TRUNC") {
                        self.events.push(Event::Create(file));
                    }
                }
            }
            "close" => {
                self.open.remove(&number(arguments));
            }
            "fsync" | "fdatasync" => {
                assert!(!failed, "{call}");
                if let Some(file) = self.file(arguments) {
                    self.events.push(Event::FlushEnds(file));
                }
            }
            "write" | "pwrite64" => {
                // Nothing was written in part.
                let relevant = self.file(arguments).is_some();
                assert!(!relevant || number(result) as usize == string(arguments).len());
            }
            _ => {}
        }
    }

    fn file(&self, arguments: &str) -> Option<String> {
        Some(self.open.get(&number(arguments))?.0.clone())
    }

    /// The file's name, if it lies in the folder and has anything to do with what is durable.
    fn path(&self, arguments: &str) -> Option<String> {
        let path = PathBuf::from(String::from_utf8(string(arguments)).unwrap());
        let name = path.strip_prefix(&self.folder).ok()?.to_str()?.to_owned();
        // The index of the log is built anew after a crash.
        (!name.ends_with("-shm") && name != "trace").then_some(name)
    }
}

/// The number at the beginning.
fn number(text: &str) -> u32 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text:.80}"))
}

/// The first string in quotes: each byte is written as `\xNN`.
fn string(text: &str) -> Vec<u8> {
    let (_, rest) = text.split_once('"').unwrap();
    let (string, rest) = rest.split_once('"').unwrap();
    assert!(!rest.starts_with("..."), "the record is cut off");
    let digits = string.replace("\\x", "");
    hex::decode(digits).unwrap()
}
