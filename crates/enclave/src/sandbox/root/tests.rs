use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder like an image's root.
fn image() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for folder in [
        "usr/bin",
        "etc/ssl",
        "etc-more",
        "proc",
        "mse/bin",
        "run/secrets",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    write(&at("usr/bin/tool"), b"\x7fELF", 0o755);
    write(&at("etc/passwd"), b"root:x:0:0::/:/bin/sh\n", 0o644);
    write(&at("etc/ssl/ca"), b"public", 0o444);
    write(&at("etc-more/a"), &vec![7; 3 * 128 * 1024 + 5], 0o600);
    write(&at("etc/hosts"), b"of the engine", 0o644);
    write(&at("mse/bin/mse-launch"), b"ours", 0o755);
    write(&at("run/secrets/token"), b"of the engine", 0o644);
    write(&at("proc/1"), b"of the kernel", 0o644);
    symlink("usr/bin", at("bin")).unwrap();
    symlink("/etc/passwd", at("etc/link")).unwrap();
    dir
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn copied(folder: &Path, unmeasured: &[&str]) -> (TempDir, Result<CopiedRoot, RootError>) {
    let to = tempfile::tempdir().unwrap();
    let plan = RootPlan {
        app_uid: AppUid::nth(0),
        folder: folder.to_owned(),
        unmeasured: unmeasured.iter().map(ToString::to_string).collect(),
        max_bytes: 1 << 20,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(to.path(), flags, rustix::fs::Mode::empty()).unwrap();
    let copied = copy_into(target, &plan, None);
    (to, copied)
}

fn digest_of(folder: &Path) -> Digest {
    copied(folder, &[]).1.unwrap().digest
}

/// The digest by another way: every path that `find` would print, sorted as bytes.
fn digest_by_paths(root: &Path, unmeasured: &[String]) -> Digest {
    fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            paths.push(path.clone());
            if path.is_dir() && !path.is_symlink() {
                collect(&path, paths);
            }
        }
    }
    let mut paths = Vec::new();
    collect(root, &mut paths);
    let mut named: Vec<(String, PathBuf)> = paths
        .into_iter()
        .map(|path| {
            let below = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            (format!("/{below}"), path)
        })
        .filter(|(name, _)| mse_workload::image::is_measured(name, unmeasured))
        .collect();
    named.sort();
    let mut hasher = RootHasher::new();
    for (name, path) in &named {
        let meta = fs::symlink_metadata(path).unwrap();
        let target = fs::read_link(path).unwrap_or_default();
        let kind = if meta.is_dir() {
            EntryKind::Folder
        } else if meta.is_symlink() {
            EntryKind::Link(target.to_str().unwrap())
        } else {
            EntryKind::File(Digest::of(&fs::read(path).unwrap()))
        };
        let entry = Entry {
            path: name,
            mode: meta.mode(),
            kind,
        };
        hasher.entry(&entry).unwrap();
    }
    hasher.finish()
}

#[test]
fn the_copy_is_what_was_hashed() {
    let image = image();
    let (copy, summary) = copied(image.path(), &[]);
    let summary = summary.unwrap();
    assert_eq!(summary.digest, digest_by_paths(image.path(), &[]));
    assert_eq!(summary.digest, digest_by_paths(copy.path(), &[]));
    assert_eq!(summary.other_mounts, Vec::<String>::new());
    assert!(summary.bytes > 3 * 128 * 1024);
    for left_out in ["mse", "proc", "etc/hosts", "run/secrets"] {
        assert!(!copy.path().join(left_out).exists(), "{left_out}");
    }
    assert!(copy.path().join("run").is_dir());
    let target = fs::read_link(copy.path().join("etc/link")).unwrap();
    assert_eq!(target, Path::new("/etc/passwd"));
}

#[test]
fn what_the_image_leaves_unprotected_is_neither_hashed_nor_copied() {
    let image = image();
    let (copy, summary) = copied(image.path(), &["/etc/ssl"]);
    let honest = summary.unwrap().digest;
    assert_ne!(honest, digest_of(image.path()));
    assert!(!copy.path().join("etc/ssl").exists());
    fs::remove_file(image.path().join("etc/ssl/ca")).unwrap();
    write(&image.path().join("etc/ssl/ca"), b"another", 0o644);
    assert_eq!(
        copied(image.path(), &["/etc/ssl"]).1.unwrap().digest,
        honest
    );
}

#[test]
fn every_lie_has_another_digest() {
    let honest = digest_of(image().path());
    type Lie = fn(&Path);
    let lies: [(&str, Lie); 9] = [
        ("a byte", |root| {
            write(&root.join("usr/bin/tool"), b"\x7fELG", 0o755);
        }),
        ("a file more", |root| {
            write(&root.join("usr/bin/more"), b"", 0o755);
        }),
        ("a file less", |root| {
            fs::remove_file(root.join("etc/ssl/ca")).unwrap();
        }),
        ("a folder more", |root| {
            fs::create_dir(root.join("usr/lib")).unwrap();
        }),
        ("a mode", |root| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(root.join("etc/passwd"), mode).unwrap();
        }),
        ("a folder's mode", |root| {
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(root.join("etc"), mode).unwrap();
        }),
        ("a link's target", |root| {
            fs::remove_file(root.join("bin")).unwrap();
            symlink("/usr/bin", root.join("bin")).unwrap();
        }),
        ("a link instead of a file", |root| {
            // It leads to the very same content.
            fs::rename(root.join("etc/passwd"), root.join("mse/passwd")).unwrap();
            symlink("../mse/passwd", root.join("etc/passwd")).unwrap();
        }),
        ("a link instead of a folder", |root| {
            fs::rename(root.join("etc-more"), root.join("mse/more")).unwrap();
            symlink("mse/more", root.join("etc-more")).unwrap();
        }),
    ];
    for (what, lie) in lies {
        let image = image();
        lie(image.path());
        assert_ne!(digest_of(image.path()), honest, "{what}");
    }
    // What does not count: owners and times, and what engines put there.
    let image = image();
    write(&image.path().join("etc/hosts"), b"others", 0o600);
    write(&image.path().join("etc/resolv.conf"), b"new", 0o600);
    assert_eq!(digest_of(image.path()), honest);
}

#[test]
fn a_folder_is_no_way_out_and_only_three_kinds_are_known() {
    let outside = tempfile::tempdir().unwrap();
    write(&outside.path().join("secret"), b"canary", 0o644);
    let image = image();
    symlink(outside.path(), image.path().join("out")).unwrap();
    let (copy, summary) = copied(image.path(), &[]);
    summary.unwrap();
    assert!(copy.path().join("out").is_symlink());

    let pipe = image.path().join("etc/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = copied(image.path(), &[]).1.unwrap_err().to_string();
    assert!(error.contains("`/etc/pipe` is a pipe"), "{error}");
    fs::remove_file(pipe).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(image.path().join("etc/socket"));
    let error = copied(image.path(), &[]).1.unwrap_err().to_string();
    assert!(error.contains("socket"), "{error}");
    drop(socket);
}

#[test]
fn names_and_depths_that_no_image_has_are_refused() {
    let image = image();
    let strange = std::ffi::OsStr::from_bytes(b"a\xff");
    write(&image.path().join(strange), b"", 0o644);
    let error = copied(image.path(), &[]).1.unwrap_err();
    assert!(matches!(error, RootError::NotUtf8 { .. }), "{error}");
    fs::remove_file(image.path().join(strange)).unwrap();

    let mut deep = image.path().to_owned();
    for _ in 0..=mse_workload::bundle::MAX_DEPTH {
        deep.push("d");
    }
    fs::create_dir_all(deep).unwrap();
    let error = copied(image.path(), &[]).1.unwrap_err();
    assert!(
        matches!(error, RootError::Entry(InvalidEntry::Path(_))),
        "{error}"
    );
    let missing = copied(Path::new("/nowhere/at/all"), &[]).1.unwrap_err();
    assert!(
        missing.to_string().contains("`/nowhere/at/all`"),
        "{missing}"
    );
}

/// More files than copiers can be behind with, and more folders than may be open at once.
#[test]
fn many_files_and_folders_are_copied() {
    let image = tempfile::tempdir().unwrap();
    for folder in 0..300 {
        let folder = image.path().join(format!("{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..4 {
            write(&folder.join(format!("{file}")), &[file; 100], 0o644);
        }
    }
    let (copy, summary) = copied(image.path(), &[]);
    let summary = summary.unwrap();
    assert_eq!((summary.entries, summary.bytes), (1500, 120_000));
    assert_eq!(summary.digest, digest_by_paths(copy.path(), &[]));
}

#[test]
fn an_error_of_one_copier_ends_all() {
    let image = image();
    let to = tempfile::tempdir().unwrap();
    // The place of a file is taken.
    fs::create_dir_all(to.path().join("usr/bin/tool")).unwrap();
    let plan = RootPlan {
        app_uid: AppUid::nth(0),
        folder: image.path().to_owned(),
        unmeasured: vec!["/usr".into(), "/etc".into()],
        max_bytes: 1,
    };
    write(&image.path().join("full"), b"x", 0o644);
    fs::create_dir(to.path().join("full")).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let target = rustix::fs::open(to.path(), flags, rustix::fs::Mode::empty()).unwrap();
    let error = copy_into(target, &plan, None).unwrap_err();
    assert!(
        matches!(&error, RootError::Write { path, .. } if path == "/full"),
        "{error}"
    );
}
