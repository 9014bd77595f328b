//! A member of a JSON object, character by character: signatures cover the text, not its meaning.

/// The text of the value of `name` in the object `json`, exactly as written.
pub fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = json.trim_start().strip_prefix('{')?.trim_start();
    while rest.starts_with('"') {
        let (key, behind) = rest.split_at(value_end(rest)?);
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        let (value, behind) = value.split_at(value_end(value)?);
        if key[1..key.len() - 1] == *name {
            return Some(value);
        }
        rest = behind.trim_start().strip_prefix(',')?.trim_start();
    }
    None
}

/// Where the value that `text` begins with ends.
fn value_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // A number or a word ends before what follows it.
            b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r' if depth == 0 => {
                return (at > 0).then_some(at);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).*") {
            let _ = member(&text, "x");
            let _ = member(&format!("{{\"x\":{text}"), "x");
        }
    }

    #[test]
    fn the_text_is_kept_to_the_letter() {
        let json = r#" { "a" : 1 , "tcbInfo":{"x": [1, "}\"]"],  "y":null},"signature":"ab\"c" } "#;
        assert_eq!(
            member(json, "tcbInfo"),
            Some(r#"{"x": [1, "}\"]"],  "y":null}"#)
        );
        assert_eq!(member(json, "signature"), Some(r#""ab\"c""#));
        assert_eq!(member(json, "a"), Some("1"));
        assert_eq!(member(json, "x"), None);
        for bad in [
            "",
            "{",
            "[1]",
            r#"{"a"}"#,
            r#"{"a":"#,
            r#"{"a":{"b":1}"#,
            r#"{"a":,}"#,
        ] {
            assert_eq!(member(bad, "b"), None, "{bad}");
        }
    }
}
