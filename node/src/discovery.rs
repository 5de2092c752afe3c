//! What the discovery asks of the node, and where the node keeps what it is told.
//!
//! A membership that names an old address is put right by what nodes say of themselves. What was
//! heard is kept in the data folder, so that a node that was restarted finds those that moved before:
//! when all nodes move, one after the other, the last one would know nobody's address otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aspen_core::{ClusterController, NodeId};
use aspen_transport_iroh::{Neighbourhood, PeerAddress};

use crate::data_folder::{DataFolder, write_whole};
use crate::node::Core;

const NAME: &str = "found.json";

/// The file with the addresses at which others were found.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    folder: PathBuf,
}

impl FoundFile {
    pub(crate) fn of(folder: &DataFolder) -> Self {
        Self { folder: folder.path().to_owned() }
    }

    /// The addresses; none, if the file cannot be read: a node runs without them.
    pub(crate) fn read(&self) -> Vec<PeerAddress> {
        let path = self.folder.join(NAME);
        let Ok(text) = std::fs::read(&path) else { return Vec::new() };
        let found = serde_json::from_slice::<Vec<String>>(&text).map_err(|error| error.to_string());
        let found = found.and_then(|found| {
            let found: Result<_, _> = found.iter().map(|text| text.parse()).collect();
            found.map_err(|error: aspen_transport_iroh::AddressError| error.to_string())
        });
        found.unwrap_or_else(|error| {
            tracing::warn!("{} is left out: {error}", path.display());
            Vec::new()
        })
    }

    fn write(&self, found: &[PeerAddress]) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        if let Err(error) = write_whole(&self.folder, NAME, &found) {
            tracing::warn!(%error, "{NAME} could not be written");
        }
    }
}

/// The other members of a node's cluster.
pub(crate) struct Others {
    id: NodeId,
    raft: Core,
    found: FoundFile,
}

impl Others {
    pub(crate) fn new(id: NodeId, raft: Core, found: FoundFile) -> Self {
        Self { id, raft, found }
    }
}

impl Neighbourhood for Others {
    fn members(&self) -> BTreeMap<NodeId, String> {
        let mut members = self.raft.current_state().addresses;
        members.remove(&self.id);
        members
    }

    async fn moved(&self, found: Vec<PeerAddress>) {
        let file = self.found.clone();
        // It fails when the runtime ends, and then nobody needs the file to be new.
        let _ = tokio::task::spawn_blocking(move || file.write(&found)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_read_again_and_nonsense_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = FoundFile { folder: folder.path().to_owned() };
        assert_eq!(file.read(), []);
        let id = aspen_transport_iroh::SecretKey::from_bytes(&[1; 32]).public();
        let found: PeerAddress = format!("{id}@127.0.0.1:7000").parse().unwrap();
        file.write(std::slice::from_ref(&found));
        assert_eq!(file.read(), [found]);
        for nonsense in ["", "{", "[1]", "[\"here\"]"] {
            std::fs::write(folder.path().join(NAME), nonsense).unwrap();
            assert_eq!(file.read(), [], "{nonsense}");
        }
    }
}
