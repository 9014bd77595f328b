//! Where each entry lies in the archive, known before the first byte is encrypted: hence all
//! cores can write at once.

use super::ENCRYPTED;
use super::seal::SealError;
use super::tree::{CodeTree, FileMode, SourceFile};
use mse_crypto::secretbox::OVERHEAD;

const BLOCK: u64 = 512;

/// One entry: its bytes up to the content, and where these and the content lie.
pub(super) struct Entry<'tree> {
    pub(super) file: &'tree SourceFile,
    pub(super) name: String,
    pub(super) header: Vec<u8>,
    pub(super) header_at: u64,
    pub(super) content_at: u64,
}

/// The places of all entries, and the length of the archive.
pub(super) fn plan(tree: &CodeTree) -> Result<(Vec<Entry<'_>>, u64), SealError> {
    let mut files: Vec<(String, &SourceFile)> = tree
        .files()
        .iter()
        .map(|file| (entry_name(tree, &file.path), file))
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let mut at = 0;
    let mut entries = Vec::with_capacity(files.len());
    for (name, file) in files {
        let size = entry_size(tree, file);
        let header = header(&name, file.mode, size)
            .map_err(|source| SealError::Layout(file.path.clone(), source))?;
        let content_at = at + header.len() as u64;
        entries.push(Entry {
            file,
            name,
            header,
            header_at: at,
            content_at,
        });
        at = content_at + padded(size);
    }
    // Two empty blocks end an archive.
    Ok((entries, at + 2 * BLOCK))
}

fn entry_name(tree: &CodeTree, path: &str) -> String {
    if tree.stays_clear(path) {
        path.to_owned()
    } else {
        format!("{path}{ENCRYPTED}")
    }
}

fn entry_size(tree: &CodeTree, file: &SourceFile) -> u64 {
    if tree.stays_clear(&file.path) {
        file.size
    } else {
        file.size + OVERHEAD as u64
    }
}

fn header(name: &str, mode: FileMode, size: u64) -> std::io::Result<Vec<u8>> {
    let mut header = fixed_header(size, mode.bits());
    let mut bytes = Vec::with_capacity(512);
    if header.set_path(name).is_err() {
        let mut long = tar::Header::new_gnu();
        long.as_gnu_mut().expect("just made as GNU").name[..13].copy_from_slice(b"././@LongLink");
        long.set_mode(0o644);
        long.set_uid(0);
        long.set_gid(0);
        long.set_mtime(0);
        long.set_size(name.len() as u64 + 1);
        long.set_entry_type(tar::EntryType::GNULongName);
        long.set_cksum();
        bytes.extend_from_slice(long.as_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        let padding = padded(name.len() as u64 + 1) - (name.len() as u64 + 1);
        bytes.resize(bytes.len() + usize::try_from(padding).unwrap_or(0), 0);
        // Readers take the long name; the short one only has to be valid.
        let cut = (0..=90)
            .rev()
            .find(|&i| name.is_char_boundary(i))
            .unwrap_or(0);
        header.set_path(name[..cut].trim_end_matches('/'))?;
    }
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

fn fixed_header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}
