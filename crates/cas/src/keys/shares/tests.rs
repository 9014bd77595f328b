use proptest::prelude::*;

use super::*;

fn texts(key: &RootKey, threshold: u8, people: u8) -> Vec<String> {
    split(key, threshold, people)
        .unwrap()
        .iter()
        .map(|share| share.to_text().to_string())
        .collect()
}

fn shares(texts: &[&String]) -> Vec<Share> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Computed by another program, with polynomial multiplication written out.
#[test]
fn shares_are_the_values_of_the_polynomials() {
    let key = RootKey::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let coefficients = |factor: usize, start: usize| {
        Zeroizing::new(std::array::from_fn(|at| {
            u8::try_from((factor * at + start) & 255).unwrap()
        }))
    };
    let about = About {
        key: key.id(),
        split: 7,
        threshold: 3,
    };
    let dealt = deal(
        &key,
        about,
        &[coefficients(7, 3), coefficients(11, 200)],
        255,
    );
    for (index, expected) in [
        (
            1,
            "cbd8cdf2efdc21261360751a1704090e1be81d023f2c31766370452a27d4d9de",
        ),
        (
            2,
            "0b7475bac798743bfe2140b489f657780ddf054ab7a8e97d3827c6695486e7c8",
        ),
        (
            255,
            "6daca2e1c190fd1946a8e46269a89137473f392c5ad90dc1c84b51404b338e28",
        ),
    ] {
        assert_eq!(hex::encode(*dealt[index - 1].value), expected);
    }
    let some = [dealt[254].clone(), dealt[0].clone(), dealt[1].clone()];
    assert_eq!(combine(&some).ok().unwrap().expose(), key.expose());
}

#[test]
fn a_share_is_short_enough_for_its_checksum_and_in_groups() {
    let texts = texts(&RootKey::generate(), 2, 3);
    for text in &texts {
        assert!(text.replace('-', "").len() <= 90, "{text}");
        assert!(text.starts_with("mse1") && text.contains('-'), "{text}");
    }
    assert_ne!(texts[0], texts[1]);
    let share: Share = texts[2].parse().unwrap();
    assert_eq!((share.index(), share.threshold()), (3, 2));
}

#[test]
fn too_few_are_told_how_many_more() {
    let texts = texts(&RootKey::generate(), 3, 5);
    let twice = shares(&[&texts[0], &texts[4], &texts[0]]);
    let error = combine(&twice).err().unwrap();
    let expected = CombineError::TooFew {
        given: 2,
        needed: 3,
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("give 1 more"), "{error}");
    assert_eq!(combine(&[]).err().unwrap(), CombineError::None);
}

#[test]
fn shares_that_do_not_go_together_are_named() {
    let (key, other) = (RootKey::generate(), RootKey::generate());
    let mine = texts(&key, 2, 3);
    let others = texts(&other, 2, 3);
    assert_eq!(
        combine(&shares(&[&mine[0], &others[1]])).err().unwrap(),
        CombineError::OtherKey {
            index: 2,
            key: other.id(),
            expected: key.id()
        }
    );
    // Splits are told apart by 16 random bits: deal again until they differ.
    let again = std::iter::repeat_with(|| split(&key, 2, 3).unwrap())
        .find(|again| again[0].about != shares(&[&mine[0]])[0].about)
        .unwrap();
    let first: Share = mine[0].parse().unwrap();
    assert_eq!(
        combine(&[first, again[1].clone()]).err().unwrap(),
        CombineError::OtherSplit { index: 2 }
    );
}

#[test]
fn a_forged_share_never_gives_a_key() {
    let dealt = split(&RootKey::generate(), 2, 3).unwrap();
    let mut forged = dealt[1].clone();
    forged.value[5] ^= 1;
    let error = combine(&[dealt[0].clone(), forged.clone()]).err().unwrap();
    assert!(matches!(&error, CombineError::Wrong { indices, .. } if *indices == [1, 2]));
    let error = combine(&[dealt[1].clone(), forged]).err().unwrap();
    assert_eq!(error, CombineError::Contradiction { index: 2 });
}

#[test]
fn senseless_splits_are_refused() {
    let key = RootKey::generate();
    for (threshold, people) in [(0, 3), (1, 3), (3, 2), (2, 0)] {
        assert!(split(&key, threshold, people).is_err());
    }
    assert_eq!(split(&key, 255, 255).unwrap().len(), 255);
}

#[test]
fn what_is_mistyped_is_located() {
    let text = texts(&RootKey::generate(), 2, 2).remove(0);
    // The first character of the third group.
    let at = "mse1".len() + 2 * "xxxxx-".len();
    let mut wrong = text.clone();
    let other = if &text[at..=at] == "q" { "p" } else { "q" };
    wrong.replace_range(at..=at, other);
    let place = Place {
        group: 3,
        character: 1,
    };
    assert_eq!(
        wrong.parse::<Share>().err(),
        Some(InvalidShare::OneWrong(place))
    );
    let mut impossible = text.clone();
    impossible.replace_range(at..=at, "b");
    assert_eq!(
        impossible.parse::<Share>().err(),
        Some(InvalidShare::Character {
            character: 'b',
            place
        })
    );
    let short: String = text.chars().take(text.len() - 1).collect();
    assert_eq!(short.parse::<Share>().err(), Some(InvalidShare::Length(84)));
    let two = text.clone() + &text;
    assert_eq!(two.parse::<Share>().err(), Some(InvalidShare::TooLong));
    for no_share in [
        "",
        "mse1",
        "hello",
        "mse1-",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    ] {
        assert!(no_share.parse::<Share>().is_err(), "{no_share}");
    }
    assert_eq!(
        text::encode(&[2; 49]).parse::<Share>().err(),
        Some(InvalidShare::Version(2))
    );
    assert_eq!(
        text::encode(&[1; 48]).parse::<Share>().err(),
        Some(InvalidShare::Impossible)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_threshold_of_them_recovers_the_key_and_no_fewer(
        bytes in any::<[u8; 32]>(),
        threshold in 2_u8..8,
        more in 0_u8..5,
        order in any::<prop::sample::Index>(),
    ) {
        let key = RootKey::from_bytes(bytes);
        let mut texts = texts(&key, threshold, threshold + more);
        let by = order.index(texts.len());
        texts.rotate_left(by);
        let chosen: Vec<_> = texts.iter().take(usize::from(threshold)).collect();
        let recovered = combine(&shares(&chosen)).unwrap();
        prop_assert_eq!(recovered.expose(), key.expose());
        let fewer = shares(&chosen[1..]);
        let too_few = matches!(combine(&fewer), Err(CombineError::TooFew { .. }));
        prop_assert!(too_few);
        // Interpolating with fewer gives something, but not the key.
        let fewer: Vec<_> = fewer.iter().collect();
        prop_assert_ne!(interpolate(&fewer).id(), key.id());
    }

    #[test]
    fn parsing_never_panics(text in "(mse1)?[a-z0-9 -]{0,120}") {
        let _ = text.parse::<Share>();
    }
}
