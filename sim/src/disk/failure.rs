//! Why an operation on the simulated disk failed.

use std::io;

use super::fault::IoOperation;

/// Why an operation failed; found inside the [`io::Error`] that the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskFailure {
    /// The handle belongs to an incarnation that has ended.
    #[error("the handle is fenced: its incarnation has ended")]
    Fenced,
    /// The disk died at this operation or before it.
    #[error("the disk has died")]
    Dead,
    /// An injected I/O error.
    #[error("input/output error (injected) in {0}")]
    Io(IoOperation),
    /// The disk is full.
    #[error("no space left on the disk: {needed_bytes} bytes needed, {free_bytes} free")]
    Full {
        /// What the operation needed, in whole blocks.
        needed_bytes: u64,
        /// What was free.
        free_bytes: u64,
    },
    /// A read passed the end of the file.
    #[error("read of {bytes} bytes at {offset} passes the end of the file at {len}")]
    PastEnd {
        /// Where the read began.
        offset: u64,
        /// How long it was.
        bytes: u64,
        /// The file's length.
        len: u64,
    },
    /// There is no file of that name to be renamed.
    #[error("no such file")]
    NoSuchFile,
}

impl DiskFailure {
    /// The failure inside an [`io::Error`], if the simulated disk made it.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<DiskFailure> for io::Error {
    fn from(failure: DiskFailure) -> Self {
        let kind = match failure {
            DiskFailure::Fenced | DiskFailure::Dead => io::ErrorKind::BrokenPipe,
            DiskFailure::Io(_) => io::ErrorKind::Other,
            DiskFailure::Full { .. } => io::ErrorKind::StorageFull,
            DiskFailure::PastEnd { .. } => io::ErrorKind::UnexpectedEof,
            DiskFailure::NoSuchFile => io::ErrorKind::NotFound,
        };
        io::Error::new(kind, failure)
    }
}
