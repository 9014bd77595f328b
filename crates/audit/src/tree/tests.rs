use proptest::prelude::*;

use super::*;

/// The definition of RFC 9162, section 2.1.1, word by word.
fn naive_root(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => leaf_hash(leaf),
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// RFC 9162, section 2.1.3.1.
fn naive_path(m: usize, leaves: &[Vec<u8>]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, sibling) = if m < k {
        (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

/// RFC 9162, section 2.1.4.1.
fn naive_subproof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Digest> {
    if m == leaves.len() {
        return if whole {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut proof, other) = if m <= k {
        (
            naive_subproof(m, &leaves[..k], whole),
            naive_root(&leaves[k..]),
        )
    } else {
        (
            naive_subproof(m - k, &leaves[k..], false),
            naive_root(&leaves[..k]),
        )
    };
    proof.push(other);
    proof
}

fn build(leaves: &[Vec<u8>]) -> (Frontier, MemoryHashes) {
    let mut frontier = Frontier::new();
    let mut hashes = MemoryHashes::default();
    for leaf in leaves {
        frontier.append(leaf_hash(leaf), |hash| hashes.push(hash));
    }
    (frontier, hashes)
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| i.to_be_bytes().to_vec()).collect()
}

/// The inputs that tests of Certificate Transparency implementations share.
fn known_leaves() -> Vec<Vec<u8>> {
    [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    .iter()
    .map(|text| hex::decode(text).unwrap())
    .collect()
}

#[test]
fn known_answers() {
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves = known_leaves();
    let (frontier, hashes) = build(&leaves);
    assert_eq!(frontier.root().to_string(), roots[8]);
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(naive_root(&leaves[..size]).to_string(), *root, "{size}");
        assert_eq!(
            root_at(&hashes, size as u64).unwrap().to_string(),
            *root,
            "{size}"
        );
    }
    let proof = prove_inclusion(&hashes, 5, 8).unwrap();
    let path: Vec<String> = proof.path.iter().map(ToString::to_string).collect();
    assert_eq!(
        path,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn proofs_are_those_of_the_definition_and_verify() {
    let leaves = numbered(33);
    let (_, hashes) = build(&leaves);
    for size in 1..=leaves.len() {
        let root = naive_root(&leaves[..size]);
        for index in 0..size {
            let proof = prove_inclusion(&hashes, index as u64, size as u64).unwrap();
            assert_eq!(proof.path, naive_path(index, &leaves[..size]));
            assert!(proof.path.len() <= MAX_PATH);
            assert_eq!(proof.verify(&leaf_hash(&leaves[index]), &root), Ok(()));
        }
        for first in 0..=size {
            let proof = prove_consistency(&hashes, first as u64, size as u64).unwrap();
            if first > 0 {
                assert_eq!(proof.path, naive_subproof(first, &leaves[..size], true));
            }
            assert_eq!(proof.verify(&naive_root(&leaves[..first]), &root), Ok(()));
        }
    }
}

#[test]
fn nothing_is_proven_about_leaves_that_are_not_there() {
    let (_, hashes) = build(&numbered(4));
    assert!(prove_inclusion(&hashes, 4, 4).is_err());
    assert!(prove_inclusion(&hashes, 0, 0).is_err());
    assert!(prove_inclusion(&hashes, 0, 5).is_err());
    assert!(prove_consistency(&hashes, 3, 2).is_err());
    assert!(prove_consistency(&hashes, 3, 5).is_err());
    let empty = InclusionProof {
        leaf_index: 0,
        path: Vec::new(),
        tree_size: 0,
    };
    assert!(empty.verify(&leaf_hash(b""), &empty_root()).is_err());
}

#[test]
fn the_empty_tree_and_the_tree_itself_need_no_hashes() {
    let (frontier, _) = build(&numbered(3));
    let root = frontier.root();
    let proof = |first, second, path| ConsistencyProof {
        first,
        path,
        second,
    };
    assert_eq!(proof(0, 3, vec![]).verify(&empty_root(), &root), Ok(()));
    assert_eq!(proof(3, 3, vec![]).verify(&root, &root), Ok(()));
    for (wrong, first_root) in [
        (proof(0, 3, vec![]), root),
        (proof(0, 3, vec![root]), empty_root()),
        (proof(3, 3, vec![root]), root),
        (proof(3, 3, vec![]), empty_root()),
        (proof(2, 3, vec![]), root),
        (proof(1, 3, vec![]), root),
        (proof(0, 0, vec![]), root),
        (proof(4, 3, vec![]), root),
    ] {
        assert!(wrong.verify(&first_root, &root).is_err(), "{wrong:?}");
    }
}

#[test]
fn extreme_numbers_do_no_harm() {
    let (_, hashes) = build(&numbered(2));
    assert!(prove_inclusion(&hashes, u64::MAX - 1, u64::MAX).is_err());
    assert!(prove_consistency(&hashes, 1, u64::MAX).is_err());
    for size in [u64::MAX, 1 << 63, (1 << 63) + 1] {
        let path = vec![empty_root(); 70];
        let proof = InclusionProof {
            leaf_index: size - 1,
            path: path.clone(),
            tree_size: size,
        };
        assert!(proof.verify(&empty_root(), &empty_root()).is_err());
        let proof = ConsistencyProof {
            first: size - 1,
            path,
            second: size,
        };
        assert!(proof.verify(&empty_root(), &empty_root()).is_err());
    }
    let far = NodeId {
        level: 64,
        index: 0,
    };
    assert_eq!(far.position(), None);
    assert_eq!(NodeId::leaf(u64::MAX).position(), None);
}

#[test]
fn a_frontier_is_loaded_and_has_one_peak_for_each_bit() {
    let leaves = numbered(21);
    let (_, hashes) = build(&leaves);
    for size in 0..=leaves.len() {
        let (frontier, own) = build(&leaves[..size]);
        assert_eq!(Frontier::load(&hashes, size as u64).unwrap(), frontier);
        assert_eq!(positions_before(size as u64), Some(own.len() as u64));
        let peaks = frontier.peaks().to_vec();
        assert_eq!(Frontier::from_peaks(size as u64, peaks), Ok(frontier));
    }
    assert!(Frontier::from_peaks(3, vec![empty_root()]).is_err());
}

#[test]
fn proofs_of_a_million_leaves_read_few_hashes() {
    struct Counted(std::cell::Cell<u32>);
    impl HashStore for Counted {
        type Error = NoSuchNode;
        fn node(&self, _: NodeId) -> Result<Digest, NoSuchNode> {
            self.0.set(self.0.get() + 1);
            Ok(empty_root())
        }
    }
    let size = 999_999;
    for index in [0, 1, 499_999, 524_288, 983_040, size - 1] {
        let store = Counted(std::cell::Cell::new(0));
        prove_inclusion(&store, index, size).unwrap();
        assert!(store.0.get() <= 40, "{index}: {}", store.0.get());
        let store = Counted(std::cell::Cell::new(0));
        prove_consistency(&store, index, size).unwrap();
        assert!(store.0.get() <= 60, "{index}: {}", store.0.get());
    }
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut bytes = digest.0;
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest(bytes)
}

/// The path with one hash flipped, dropped, doubled or exchanged with its neighbour.
fn mutations(path: &[Digest], bit: usize) -> Vec<Vec<Digest>> {
    let mut all = vec![[path, &[empty_root()]].concat()];
    for at in 0..path.len() {
        let mut changed = path.to_vec();
        changed[at] = flipped(&path[at], bit);
        all.push(changed);
        let mut shorter = path.to_vec();
        shorter.remove(at);
        all.push(shorter);
        let mut longer = path.to_vec();
        longer.insert(at, path[at]);
        all.push(longer);
        if at > 0 && path[at] != path[at - 1] {
            let mut exchanged = path.to_vec();
            exchanged.swap(at, at - 1);
            all.push(exchanged);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn incremental_is_naive(leaves in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..8), 0..100
    )) {
        let (frontier, hashes) = build(&leaves);
        prop_assert_eq!(frontier.root(), naive_root(&leaves));
        prop_assert_eq!(frontier.size(), leaves.len() as u64);
        prop_assert_eq!(root_at(&hashes, leaves.len() as u64).unwrap(), frontier.root());
    }

    #[test]
    fn a_changed_inclusion_proof_fails(size in 1_usize..80, at in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let leaves = numbered(size);
        let index = at.index(size);
        let (frontier, hashes) = build(&leaves);
        let root = frontier.root();
        let leaf = leaf_hash(&leaves[index]);
        let proof = prove_inclusion(&hashes, index as u64, size as u64).unwrap();
        prop_assert_eq!(proof.verify(&leaf, &root), Ok(()));
        prop_assert!(proof.verify(&flipped(&leaf, bit), &root).is_err());
        prop_assert!(proof.verify(&leaf, &flipped(&root, bit)).is_err());
        for path in mutations(&proof.path, bit) {
            let changed = InclusionProof { path, ..proof.clone() };
            prop_assert!(changed.verify(&leaf, &root).is_err());
        }
        for other in (0..size as u64).filter(|other| *other != index as u64) {
            let changed = InclusionProof { leaf_index: other, ..proof.clone() };
            prop_assert!(changed.verify(&leaf, &root).is_err());
        }
    }

    #[test]
    fn a_changed_consistency_proof_fails(second in 2_usize..80, at in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let first = 1 + at.index(second - 1);
        let leaves = numbered(second);
        let (_, hashes) = build(&leaves);
        let old = naive_root(&leaves[..first]);
        let new = naive_root(&leaves);
        let proof = prove_consistency(&hashes, first as u64, second as u64).unwrap();
        prop_assert_eq!(proof.verify(&old, &new), Ok(()));
        prop_assert!(proof.verify(&flipped(&old, bit), &new).is_err());
        prop_assert!(proof.verify(&old, &flipped(&new, bit)).is_err());
        for path in mutations(&proof.path, bit) {
            let changed = ConsistencyProof { path, ..proof.clone() };
            prop_assert!(changed.verify(&old, &new).is_err());
        }
        for other in (1..first as u64).filter(|size| size.is_power_of_two() == first.is_power_of_two()) {
            let other_root = naive_root(&leaves[..usize::try_from(other).unwrap()]);
            let changed = ConsistencyProof { first: other, ..proof.clone() };
            prop_assert!(changed.verify(&other_root, &new).is_err());
        }
    }
}
