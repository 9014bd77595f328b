//! What changed from one file system to another.

use super::{FileSystem, Node};

/// Changes in an order in which they can be written as a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Paths that are there no more; nothing below another.
    pub(crate) gone: Vec<String>,
    /// Paths that are new or other than before, in byte order: folders before what is in them.
    pub(crate) changed: Vec<String>,
}

/// From `before` to `after`, without what `ignored` says.
pub(crate) fn difference(
    before: &FileSystem,
    after: &FileSystem,
    ignored: impl Fn(&str) -> bool,
) -> Difference {
    let mut difference = Difference::default();
    for (path, _) in before.iter() {
        // What is in a folder that is gone, or is no folder any more, goes with it.
        if !ignored(path) && after.get(path).is_none() && has_folder(after, path) {
            difference.gone.push(path.to_owned());
        }
    }
    for (path, node) in after.iter() {
        if !ignored(path) && before.get(path) != Some(node) {
            difference.changed.push(path.to_owned());
        }
    }
    difference
}

fn has_folder(system: &FileSystem, path: &str) -> bool {
    match path.rsplit_once('/') {
        None | Some(("", _)) => true,
        Some((folder, _)) => matches!(system.get(folder), Some(Node::Folder { .. })),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::layer::{Change, ChangeKind, LayerIndex};
    use crate::tree::scan;

    /// The difference, as a layer.
    fn layer(before: &FileSystem, after: &FileSystem) -> LayerIndex {
        let difference = difference(before, after, |_| false);
        let gone = difference.gone.into_iter().map(|path| Change {
            path,
            kind: ChangeKind::Gone,
        });
        let changed = difference.changed.into_iter().map(|path| {
            let kind = match after.get(&path).unwrap() {
                Node::Folder { mode } => ChangeKind::Folder { mode: *mode },
                Node::Link { target } => ChangeKind::Link {
                    target: target.clone(),
                },
                Node::File(file) => ChangeKind::File {
                    mode: file.mode,
                    digest: file.digest,
                    size: file.size,
                    entry: 0,
                },
            };
            Change { path, kind }
        });
        LayerIndex(gone.chain(changed).collect())
    }

    fn make(root: &Path, steps: &[(u8, u8, u8)]) {
        for (kind, outer, inner) in steps {
            let folder = root.join(["a", "a-b", "c"][usize::from(*outer % 3)]);
            let path = folder.join(["x", "y"][usize::from(*inner % 2)]);
            let _ = match kind % 5 {
                0 => fs::create_dir_all(&path),
                1 => fs::create_dir_all(&folder).and_then(|()| fs::write(&path, [*inner])),
                2 => fs::remove_dir_all(&folder).or_else(|_| fs::remove_file(&folder)),
                3 => fs::write(&folder, "file"),
                _ => std::os::unix::fs::symlink("target", &folder),
            };
        }
    }

    proptest! {
        #[test]
        fn the_difference_laid_over_the_old_is_the_new(
            first in prop::collection::vec(any::<(u8, u8, u8)>(), 0..8),
            second in prop::collection::vec(any::<(u8, u8, u8)>(), 0..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path(), &first);
            let before = scan(dir.path()).unwrap();
            make(dir.path(), &second);
            let after = scan(dir.path()).unwrap();
            let mut again = before.clone();
            again.apply(1, &layer(&before, &after)).unwrap();
            prop_assert_eq!(again, after);
        }
    }
}
