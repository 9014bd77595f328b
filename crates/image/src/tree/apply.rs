//! Laying a layer over a file system, as container engines do it on disk.

use super::{FileNode, FileSystem, Node};
use crate::layer::{Change, ChangeKind, LayerIndex};

/// The kernel follows so many links in one path.
const MAX_LINKS: usize = 40;
/// What engines give folders that an archive implies but does not have.
const IMPLIED_MODE: u32 = 0o755;

impl FileSystem {
    /// Lays `layer`, which is the one with this `number`, over what is there.
    pub fn apply(&mut self, number: usize, layer: &LayerIndex) -> Result<(), ApplyError> {
        // What a layer takes away is of the layers below, wherever in the archive that stands.
        for Change { path, kind } in &layer.0 {
            match kind {
                ChangeKind::Gone => {
                    if let Some(path) = self.existing(path) {
                        self.remove_below(&path);
                        self.nodes.remove(&path);
                    }
                }
                ChangeKind::Emptied => {
                    if let Some(path) = self.existing(path) {
                        self.remove_below(&path);
                    }
                }
                _ => {}
            }
        }
        for Change { path, kind } in &layer.0 {
            let node = match kind {
                ChangeKind::Gone | ChangeKind::Emptied => continue,
                ChangeKind::Folder { mode } => Node::Folder { mode: *mode },
                ChangeKind::Link { target } => Node::Link {
                    target: target.clone(),
                },
                ChangeKind::File {
                    mode,
                    digest,
                    size,
                    entry,
                } => Node::File(FileNode {
                    mode: *mode,
                    digest: *digest,
                    size: *size,
                    source: Some((number, *entry)),
                }),
                ChangeKind::Same { path: other } => self
                    .existing(other)
                    .and_then(|other| self.nodes.get(&other).cloned())
                    .filter(|node| !matches!(node, Node::Folder { .. }))
                    .ok_or_else(|| ApplyError::NoTarget {
                        path: path.clone(),
                        target: other.clone(),
                    })?,
            };
            self.put(path, node)?;
        }
        Ok(())
    }

    /// Puts `node` at `path`, in place of what is there. Only a folder leaves what is in a folder.
    fn put(&mut self, path: &str, node: Node) -> Result<(), ApplyError> {
        let path = self.make_parents(path)?;
        if !matches!(node, Node::Folder { .. }) {
            self.remove_below(&path);
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// `path` without links in its folders, which are made if they are missing.
    fn make_parents(&mut self, path: &str) -> Result<String, ApplyError> {
        self.resolve(path, &mut |this, folder| {
            this.nodes
                .insert(folder.to_owned(), Node::Folder { mode: IMPLIED_MODE });
            true
        })
        .ok_or_else(|| ApplyError::Parent(path.to_owned()))
    }

    /// `path` without links in its folders, if these exist.
    fn existing(&mut self, path: &str) -> Option<String> {
        self.resolve(path, &mut |_, _| false)
    }

    /// Follows links in the folders of `path`, never out of the image. `missing` hears of a folder
    /// that is not there, and says whether it now is.
    fn resolve(
        &mut self,
        path: &str,
        missing: &mut dyn FnMut(&mut Self, &str) -> bool,
    ) -> Option<String> {
        let mut left: Vec<String> = path.split('/').rev().map(ToOwned::to_owned).collect();
        let mut resolved = String::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    resolved.truncate(resolved.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let here = format!("{resolved}/{part}");
            if left.iter().all(String::is_empty) {
                return Some(here);
            }
            match self.nodes.get(&here) {
                Some(Node::Folder { .. }) => resolved = here,
                Some(Node::Link { target }) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    left.extend(target.split('/').rev().map(ToOwned::to_owned));
                }
                Some(Node::File(_)) => return None,
                None => {
                    if !missing(self, &here) {
                        return None;
                    }
                    resolved = here;
                }
            }
        }
        (path == "/").then(|| "/".to_owned())
    }
}

/// A layer that does not fit what it lies on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A file where a folder must be, or links in a circle.
    #[error("the layer has `{0}`, but a folder above it is a file, or links lead in a circle")]
    Parent(String),
    /// A hard link to nothing.
    #[error("the layer has `{path}` as the same file as `{target}`, which is not there")]
    NoTarget {
        /// The link.
        path: String,
        /// What it should be.
        target: String,
    },
}

#[cfg(test)]
mod tests {
    use mse_crypto::Digest;

    use super::*;

    fn folder(path: &str) -> Change {
        change(path, ChangeKind::Folder { mode: 0o755 })
    }

    fn file(path: &str, content: &str) -> Change {
        change(
            path,
            ChangeKind::File {
                mode: 0o644,
                digest: Digest::of(content.as_bytes()),
                size: content.len() as u64,
                entry: 0,
            },
        )
    }

    fn link(path: &str, target: &str) -> Change {
        change(
            path,
            ChangeKind::Link {
                target: target.into(),
            },
        )
    }

    fn change(path: &str, kind: ChangeKind) -> Change {
        Change {
            path: path.into(),
            kind,
        }
    }

    fn over(layers: &[&[Change]]) -> Result<Vec<String>, ApplyError> {
        let mut system = FileSystem::default();
        for (number, layer) in layers.iter().enumerate() {
            system.apply(number, &LayerIndex(layer.to_vec()))?;
        }
        Ok(system.iter().map(|(path, _)| path.to_owned()).collect())
    }

    #[test]
    fn whiteouts_take_away_what_is_below_and_nothing_else() {
        let base = [
            folder("/a"),
            file("/a/b", "1"),
            file("/a/c", "1"),
            file("/ab", "1"),
        ];
        let gone = change("/a/b", ChangeKind::Gone);
        assert_eq!(over(&[&base, &[gone]]).unwrap(), ["/a", "/a/c", "/ab"]);
        let gone = change("/a", ChangeKind::Gone);
        assert_eq!(over(&[&base, &[gone]]).unwrap(), ["/ab"]);
        // Of its own layer, an opaque folder hides nothing.
        let opaque = [file("/a/new", "2"), change("/a", ChangeKind::Emptied)];
        assert_eq!(over(&[&base, &opaque]).unwrap(), ["/a", "/a/new", "/ab"]);
        let all = [change("/", ChangeKind::Emptied)];
        assert!(over(&[&base, &all]).unwrap().is_empty());
        // Nothing there: nothing happens.
        let nothing = [change("/x/y", ChangeKind::Gone)];
        assert_eq!(over(&[&base, &nothing]).unwrap().len(), 4);
    }

    #[test]
    fn a_file_takes_the_place_of_a_folder_and_the_other_way_round() {
        let base = [folder("/a"), file("/a/b", "1")];
        assert_eq!(over(&[&base, &[file("/a", "2")]]).unwrap(), ["/a"]);
        assert_eq!(over(&[&[file("/a", "2")], &base]).unwrap(), ["/a", "/a/b"]);
        assert!(matches!(
            over(&[&[file("/a", "2")], &[file("/a/b/c", "3")]]),
            Err(ApplyError::Parent(_))
        ));
    }

    #[test]
    fn links_in_folders_are_followed_inside_the_image() {
        let base = [folder("/usr"), folder("/usr/bin"), link("/bin", "usr/bin")];
        assert_eq!(
            over(&[&base, &[file("/bin/sh", "x")]]).unwrap(),
            ["/bin", "/usr", "/usr/bin", "/usr/bin/sh"]
        );
        let out = [link("/a", "../../../etc"), file("/a/passwd", "x")];
        assert_eq!(over(&[&out]).unwrap(), ["/a", "/etc", "/etc/passwd"]);
        let circle = [link("/a", "b"), link("/b", "a"), file("/a/x", "x")];
        assert!(matches!(over(&[&circle]), Err(ApplyError::Parent(_))));
    }

    #[test]
    fn hard_links_are_files() {
        let same = |path: &str, of: &str| change(path, ChangeKind::Same { path: of.into() });
        let layers = [file("/a", "1"), same("/b", "/a")];
        let mut system = FileSystem::default();
        system.apply(0, &LayerIndex(layers.to_vec())).unwrap();
        assert_eq!(system.get("/a"), system.get("/b"));
        assert!(matches!(
            over(&[&[same("/b", "/missing")]]),
            Err(ApplyError::NoTarget { .. })
        ));
    }
}
