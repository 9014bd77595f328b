//! Splitting a command into words as a POSIX shell does, without being one: no variables, no
//! substitution, no globs.

/// The words of `command`: separated by blanks, kept together by quotes or backslashes.
pub(crate) fn split(command: &str) -> Result<Vec<String>, Unclosed> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(Unclosed('\''))? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => double_quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => {
                let next = characters.next().ok_or(Unclosed('\\'))?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// `word` as it is to be typed: in quotes if it holds what a shell would take apart.
pub(crate) fn typed(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A quote that is not closed, or a backslash with nothing behind it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a `{0}` without what must follow it")]
pub(crate) struct Unclosed(char);

fn double_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Unclosed> {
    loop {
        match characters.next().ok_or(Unclosed('"'))? {
            '"' => return Ok(()),
            '\\' => match characters.next().ok_or(Unclosed('"'))? {
                special @ ('"' | '\\' | '$' | '`') => word.push(special),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (command, words) in [
            ("", &[][..]),
            ("  ", &[]),
            ("pytest", &["pytest"]),
            (" pytest  -k 'a b' ", &["pytest", "-k", "a b"]),
            (
                r#"pytest -k "a \"b\" \n""#,
                &["pytest", "-k", r#"a "b" \n"#],
            ),
            (r"a\ b c", &["a b", "c"]),
            ("x ''", &["x", ""]),
            ("--a='b c'd", &["--a=b cd"]),
            ("a\tb\nc", &["a", "b", "c"]),
            ("echo $HOME *;x", &["echo", "$HOME", "*;x"]),
        ] {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
    }

    proptest::proptest! {
        #[test]
        fn typed_words_come_back(words in proptest::collection::vec("(?s).*", 0..5)) {
            let line = words.iter().map(|word| typed(word)).collect::<Vec<_>>().join(" ");
            proptest::prop_assert_eq!(split(&line).unwrap(), words);
        }

        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^']*", 0..5)) {
            let command: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            proptest::prop_assert_eq!(split(&command.join(" ")).unwrap(), words);
        }

        #[test]
        fn no_command_panics(command in "(?s).*") {
            let _ = split(&command);
        }
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for (command, open) in [("a 'b", '\''), ("\"b", '"'), ("b\\", '\\'), ("\"b\\", '"')] {
            assert_eq!(split(command), Err(Unclosed(open)), "{command}");
        }
    }
}
