//! Whose containers and networks they are.

use std::collections::HashMap;
use std::path::Path;

use mse_crypto::Digest;

/// The label that holds the name of the mesh, for people.
pub const MESH: &str = "mse.mesh";
/// The label by which leftovers are found.
pub const FOLDER: &str = "mse.folder";
/// So much of a digest tells folders apart.
const ID_LENGTH: usize = 12;

/// A mesh that runs: its name, and the folder with its state. Two checkouts of one mesh are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshId {
    mesh: String,
    /// The beginning of the digest of the folder's path.
    folder: String,
}

impl MeshId {
    /// Of the mesh `mesh` whose state is in `folder`, an absolute path.
    pub fn new(mesh: &str, folder: &Path) -> Self {
        let mut folder = Digest::of(folder.as_os_str().as_encoded_bytes()).to_string();
        folder.truncate(ID_LENGTH);
        Self {
            mesh: mesh.to_owned(),
            folder,
        }
    }

    /// The name of the container of a service. An update has one beside that of before: `turn` is
    /// the number of updates so far.
    pub fn container_name(&self, service: &str, turn: u32) -> String {
        let first = format!("{}-{service}-{}", self.word(), self.folder);
        match turn {
            0 => first,
            turn => format!("{first}-{turn}"),
        }
    }

    pub(super) fn network_name(&self) -> String {
        format!("mse-{}-{}", self.word(), self.folder)
    }

    pub(super) fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (MESH.to_owned(), self.mesh.clone()),
            (FOLDER.to_owned(), self.folder.clone()),
        ])
    }

    /// Whatever comes from the folder, also if the mesh had another name then.
    pub(super) fn folder_label(&self) -> String {
        format!("{FOLDER}={}", self.folder)
    }

    /// Namespaces are separated by a character that names of containers cannot have.
    fn word(&self) -> String {
        self.mesh.replace('/', "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_of_one_mesh_are_told_apart() {
        let [one, other] = ["/home/me/shop/target/run", "/home/me/copy/target/run"]
            .map(|folder| MeshId::new("team/shop", Path::new(folder)));
        assert_ne!(one.folder_label(), other.folder_label());
        assert_ne!(one.container_name("web", 0), other.container_name("web", 0));
        assert_ne!(one.container_name("web", 0), one.container_name("web", 1));
        assert_ne!(one.network_name(), other.network_name());
        assert_eq!(one.labels()[MESH], other.labels()[MESH]);
        assert!(one.container_name("web", 0).starts_with("team-shop-web-"));
    }
}
