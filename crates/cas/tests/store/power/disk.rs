//! A disk that loses power.

use std::collections::HashMap;
use std::path::Path;

use super::trace::Event;

/// What becomes of what was not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survivors {
    /// All of it is lost.
    None,
    /// All of it is there.
    All,
    /// Of each write there is all, nothing or some sectors: chance decides, from this seed.
    Some(u64),
}

/// Files, each as it is on the disk for sure, and what was done to it since.
///
/// Names are made to last by flushing the folder. The witness is not part of the experiment: it is
/// taken to be the newest that was ever written, as if it lay on a better disk. So a store that lost a
/// flushed write would be refused by it.
#[derive(Default)]
pub(crate) struct Disk {
    files: HashMap<String, File>,
    witness: HashMap<String, Vec<u8>>,
}

#[derive(Default, Clone)]
struct File {
    durable: Vec<u8>,
    /// In order; those before `flushing` are on the disk when the flush ends.
    pending: Vec<Step>,
    flushing: usize,
    /// Whether its name lasts.
    named: bool,
}

#[derive(Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Disk {
    /// All files of a folder, flushed.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let mut disk = Self::default();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let durable = std::fs::read(&path).unwrap();
            if name.starts_with("witness") {
                disk.witness.insert(name, durable);
            } else {
                let file = File {
                    durable,
                    named: true,
                    ..File::default()
                };
                disk.files.insert(name, file);
            }
        }
        disk
    }

    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Create(name) | Event::Write(name, ..) | Event::Truncate(name, _)
                if name.starts_with("witness") =>
            {
                let file = self.witness.entry(name.clone()).or_default();
                match event {
                    Event::Write(_, at, bytes) => apply(file, &Step::Write(*at, bytes.clone())),
                    _ => file.clear(),
                }
            }
            Event::Rename(from, to) => {
                let file = self
                    .witness
                    .remove(from)
                    .expect("only the witness is renamed");
                self.witness.insert(to.clone(), file);
            }
            Event::Create(name) => self.step(name, Step::Truncate(0)),
            Event::Write(name, at, bytes) => self.step(name, Step::Write(*at, bytes.clone())),
            Event::Truncate(name, length) => self.step(name, Step::Truncate(*length)),
            Event::Remove(name) => {
                // SQLite removes its log only after everything of it is in the database, so both
                // outcomes are right; we try the harder one, in which the log stays.
                assert_eq!(name, "cas.db-wal");
            }
            Event::FlushBegins(name) => {
                if let Some(file) = self.files.get_mut(name) {
                    file.flushing = file.pending.len();
                }
            }
            Event::FlushEnds(name) if name.is_empty() => {
                for file in self.files.values_mut() {
                    file.named = true;
                }
            }
            Event::FlushEnds(name) => {
                if let Some(file) = self.files.get_mut(name) {
                    let flushed: Vec<_> = file.pending.drain(..file.flushing).collect();
                    file.flushing = 0;
                    for step in &flushed {
                        apply(&mut file.durable, step);
                    }
                }
            }
            Event::Acknowledged(_) => {}
        }
    }

    /// Writes the files as they may be after a loss of power now.
    pub(crate) fn lose_power(&self, survivors: Survivors, folder: &Path) {
        let mut chance = Chance(match survivors {
            Survivors::Some(seed) => seed,
            _ => 0,
        });
        for (name, file) in &self.files {
            if !file.named && matches!(survivors, Survivors::None) {
                continue;
            }
            let mut content = file.durable.clone();
            for step in &file.pending {
                match survivors {
                    Survivors::None => {}
                    Survivors::All => apply(&mut content, step),
                    Survivors::Some(_) => apply_in_part(&mut content, step, &mut chance),
                }
            }
            std::fs::write(folder.join(name), content).unwrap();
        }
        for (name, content) in &self.witness {
            std::fs::write(folder.join(name), content).unwrap();
        }
    }

    fn step(&mut self, name: &str, step: Step) {
        let file = self.files.entry(name.to_owned()).or_default();
        file.pending.push(step);
    }
}

fn apply(content: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(at, bytes) => {
            let end = at + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(bytes);
        }
        Step::Truncate(length) => content.resize(*length, 0),
    }
}

/// All of it, nothing, or some of the sectors that it touches.
fn apply_in_part(content: &mut Vec<u8>, step: &Step, chance: &mut Chance) {
    match (step, chance.below(3)) {
        (_, 0) => {}
        (Step::Write(at, bytes), 1) => {
            let mut from = 0;
            while from < bytes.len() {
                let sector_end = ((at + from) / SECTOR + 1) * SECTOR - at;
                let to = sector_end.min(bytes.len());
                if chance.below(2) == 0 {
                    apply(content, &Step::Write(at + from, bytes[from..to].to_vec()));
                }
                from = to;
            }
        }
        (step, _) => apply(content, step),
    }
}

/// Numbers that are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const SECTOR: usize = 512;
