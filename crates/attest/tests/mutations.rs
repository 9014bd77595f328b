//! Nothing mutated is accepted: each byte, field, certificate and JSON member of each genuine
//! sample is flipped, removed, doubled or replaced, and the verdict must be a refusal.
//!
//! What may change without changing what is proven is in [`HARMLESS`], one by one, with the reason.
//! An accepted mutant that no row explains, or one whose claims differ, is an error.
//!
//! The samples are genuine ones of public projects and not part of this repository: they are
//! looked for in `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.
//!
//! By default every byte of some samples of each kind is tried and, of the others, every so many,
//! each sample beginning at another byte. `MSE_MUTATE_ALL=1` tries all of all and prints how many;
//! with `MSE_MUTATE_KIND=tdx-v5` those of one kind, for a run that has to be short.

#[path = "mutations/certificates.rs"]
mod certificates;
mod corpus;
#[path = "mutations/dcap.rs"]
mod dcap;
#[path = "mutations/mutant.rs"]
mod mutant;
#[path = "mutations/positives.rs"]
mod positives;
#[path = "mutations/vtpm.rs"]
mod vtpm;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use corpus::Corpus;
use mutant::{Effort, Mutant};
use positives::Positive;

/// A change that does not matter: its name, which mutants it is about, and the reason.
struct Harmless {
    name: &'static str,
    /// What is proven of the mutant.
    proves: Proves,
    is: fn(&Positive, &Mutant) -> bool,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proves {
    /// What is proven of the genuine sample.
    TheSame,
    /// A part of what the genuine sample holds.
    Less,
}

const HARMLESS: &[Harmless] = &[
    Harmless {
        name: "the same collateral in another text",
        proves: Proves::TheSame,
        is: dcap::is_same_collateral,
        why: "white space of the JSON file, the case of hexadecimal, and members that nobody reads are not in what is appraised",
    },
    Harmless {
        name: "the same vTPM evidence in another text",
        proves: Proves::TheSame,
        is: vtpm::is_same_evidence,
        why: "white space, the case of hexadecimal, the way of Base64, and members that nobody reads are not in what is appraised",
    },
    Harmless {
        name: "no challenge beside a quote",
        proves: Proves::TheSame,
        is: vtpm::lacks_the_stated_challenge,
        why: "the one that counts is signed in the quote; that which a file states beside it is compared if it is there",
    },
    Harmless {
        name: "no root in a chain of vTPM evidence",
        proves: Proves::TheSame,
        is: vtpm::lacks_the_root,
        why: "Google's root is compiled in: one that is given is compared, one that is not is taken",
    },
    Harmless {
        name: "the certificate of a pinned TPM key",
        proves: Proves::TheSame,
        is: vtpm::differs_in_a_needless_certificate,
        why: "the policy trusts the key itself, so nothing that vouches for it is read",
    },
    Harmless {
        name: "a part of go-tpm-tools' message",
        proves: Proves::Less,
        is: vtpm::lacks_a_part,
        why: "each quote of a TPM stands by itself: what is left out is not claimed",
    },
    Harmless {
        name: "version of an HCL report's header",
        proves: Proves::TheSame,
        is: vtpm::differs_in_hcl_version,
        why: "both versions have one layout, and the number is in nothing that is signed",
    },
    Harmless {
        name: "CPUSVN and MAC of the TD report in an HCL report",
        proves: Proves::TheSame,
        is: vtpm::differs_in_local_td_report,
        why: "only the machine that made them can check them, and nobody reads them: what is read is the TD quote, and each field that both have is compared",
    },
    Harmless {
        name: "white space in PEM",
        proves: Proves::TheSame,
        is: certificates::differs_in_white_space_only,
        why: "line ends and blanks are no part of the certificates; what they enclose is compared with the only text that the certificates encode to",
    },
    Harmless {
        name: "NUL behind the PEM chain",
        proves: Proves::TheSame,
        is: certificates::differs_in_final_nul_only,
        why: "Intel's quoting library ends the chain as C strings end",
    },
    Harmless {
        name: "the PCK certificate, issued anew",
        proves: Proves::TheSame,
        is: certificates::has_a_reissued_leaf_only,
        why: "two samples come from one platform, for whose key Intel issued a second certificate: only dates and signature differ",
    },
    Harmless {
        name: "no ARK beside a report",
        proves: Proves::TheSame,
        is: certificates::lacks_the_root_only,
        why: "AMD's roots are compiled in: one that is given is compared, one that is not is taken",
    },
];

#[test]
fn no_mutant_of_a_genuine_sample_is_accepted() {
    let corpus = Corpus::open();
    let positives = positives::positives(&corpus);
    assert!(positives.len() >= 50, "only {} samples", positives.len());
    let effort = Effort::from_environment();
    let positives: Vec<_> = match std::env::var("MSE_MUTATE_KIND") {
        Ok(kind) => positives
            .into_iter()
            .filter(|one| one.kind == kind)
            .collect(),
        Err(_) => positives,
    };
    assert!(!positives.is_empty(), "there are no samples of that kind");

    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(2));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(positive) = positives.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let of_one = sweep(positive, &positives, effort);
                    tally.lock().unwrap().add(of_one);
                }
            });
        }
    });
    tally.into_inner().unwrap().conclude();
}

/// All mutants of one sample.
fn sweep(positive: &Positive, all: &[Positive], effort: Effort) -> Tally {
    let mut tally = Tally::default();
    let honest = positive.honest();
    positive.each_mutant(all, effort, &mut |mutant: Mutant| {
        let of_kind = tally
            .mutants
            .entry((positive.kind, mutant.part))
            .or_default();
        *of_kind += 1;
        let Some(verdict) = positive.verdict_on(&mutant) else {
            return;
        };
        let row = HARMLESS.iter().find(|row| (row.is)(positive, &mutant));
        match row {
            Some(row) if verdict == honest || row.proves == Proves::Less => {
                *tally.harmless.entry(row.name).or_default() += 1;
            }
            Some(row) => tally.problems.push(format!(
                "{}: {} ({}) changes the verdict",
                positive.id, mutant.what, row.name
            )),
            None => tally
                .problems
                .push(format!("{}: accepted with {}", positive.id, mutant.what)),
        }
    });
    tally
}

#[derive(Default)]
struct Tally {
    /// By kind of sample and part that was changed.
    mutants: BTreeMap<(&'static str, &'static str), usize>,
    /// Accepted ones, by the row that explains them.
    harmless: BTreeMap<&'static str, usize>,
    problems: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        for (part, count) in other.mutants {
            *self.mutants.entry(part).or_default() += count;
        }
        for (row, count) in other.harmless {
            *self.harmless.entry(row).or_default() += count;
        }
        self.problems.extend(other.problems);
    }

    fn conclude(self) {
        for ((kind, part), count) in &self.mutants {
            println!("{kind:10} {part:32} {count:8}");
        }
        for row in HARMLESS {
            let count = self.harmless.get(row.name).copied().unwrap_or_default();
            println!("harmless: {} ({count}): {}", row.name, row.why);
        }
        let accepted: usize = self.harmless.values().sum();
        println!(
            "mutations: {} tried, {} refused, {accepted} harmless, {} wrongly accepted",
            self.mutants.values().sum::<usize>(),
            self.mutants.values().sum::<usize>() - accepted - self.problems.len(),
            self.problems.len()
        );
        let shown: Vec<_> = self.problems.iter().take(100).cloned().collect();
        assert!(
            shown.is_empty(),
            "{} problems:\n{}",
            self.problems.len(),
            shown.join("\n")
        );
    }
}
