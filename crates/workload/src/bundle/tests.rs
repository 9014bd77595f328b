//! Sealing and unsealing together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use mse_crypto::CodeKey;
use proptest::prelude::*;

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

fn write_tree(dir: &Path, files: &Files) {
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn seal_files(
    files: &Files,
    key: &CodeKey,
    nonces: &NonceSource<'_>,
    salt: &SourceSalt,
) -> (Vec<u8>, SealedBundle) {
    let dir = tempfile::tempdir().unwrap();
    write_tree(dir.path(), files);
    let tree = CodeTree::collect(dir.path()).unwrap();
    let archive = tempfile::tempfile().unwrap();
    let sealed = seal(&tree, key, nonces, salt, &archive, &|_| ()).unwrap();
    assert_eq!(source_commitment(&tree, salt).unwrap(), sealed.commitment);
    (read_whole(archive), sealed)
}

fn read_whole(mut file: File) -> Vec<u8> {
    use std::io::Seek;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[derive(Default)]
struct Collected {
    files: Files,
    current: Option<(String, Vec<u8>)>,
}

impl FileSink for Collected {
    fn begin(&mut self, path: &str, _: FileMode, _: u64) -> io::Result<()> {
        self.current = Some((path.to_owned(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.current.as_mut().unwrap().1.extend_from_slice(piece);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (path, content) = self.current.take().unwrap();
        self.files.insert(path, content);
        Ok(())
    }
}

fn small() -> Files {
    [
        ("app.py", &b"print('CANARY-in-code')"[..]),
        ("lib/empty.py", b""),
        ("lib/data.bin", &[7; 10_000]),
        ("requirements.txt", b"flask==3.1.3\n"),
    ]
    .into_iter()
    .map(|(path, content)| (path.to_owned(), content.to_vec()))
    .collect()
}

#[test]
fn round_trip_with_requirements_in_clear_and_code_not() {
    let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
    let (archive, sealed) = seal_files(&small(), &key, &NonceSource::Fresh, &salt);
    let mut sink = Collected::default();
    let opened = unseal(&archive[..], &key, &salt, &mut sink).unwrap();
    assert_eq!(sink.files, small());
    assert_eq!(
        (opened.digest, opened.commitment),
        (sealed.digest, sealed.commitment)
    );
    assert_eq!(digest_of(&archive[..]).unwrap(), sealed.digest);
    assert_eq!(archive.len() as u64, sealed.size);
    let holds = |needle: &[u8]| archive.windows(needle.len()).any(|window| window == needle);
    assert!(holds(b"flask==3.1.3") && holds(b"lib/data.bin.enc"));
    assert!(!holds(b"CANARY"));
    assert_eq!(sealed.nonces.len(), 3);
}

#[test]
fn the_same_nonces_make_the_same_bytes_in_another_folder() {
    let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
    let (first, sealed) = seal_files(&small(), &key, &NonceSource::Fresh, &salt);
    let (again, _) = seal_files(&small(), &key, &NonceSource::Again(&sealed.nonces), &salt);
    let (fresh, other) = seal_files(&small(), &key, &NonceSource::Fresh, &salt);
    assert_eq!(first, again);
    assert_ne!(first, fresh);
    // New ciphertext, same source: the commitment tells.
    assert_ne!(sealed.digest, other.digest);
    assert_eq!(sealed.commitment, other.commitment);
}

#[test]
fn long_paths_survive() {
    let long = format!("{}/{}.py", "d".repeat(200), "f".repeat(200));
    let files: Files = [
        (long.clone(), b"x".to_vec()),
        ("a.py".into(), b"y".to_vec()),
    ]
    .into();
    let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
    let (archive, _) = seal_files(&files, &key, &NonceSource::Fresh, &salt);
    let mut sink = Collected::default();
    unseal(&archive[..], &key, &salt, &mut sink).unwrap();
    assert_eq!(sink.files, files);
}

/// §10.2 no. 8 of the reference: files of one bundle swapped must not go unnoticed.
#[test]
fn swapped_ciphertexts_change_the_digest_and_the_commitment() {
    let files: Files = [
        ("a.py".to_owned(), b"111".to_vec()),
        ("b.py".to_owned(), b"222".to_vec()),
    ]
    .into();
    let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
    let (mut archive, sealed) = seal_files(&files, &key, &NonceSource::Fresh, &salt);
    let (first, second) = (512..1024, 1536..2048);
    let saved = archive[first.clone()].to_vec();
    archive.copy_within(second.clone(), first.start);
    archive[second].copy_from_slice(&saved);
    let opened = unseal(&archive[..], &key, &salt, &mut NoSink).unwrap();
    assert_ne!(opened.digest, sealed.digest);
    assert_ne!(opened.commitment, sealed.commitment);
}

#[test]
fn a_wrong_key_names_the_file() {
    let salt = SourceSalt::generate();
    let (archive, _) = seal_files(&small(), &CodeKey::generate(), &NonceSource::Fresh, &salt);
    let error = unseal(&archive[..], &CodeKey::generate(), &salt, &mut NoSink).unwrap_err();
    assert!(
        matches!(&error, UnsealError::WrongKey(path) if path == "app.py"),
        "{error}"
    );
}

#[test]
fn hostile_archives_are_refused() {
    let archive = |entries: &[(&str, tar::EntryType)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_ustar();
            // set_path would refuse what an attacker writes by hand.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
        }
        builder.into_inner().unwrap()
    };
    use tar::EntryType::{Regular, Symlink};
    for entries in [
        &[("../x.enc", Regular)][..],
        &[("/etc/x.enc", Regular)],
        &[("a/./b.enc", Regular)],
        &[("b.enc", Regular), ("a.enc", Regular)],
        &[("a.enc", Regular), ("a.enc", Regular)],
        &[("a.enc", Symlink)],
        &[],
    ] {
        assert!(digest_of(&archive(entries)[..]).is_err(), "{entries:?}");
    }
    let short = archive(&[("a.enc", Regular)]);
    assert!(
        unseal(
            &short[..],
            &CodeKey::generate(),
            &SourceSalt::generate(),
            &mut NoSink
        )
        .is_err()
    );
}

fn any_files() -> impl Strategy<Value = Files> {
    proptest::collection::btree_map(
        // An extension of two letters: `.pyc` and its like are never in a bundle.
        "[a-z]{1,8}(/[a-z]{1,8}){0,2}\\.[a-z]{1,2}",
        proptest::collection::vec(any::<u8>(), 0..2000),
        1..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_tree_round_trips(files in any_files()) {
        let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
        let (archive, sealed) = seal_files(&files, &key, &NonceSource::Fresh, &salt);
        let mut sink = Collected::default();
        let opened = unseal(&archive[..], &key, &salt, &mut sink).unwrap();
        prop_assert_eq!(sink.files, files);
        prop_assert_eq!(opened.digest, sealed.digest);
        prop_assert_eq!(opened.commitment, sealed.commitment);
    }

    #[test]
    fn a_flipped_bit_of_any_entry_is_noticed(bit in any::<prop::sample::Index>()) {
        let (key, salt) = (CodeKey::generate(), SourceSalt::generate());
        let (mut archive, sealed) = seal_files(&small(), &key, &NonceSource::Fresh, &salt);
        let bit = bit.index(archive.len() * 8);
        archive[bit / 8] ^= 1 << (bit % 8);
        match (digest_of(&archive[..]), unseal(&archive[..], &key, &salt, &mut NoSink)) {
            (Ok(digest), Ok(opened)) => {
                // Only padding and header fields that are not content may change unseen.
                prop_assert_eq!(digest == sealed.digest, opened.commitment == sealed.commitment);
                prop_assert_eq!(digest, opened.digest);
            }
            (Ok(digest), Err(_)) => prop_assert_ne!(digest, sealed.digest),
            (Err(_), result) => prop_assert!(result.is_err()),
        }
    }

    #[test]
    fn derived_nonces_depend_on_key_path_and_content_and_nothing_else(
        files in prop::collection::btree_map("[a-c]{1,2}(/[a-c]{1,2})?", prop::collection::vec(any::<u8>(), 0..40), 1..6),
        key in any::<[u8; 32]>(),
    ) {
        prop_assume!(files.keys().all(|path| !files.contains_key(path.split('/').next().unwrap()) || !path.contains('/')));
        let key = CodeKey::from_bytes(key);
        let sealed = |key: &CodeKey| seal_files(&files, key, &NonceSource::Derived, &SourceSalt::generate());
        let (first, one) = sealed(&key);
        let (second, _) = sealed(&key);
        prop_assert_eq!(&first, &second);
        let (other, _) = sealed(&CodeKey::generate());
        prop_assert_ne!(&first, &other);
        let different: std::collections::BTreeSet<_> = one.nonces.values().map(|nonce| nonce.0).collect();
        prop_assert_eq!(different.len(), files.len());
        for (path, content) in &files {
            let nonce = key.derived_nonce(path, &Digest::of(content));
            prop_assert_eq!(one.nonces[path], nonce);
            prop_assert_ne!(nonce, key.derived_nonce(&format!("{path}x"), &Digest::of(content)));
            prop_assert_ne!(nonce, key.derived_nonce(path, &Digest::of(&[content, &b"x"[..]].concat())));
        }
    }

    #[test]
    fn no_archive_panics(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = digest_of(&bytes[..]);
        let _ = unseal(&bytes[..], &CodeKey::generate(), &SourceSalt::generate(), &mut NoSink);
    }
}

/// A folder whose files are all secret has none that stays in clear, and none that is ignored.
#[test]
fn of_everything_nothing_stays_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let files: Files = ["requirements.txt", ".env", "a/secrets.json", "x.pyc"]
        .map(|path| (path.to_owned(), format!("secret of {path}").into_bytes()))
        .into();
    write_tree(dir.path(), &files);
    let tree = CodeTree::everything(dir.path()).unwrap();
    let key = CodeKey::generate();
    let salt = SourceSalt::generate();
    let archive = tempfile::tempfile().unwrap();
    seal(&tree, &key, &NonceSource::Derived, &salt, &archive, &|_| ()).unwrap();
    let bytes = read_whole(archive);
    assert!(!bytes.windows(9).any(|window| window == b"secret of"));
    let mut sink = Collected::default();
    unseal(&bytes[..], &key, &salt, &mut sink).unwrap();
    assert_eq!(sink.files, files);
}
