//! States that somebody with the key has crafted: authentic, and still not to be believed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use proptest::prelude::*;

use super::restored;
use crate::backing::memory::MemoryBacking;
use crate::blob::{BlobRef, BlobWriter};
use crate::header::Header;
use crate::manifest::{
    Entry, EntryName, LinkTarget, Modified, Node, RootManifest, Summary, encode_listing,
};
use crate::seal::{Kind, ObjectId, Salt, VolumeKeys};
use crate::state::{read_header, read_state};
use crate::store::{ReadError, Store};
use crate::{MAX_DEPTH, Protection, RestoreError, Volume};
use mse_crypto::sealing::SealingKey;

/// A volume whose one state is crafted.
fn crafted(
    summary: Summary,
    craft: impl FnOnce(&mut Store) -> BlobRef,
) -> Result<(), RestoreError> {
    let key = SealingKey::generate();
    let disk = MemoryBacking::default();
    let (volume, root) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    drop(volume);
    let header: Header = read_header(&disk).unwrap().unwrap();
    let mut store = Store::new(Box::new(disk.clone()), VolumeKeys::derive(&key, &header));
    let tree = craft(&mut store);
    let manifest = RootManifest {
        generation: 2,
        parent: Some(root),
        summary,
        tree,
        ..read_state(&store, &header, root).unwrap()
    };
    let (root, sealed) = store.keys.seal_manifest(&header, &manifest.encode());
    store
        .backing
        .write(crate::backing::Name::Root(root), &sealed)
        .unwrap();
    let mut volume = super::open(&disk, &key, root);
    let verified = volume.verify();
    let restored = restored(&mut volume);
    assert_eq!(verified.is_ok(), restored.is_ok());
    restored.map(drop)
}

fn blob(store: &mut Store, kind: Kind, bytes: &[u8]) -> BlobRef {
    let mut writer = BlobWriter::new(kind, Salt::generate());
    writer.write(store, bytes).unwrap();
    writer.finish(store).unwrap()
}

fn listing(store: &mut Store, entries: &[Entry]) -> BlobRef {
    blob(store, Kind::Listing, &encode_listing(entries))
}

fn entry(name: &str, node: Node) -> Entry {
    Entry {
        name: EntryName::new(name.as_bytes()).unwrap(),
        node,
    }
}

fn file(content: BlobRef) -> Node {
    Node::File {
        mode: 0o644,
        modified: Modified::new(0, 0).unwrap(),
        content,
    }
}

fn link(target: &str) -> Node {
    Node::Link {
        target: LinkTarget::new(target.as_bytes()).unwrap(),
    }
}

fn directory(listing: BlobRef) -> Node {
    Node::Directory {
        mode: 0o755,
        listing,
    }
}

fn counts(files: u64, directories: u64, links: u64, bytes: u64) -> Summary {
    Summary {
        files,
        directories,
        links,
        bytes,
    }
}

fn is_refused(result: &Result<(), RestoreError>) -> bool {
    matches!(result, Err(RestoreError::Read(ReadError::Malformed(_))))
}

#[test]
fn a_sound_state_restores() {
    let result = crafted(counts(1, 1, 1, 5), |store| {
        let content = blob(store, Kind::Data, b"hello");
        let inner = listing(
            store,
            &[entry("f", file(content)), entry("l", link("../d"))],
        );
        listing(store, &[entry("d", directory(inner))])
    });
    result.unwrap();
}

#[test]
fn a_link_that_leads_out_is_refused() {
    for (target, refused) in [
        ("../d", false),
        ("../../d", true),
        ("../../../../etc", true),
    ] {
        let result = crafted(counts(0, 1, 1, 0), |store| {
            let inner = listing(store, &[entry("l", link(target))]);
            listing(store, &[entry("d", directory(inner))])
        });
        assert_eq!(is_refused(&result), refused, "{target}");
        assert_eq!(result.is_err(), refused, "{target}");
    }
}

#[test]
fn names_twice_other_totals_and_endless_nesting_are_refused() {
    let twice = crafted(counts(0, 0, 2, 0), |store| {
        listing(store, &[entry("a", link("x")), entry("a", link("y"))])
    });
    assert!(is_refused(&twice));
    let totals = crafted(counts(0, 0, 2, 0), |store| {
        listing(store, &[entry("a", link("x"))])
    });
    assert!(is_refused(&totals));
    for (depth, refused) in [(MAX_DEPTH, false), (MAX_DEPTH + 1, true)] {
        let nested = crafted(counts(0, depth as u64, 0, 0), |store| {
            (0..depth).fold(listing(store, &[]), |inner, _| {
                listing(store, &[entry("d", directory(inner))])
            })
        });
        assert_eq!(is_refused(&nested), refused, "{depth}");
        assert_eq!(nested.is_err(), refused, "{depth}");
    }
}

#[test]
fn objects_do_not_pass_for_what_they_are_not() {
    // A file's content as a listing, and bytes that are no listing.
    let bytes = encode_listing(&[entry("a", link("x"))]);
    let result = crafted(counts(0, 0, 1, 0), |store| blob(store, Kind::Data, &bytes));
    assert!(matches!(
        result,
        Err(RestoreError::Read(ReadError::Changed(_)))
    ));
    let result = crafted(counts(0, 0, 1, 0), |store| {
        blob(store, Kind::Listing, &[&bytes[..], &[9, 9]].concat())
    });
    assert!(is_refused(&result));
    let hole = crafted(counts(0, 0, 0, 0), |_| BlobRef {
        salt: Salt::generate(),
        size: 1000,
        id: ObjectId::HOLE,
    });
    assert!(is_refused(&hole));
}

/// Where the kernel would end up, with `..` undone one by one and links followed.
fn resolve(top: &Path, mut at: PathBuf, target: &Path, hops: usize) -> Option<PathBuf> {
    if hops > 20 {
        return None;
    }
    for part in target.components() {
        match part {
            Component::ParentDir => {
                at.pop();
                assert!(at.starts_with(top), "{target:?} leads out");
            }
            Component::Normal(name) => {
                let next = at.join(name);
                match fs::read_link(&next) {
                    Ok(target) => at = resolve(top, at, &target, hops + 1)?,
                    Err(_) => at = next,
                }
            }
            _ => {}
        }
    }
    Some(at)
}

proptest! {
    #[test]
    fn links_that_are_accepted_stay_inside(
        links in prop::collection::vec((0usize..4, "l[0-3]", "(\\.\\./){0,4}((d|l[0-3]|\\.|\\.\\.)/){0,4}(d|l[0-3])"), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("d/d/d")).unwrap();
        let mut made = Vec::new();
        for (depth, name, target) in links {
            let here = top.join("d/".repeat(depth));
            let is_accepted = LinkTarget::new(target.as_bytes())
                .is_ok_and(|target| target.stays_inside(depth));
            if is_accepted && symlink(&target, here.join(name)).is_ok() {
                made.push((here, target));
            }
        }
        for (here, target) in made {
            // The check is in there.
            resolve(&top, here, Path::new(&target), 0);
        }
    }
}
