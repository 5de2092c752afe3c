//! The folder: names, and the changes of names that wait for a sync of the folder.
//!
//! The changes are journaled, so a power failure keeps a prefix of them, never a subset.

use std::collections::{BTreeMap, BTreeSet};

/// A file's identity on its disk; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

type Names = BTreeMap<String, FileId>;

#[derive(Clone, Debug)]
enum Change {
    Create { name: String, file: FileId },
    Rename { from: String, to: String },
    Remove { name: String },
}

/// Names as a process sees them, names as they are durable, and what lies between.
#[derive(Debug, Default)]
pub(super) struct Folder {
    seen: Names,
    durable: Names,
    pending: Vec<Change>,
}

impl Folder {
    pub(super) fn get(&self, name: &str) -> Option<FileId> {
        self.seen.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, FileId)> {
        self.seen.iter().map(|(name, file)| (name.as_str(), *file))
    }

    pub(super) fn create(&mut self, name: &str, file: FileId) {
        self.change(Change::Create { name: name.to_owned(), file });
    }

    /// Renames a file; the caller has checked that there is one.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.seen.contains_key(name) {
            self.change(Change::Remove { name: name.to_owned() });
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// How many changes wait for a sync.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Keeps the first `kept` changes and forgets the others.
    pub(super) fn settle(&mut self, kept: usize) {
        self.pending.truncate(kept);
        self.sync();
        self.seen.clone_from(&self.durable);
    }

    /// Every file that a name leads to, or may lead to after a power failure.
    pub(super) fn reachable(&self) -> BTreeSet<FileId> {
        let created = self.pending.iter().filter_map(|change| match change {
            Change::Create { file, .. } => Some(*file),
            Change::Rename { .. } | Change::Remove { .. } => None,
        });
        self.seen.values().chain(self.durable.values()).copied().chain(created).collect()
    }
}

fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Change::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Remove { name } => {
            names.remove(name);
        }
    }
}
