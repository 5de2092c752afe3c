//! Artifacts on disk: written whole or not at all, read with one clear line for what is wrong.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Artifact, FORMAT, VERSION};

/// Why an artifact could not be read. Its text is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error("{path}: {error}, expected an aspen artifact of version {VERSION}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The file is no JSON document, or one with other fields.
    #[error("{path}: {error}, expected an aspen artifact of version {VERSION}")]
    Document {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: serde_json::Error,
    },
    /// The document is something else.
    #[error("{path}: format is `{found}`, expected `{FORMAT}`")]
    Format {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: String,
    },
    /// The document was written by another version of the tool.
    #[error("{path}: version is {found}, this build reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
    },
    /// The schedule says something that no run can do.
    #[error("{path}: schedule.{reason}")]
    Schedule {
        /// The file.
        path: PathBuf,
        /// The field and what is expected.
        reason: String,
    },
}

/// Why an artifact could not be written. Nothing was left in its place.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be written: {error}, expected a folder that can be written")]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub error: std::io::Error,
}

#[derive(Deserialize)]
struct Header {
    format: Option<String>,
    version: Option<u64>,
}

/// Reads an artifact.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<Artifact, ReadError> {
    let path_buf = || path.to_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ReadError::File { path: path_buf(), error })?;
    let document = |error| ReadError::Document { path: path_buf(), error };
    // The version first: another version's document may have other fields.
    let header: Header = serde_json::from_str(&text).map_err(document)?;
    match (header.format.as_deref(), header.version) {
        (Some(FORMAT), Some(version)) if version == u64::from(VERSION) => {}
        (Some(FORMAT), found) => {
            let found = found.unwrap_or(0);
            return Err(ReadError::Version { path: path_buf(), found });
        }
        (found, _) => {
            let found = found.unwrap_or_default().to_owned();
            return Err(ReadError::Format { path: path_buf(), found });
        }
    }
    let artifact: Artifact = serde_json::from_str(&text).map_err(document)?;
    let valid = artifact.schedule.validate();
    valid.map_err(|reason| ReadError::Schedule { path: path_buf(), reason })?;
    Ok(artifact)
}

/// Writes an artifact into a folder, which is made if it is missing, and gives the file's path.
///
/// The document goes to a temporary name first, so that a good file of that name is replaced by a
/// whole one or stays.
///
/// # Errors
/// [`WriteError`] with what the operating system said.
pub fn write(artifact: &Artifact, folder: &Path) -> Result<PathBuf, WriteError> {
    let path = folder.join(artifact.file_name());
    let failed = |error| WriteError { path: path.clone(), error };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let temporary = folder.join(format!(".{}.{}", artifact.file_name(), std::process::id()));
    let written =
        write_whole(artifact, &temporary).and_then(|()| std::fs::rename(&temporary, &path));
    if let Err(error) = written {
        // The error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
        return Err(failed(error));
    }
    Ok(path)
}

fn write_whole(artifact: &Artifact, path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    serde_json::to_writer(&mut file, artifact)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Makes sure, before a run and not after it, that a folder can be written.
///
/// # Errors
/// [`WriteError`] that names the folder.
pub fn check_folder(folder: &Path) -> Result<(), WriteError> {
    let failed = |error| WriteError { path: folder.to_owned(), error };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let probe = folder.join(format!(".probe.{}", std::process::id()));
    std::fs::write(&probe, b"").map_err(failed)?;
    std::fs::remove_file(&probe).map_err(failed)
}
