//! Command lines that are one text: words at white space, which `'` and `"` keep together.

use std::ops::Range;

/// A part of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<P> {
    /// A character, which may end a word or quote others.
    Character(char),
    /// Something that is a part of a word, whatever it stands for.
    Piece(P),
}

/// The words of a command line, without the quotes around them. None: a quote is not closed.
///
/// There are no backslashes: a `"` stands in `'`, and a `'` in `"`.
pub fn split<P>(units: impl IntoIterator<Item = Unit<P>>) -> Option<Vec<Vec<Unit<P>>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<Unit<P>>> = None;
    let mut quote = None;
    for unit in units {
        match (unit, quote) {
            (Unit::Character(character), Some(open)) if character == open => quote = None,
            (Unit::Character(character @ ('\'' | '"')), None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Unit::Character(character), None) if character.is_whitespace() => {
                words.extend(word.take());
            }
            (unit, _) => word.get_or_insert_default().push(unit),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The words of a text.
pub fn words(text: &str) -> Option<Vec<String>> {
    let units = text
        .chars()
        .map(Unit::<std::convert::Infallible>::Character);
    let words = split(units)?.into_iter().map(|word| {
        let characters = word.into_iter().map(|unit| match unit {
            Unit::Character(character) => character,
            Unit::Piece(never) => match never {},
        });
        characters.collect()
    });
    Some(words.collect())
}

/// A command line of which parts were given as values: each is quoted, so that it is a part of one
/// word. A value that is all of it is a command line itself.
pub(crate) fn quoted(text: &str, given: &[Range<usize>]) -> String {
    if matches!(given, [whole] if *whole == (0..text.len())) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len() + 4 * given.len());
    let mut quote = None;
    let mut from = 0;
    for value in given {
        let before = &text[from..value.start];
        quote = before.chars().fold(quote, |quote, c| match quote {
            Some(open) if open == c => None,
            None if matches!(c, '\'' | '"') => Some(c),
            _ => quote,
        });
        line.push_str(before);
        let value_text = &text[value.clone()];
        match quote {
            Some(open) => push_within(&mut line, value_text, open),
            None if is_plain(value_text) => line.push_str(value_text),
            None => {
                line.push('"');
                push_within(&mut line, value_text, '"');
                line.push('"');
            }
        }
        from = value.end;
    }
    line.push_str(&text[from..]);
    line
}

/// Whether a value is a part of one word as it is.
fn is_plain(value: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '"');
    !value.is_empty() && value.chars().all(is_plain)
}

/// Appends what stands between quotes, its own of the kind in quotes of the other.
fn push_within(line: &mut String, value: &str, open: char) {
    let other = if open == '"' { '\'' } else { '"' };
    for character in value.chars() {
        if character == open {
            line.extend([open, other, character, other, open]);
        } else {
            line.push(character);
        }
    }
}

/// Whether one of the values makes `@@N`, which stands for a word of the host's: alone, or with what
/// stands beside it.
pub(crate) fn asks_host(text: &str, given: &[Range<usize>]) -> bool {
    text.match_indices("@@").any(|(at, _)| {
        let digits = text[at + 2..].bytes();
        let end = at + 2 + digits.take_while(u8::is_ascii_digit).count();
        let overlaps = |value: &Range<usize>| value.start < end && at < value.end;
        end > at + 2 && given.iter().any(overlaps)
    })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // Commands with one value.
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_end_at_white_space_outside_of_quotes() {
        for (text, expected) in [
            ("run 'a b' \"c 'd'\"", &["run", "a b", "c 'd'"][..]),
            ("a''b \"\" ", &["ab", ""]),
            ("  x\ty\n", &["x", "y"]),
            ("", &[]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert_eq!(words("a 'b"), None);
    }

    #[test]
    fn a_value_that_is_all_is_a_command_line() {
        assert_eq!(quoted("run a", &[0..5]), "run a");
        assert_eq!(quoted("run a", &[4..5]), "run a");
        assert_eq!(quoted("run a b", &[4..7]), "run \"a b\"");
        assert_eq!(quoted("run ", &[4..4]), "run \"\"");
        assert_eq!(quoted("run 'a\"b'", &[5..8]), "run 'a\"b'");
    }

    #[test]
    fn values_that_ask_the_host_are_found() {
        assert!(asks_host("run @@1", &[4..7]));
        assert!(asks_host("run @@1", &[6..7]));
        assert!(asks_host("run @@12", &[5..6]));
        assert!(asks_host("run @@12", &[7..8]));
        for harmless in [
            asks_host("run @@1", &[0..3]),
            asks_host("run @@", &[4..6]),
            asks_host("run @@x1", &[4..8]),
            asks_host("run @@1x", &[7..8]),
        ] {
            assert!(!harmless);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_a_part_of_one_word(
            value in "[a'\" \\t$@{}\\\\\\n]{0,8}",
            before in "run |run x|run 'y |run \"y ",
            after in " end|",
        ) {
            let close = match before.chars().find(|c| matches!(c, '\'' | '"')) {
                Some(open) => open.to_string(),
                None => String::new(),
            };
            let text = format!("{before}{value}{close}{after}");
            let given = before.len()..before.len() + value.len();
            let words = words(&quoted(&text, &[given])).unwrap();
            let plain: String = before.chars().filter(|c| !matches!(c, '\'' | '"')).collect();
            let start = plain.strip_prefix("run ").unwrap_or_default();
            let mut expected = vec!["run".to_owned(), format!("{start}{value}")];
            expected.extend((after == " end").then(|| "end".to_owned()));
            prop_assert_eq!(words, expected);
        }
    }
}
