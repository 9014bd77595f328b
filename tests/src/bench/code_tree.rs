//! A code tree of mixed file sizes, the same one every time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Makes a tree of `total` bytes under `work`, or takes the one that an earlier run left there.
///
/// Of the bytes, an eighth is in files of 1 to 64 KiB (code), three eighths in files of 64 KiB to
/// 4 MiB (data), and half in files of 16 to 128 MiB (models), as far as `total` has room for them.
pub(super) fn make(work: &Path, total: u64) -> anyhow::Result<PathBuf> {
    let root = work.join(format!("code-{}mib", total >> 20));
    let whole = root.with_added_extension("whole");
    if !whole.exists() {
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fill(&root, total).with_context(|| format!("`{}` cannot be made", root.display()))?;
        fs::write(&whole, "")?;
    }
    Ok(root)
}

fn fill(root: &Path, total: u64) -> std::io::Result<()> {
    let mut noise = Noise(0x6d73_655f_6265_6e63);
    let parts = [
        ("src", "py", total / 8, 1 << 10, 64 << 10),
        ("data", "csv", total / 8 * 3, 64 << 10, 4 << 20),
        ("models", "bin", total / 2, 16 << 20, 128 << 20),
    ];
    let mut block = vec![0; 64 * 1024];
    for (folder, ending, share, least, most) in parts {
        let mut left = share;
        let mut number = 0;
        while left > 0 {
            let size = noise.size(least, most).min(left);
            // A few dozen files in each folder, as people keep them.
            let dir = root.join(folder).join(format!("part{:03}", number / 40));
            fs::create_dir_all(&dir)?;
            let mut file = fs::File::create(dir.join(format!("file{number:05}.{ending}")))?;
            let mut written = 0;
            while written < size {
                noise.fill(&mut block);
                let piece = usize::try_from(size - written)
                    .map_or(block.len(), |left| left.min(block.len()));
                file.write_all(&block[..piece])?;
                written += piece as u64;
            }
            left -= size;
            number += 1;
        }
    }
    Ok(())
}

/// SplitMix64: quick, and the same on every machine. Nothing here is secret.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between `least` and `most`: each doubling is as likely as every other.
    fn size(&mut self, least: u64, most: u64) -> u64 {
        let doublings = u64::from((most / least).ilog2());
        let base = least << (self.next() % doublings);
        base + self.next() % base
    }

    fn fill(&mut self, block: &mut [u8]) {
        for chunk in block.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use mse_workload::bundle::CodeTree;

    use super::*;

    #[test]
    fn a_tree_has_its_size_and_is_the_same_each_time() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let total = 8 << 20;
        let collect = |work: &Path| CodeTree::collect(&make(work, total).unwrap()).unwrap();
        let (one, other) = (collect(one.path()), collect(other.path()));
        assert_eq!(one.size(), total);
        assert_eq!(one.files(), other.files());
        let read = |tree: &CodeTree| fs::read(tree.locate(&tree.files()[0])).unwrap();
        assert_eq!(read(&one), read(&other));
        assert!(one.files().len() > 20);
    }
}
