//! The digest of a root file system.

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;

use crate::bundle::{MAX_DEPTH, MAX_PATH};

/// Paths that container engines put their own things at, or that are no files of an image: never
/// measured, and never taken from the image into the sandbox.
pub const ALWAYS_UNMEASURED: &[&str] = &[
    super::OWN,
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
    "/.dockerenv",
    "/run/.containerenv",
    "/run/secrets",
    "/var/run/secrets",
];

/// Whether the entry at `path` (absolute) counts: neither it nor a folder above it is left out.
pub fn is_measured(path: &str, unmeasured: &[String]) -> bool {
    let lies_in = |left_out: &str| {
        path.strip_prefix(left_out)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !ALWAYS_UNMEASURED.iter().copied().any(lies_in)
        && !unmeasured.iter().map(String::as_str).any(lies_in)
}

/// One entry of a root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Absolute, of plain parts, without an ending slash. The root itself has no entry.
    pub path: &'a str,
    /// Permission bits; only the nine of `0o777` count. Links have none.
    pub mode: u32,
    /// What it is.
    pub kind: EntryKind<'a>,
}

/// What an entry is. Devices, pipes and sockets belong to no image. Hard links are files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A folder.
    Folder,
    /// A file, by the SHA-256 of its content.
    File(Digest),
    /// A symbolic link, by its target.
    Link(&'a str),
}

/// Collects the digest of a root file system, entry by entry in the byte order of their paths.
///
/// SHA-256 over `"mse-image-root-v1" ‖ 0x00` and, per entry: the path (with its length), one byte
/// for the kind (0 folder, 1 file, 2 link), the mode (2 bytes, big-endian; 0 for a link), and the
/// content's SHA-256 or the link's target (with its length). Owners and times do not count: in the
/// sandbox everything is the program's own and as old as the sandbox.
pub struct RootHasher {
    hasher: Hasher,
    last: String,
}

impl RootHasher {
    /// Of no entry yet.
    pub fn new() -> Self {
        Self {
            hasher: Hasher::with_domain("mse-image-root-v1"),
            last: String::new(),
        }
    }

    /// Takes in the next entry, whose path must be greater than the one before.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Result<(), InvalidEntry> {
        let Entry { path, mode, kind } = *entry;
        if !is_clean(path) {
            return Err(InvalidEntry::Path(path.escape_debug().to_string()));
        }
        if path <= self.last.as_str() {
            return Err(InvalidEntry::Order(path.to_owned()));
        }
        self.hasher.update_field(path.as_bytes());
        let (tag, mode) = match kind {
            EntryKind::Folder => (0, mode & 0o777),
            EntryKind::File(_) => (1, mode & 0o777),
            EntryKind::Link(_) => (2, 0),
        };
        self.hasher.update(&[tag]);
        self.hasher
            .update(&u16::try_from(mode).unwrap_or(0o777).to_be_bytes());
        match kind {
            EntryKind::Folder => {}
            EntryKind::File(content) => self.hasher.update(&content.0),
            EntryKind::Link(target) => self.hasher.update_field(target.as_bytes()),
        }
        path.clone_into(&mut self.last);
        Ok(())
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl Default for RootHasher {
    fn default() -> Self {
        Self::new()
    }
}

fn is_clean(path: &str) -> bool {
    let Some(parts) = path.strip_prefix('/') else {
        return false;
    };
    path.len() <= MAX_PATH
        && !path.contains('\0')
        && parts.split('/').count() <= MAX_DEPTH
        && parts
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

/// An entry that no root file system of an image has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEntry {
    /// A path that is relative, unclean or too long.
    #[error(
        "`{0}` cannot be a path of an image: it must be absolute, of plain parts, at most {MAX_PATH} bytes and {MAX_DEPTH} parts"
    )]
    Path(String),
    /// Not in order, or there twice.
    #[error("`{0}` is not in the order of paths, or is there twice")]
    Order(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(entries: &[Entry<'_>]) -> Digest {
        let mut hasher = RootHasher::new();
        for entry in entries {
            hasher.entry(entry).unwrap();
        }
        hasher.finish()
    }

    fn example() -> [Entry<'static>; 3] {
        [
            Entry {
                path: "/bin",
                mode: 0,
                kind: EntryKind::Link("usr/bin"),
            },
            Entry {
                path: "/etc",
                mode: 0o755,
                kind: EntryKind::Folder,
            },
            Entry {
                path: "/etc/a",
                mode: 0o644,
                kind: EntryKind::File(Digest::of(b"a")),
            },
        ]
    }

    #[test]
    fn the_digest_is_a_fixed_format() {
        let mut bytes = b"mse-image-root-v1\0".to_vec();
        let field = |bytes: &mut Vec<u8>, text: &str| {
            let mut hasher = Vec::new();
            hasher.extend_from_slice(&(text.len() as u64).to_be_bytes());
            hasher.extend_from_slice(text.as_bytes());
            bytes.extend(hasher);
        };
        field(&mut bytes, "/bin");
        bytes.extend([2, 0, 0]);
        field(&mut bytes, "usr/bin");
        field(&mut bytes, "/etc");
        bytes.extend([0, 0x01, 0xed]);
        field(&mut bytes, "/etc/a");
        bytes.extend([1, 0x01, 0xa4]);
        bytes.extend(Digest::of(b"a").0);
        assert_eq!(digest(&example()), Digest::of(&bytes));
    }

    #[test]
    fn everything_but_special_bits_counts() {
        let base = digest(&example());
        let changed = |change: fn(&mut [Entry<'static>; 3])| {
            let mut entries = example();
            change(&mut entries);
            digest(&entries)
        };
        assert_ne!(changed(|e| e[2].path = "/etc/b"), base);
        assert_ne!(changed(|e| e[2].mode = 0o755), base);
        assert_ne!(
            changed(|e| e[2].kind = EntryKind::File(Digest::of(b"b"))),
            base
        );
        assert_ne!(changed(|e| e[2].kind = EntryKind::Folder), base);
        assert_ne!(changed(|e| e[0].kind = EntryKind::Link("usr/sbin")), base);
        assert_ne!(digest(&example()[..2]), base);
        assert_eq!(changed(|e| e[2].mode = 0o104_644), base);
        assert_eq!(changed(|e| e[0].mode = 0o777), base);
    }

    #[test]
    fn strange_paths_and_orders_are_refused() {
        for path in ["", "/", "etc", "/a//b", "/a/", "/a/../b", "/a/./b", "/a\0"] {
            let refused = RootHasher::new().entry(&Entry {
                path,
                mode: 0,
                kind: EntryKind::Folder,
            });
            assert!(matches!(refused, Err(InvalidEntry::Path(_))), "{path:?}");
        }
        let mut hasher = RootHasher::new();
        let [bin, etc, _] = example();
        hasher.entry(&etc).unwrap();
        for late in [bin, etc] {
            assert!(matches!(hasher.entry(&late), Err(InvalidEntry::Order(_))));
        }
    }

    #[test]
    fn what_engines_put_into_containers_is_left_out() {
        let unmeasured = ["/etc/ssl/certs".to_owned()];
        for path in [
            "/mse/bin/mse-launch",
            "/proc",
            "/etc/hosts",
            "/etc/ssl/certs/a",
        ] {
            assert!(!is_measured(path, &unmeasured), "{path}");
        }
        for path in ["/etc", "/etc/hosts.allow", "/etc/ssl/certs2", "/msedata"] {
            assert!(is_measured(path, &unmeasured), "{path}");
        }
    }
}
