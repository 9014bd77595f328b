use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Diagnostics, Report};
use crate::manifest::{Manifest, WrittenPath};
use crate::reader::{Reader, Spans};
use crate::source::{Show, Source};

/// Whether a manifest must say where it is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudSection {
    /// `[cloud]` must be there: the app is to be deployed.
    Required,
    /// `[cloud]` may be absent: the app is tested locally. What is there is read just as strictly.
    Optional,
}

/// A manifest whose form is right, and where it came from.
pub struct Loaded {
    /// What the file says.
    pub manifest: Manifest,
    /// What is not wrong, but likely not meant.
    pub warnings: Vec<Diagnostic>,
    pub(crate) source: Source,
    pub(crate) spans: Spans,
}

impl Loaded {
    /// The path that a program can open: what is relative starts at the manifest's directory.
    pub fn resolve(&self, path: &WrittenPath) -> PathBuf {
        path.resolve(self.source.directory())
    }

    /// Puts a diagnostic at the value of the key it is about.
    pub(crate) fn place(&self, diagnostic: Diagnostic, show: Show) -> Diagnostic {
        match self.spans.get(&diagnostic.key) {
            Some(span) => self.source.place(diagnostic, span, show),
            None => diagnostic,
        }
    }
}

impl Manifest {
    /// Reads the file at `path`, of at most 1 MiB: syntax, keys, types and shapes.
    ///
    /// Opens no other file; [`Loaded::check`] does. Errors are all that were found, never only the
    /// first, except that a file which is no TOML is not searched for anything else.
    pub fn load(path: &Path, cloud: CloudSection) -> Result<Loaded, Diagnostics> {
        load(Source::read(path)?, cloud)
    }

    /// As [`Manifest::load`], for a `text` that is not (yet) at `path`.
    pub fn parse(path: &Path, text: &str, cloud: CloudSection) -> Result<Loaded, Diagnostics> {
        load(Source::new(path, text.to_owned())?, cloud)
    }
}

fn load(source: Source, cloud: CloudSection) -> Result<Loaded, Diagnostics> {
    let (manifest, spans, report) = on_deep_stack(|| read(&source, cloud)).map_err(|error| {
        source
            .error(
                "",
                format!("the manifest cannot be parsed: no thread: {error}"),
            )
            .help("end some of your processes, or raise `ulimit -u`")
    })?;
    let (manifest, warnings) = report.finish(manifest)?;
    Ok(Loaded {
        manifest,
        warnings,
        source,
        spans,
    })
}

fn read(source: &Source, cloud: CloudSection) -> (Option<Manifest>, Spans, Report) {
    let mut reader = Reader::new(source);
    let (document, syntax_errors) = DeTable::parse_recoverable(&source.text);
    let manifest = if syntax_errors.is_empty() {
        reader.manifest(document.get_ref(), cloud)
    } else {
        for error in &syntax_errors {
            let diagnostic =
                source.error("", format!("the manifest is no TOML: {}", error.message()));
            reader.report.push(match error.span() {
                Some(span) => source.place(diagnostic, &span, Show::Line),
                None => diagnostic,
            });
        }
        None
    };
    (manifest, reader.spans, reader.report)
}

/// The parser bounds nesting to 80 inline tables of 80 dotted keys each: thousands of tables in
/// each other, which it builds and drops by recursion, and which overflow a thread's usual stack.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    const STACK_BYTES: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        Ok(thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::FULL;

    fn parse(text: &str, cloud: CloudSection) -> Result<Loaded, Diagnostics> {
        Manifest::parse(Path::new("mse.toml"), text, cloud)
    }

    fn refused(text: &str) -> String {
        match parse(text, CloudSection::Required) {
            Ok(_) => panic!("accepted"),
            Err(diagnostics) => diagnostics.to_string(),
        }
    }

    #[test]
    fn paths_start_at_the_directory_of_the_file() {
        let at = |path: &str| {
            let loaded = Manifest::parse(Path::new(path), FULL, CloudSection::Required)
                .unwrap_or_else(|it| panic!("{it}"));
            loaded.resolve(&"mse_src".into())
        };

        assert_eq!(at("/home/owner/mse.toml"), Path::new("/home/owner/mse_src"));
        assert_eq!(at("mse.toml"), Path::new("./mse_src"));
    }

    #[test]
    fn syntax() {
        insta::assert_snapshot!(refused("name = \"a\ntests_cmd = = 1\n"), @r#"
        error: the manifest is no TOML: invalid basic string, expected `"`
          --> mse.toml:1:10
           |
         1 | name = "a
           |          ^

        error: the manifest is no TOML: extra `=`, expected nothing
          --> mse.toml:2:13
           |
         2 | tests_cmd = = 1
           |             ^

        error: the manifest is no TOML: unexpected key or value, expected newline, `#`
          --> mse.toml:2:15
           |
         2 | tests_cmd = = 1
           |               ^

        3 errors in the manifest
        "#);
    }

    #[test]
    fn duplicate_keys() {
        insta::assert_snapshot!(refused("code = 1\ncode = 2\n"), @r"
        error: the manifest is no TOML: duplicate key
          --> mse.toml:2:1
           |
         2 | code = 2
           | ^^^^

        1 error in the manifest
        ");
    }

    #[test]
    fn missing_file() {
        let error =
            Manifest::load(Path::new("/nonexistent/mse.toml"), CloudSection::Required).err();

        insta::assert_snapshot!(error.unwrap(), @r"
        error: the manifest does not exist
          --> /nonexistent/mse.toml
           = help: run `mse init` to write one here, or name it with `--path FILE`

        1 error in the manifest
        ");
    }

    #[test]
    fn files_that_are_no_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mse.toml");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let diagnostics = Manifest::load(&path, CloudSection::Required).err().unwrap();
            diagnostics.into_iter().next().unwrap()
        };

        let not_text = refused(b"name = 'a'\nproject = '\xff'");
        assert_eq!(
            (not_text.line, &*not_text.problem),
            (Some(2), "the manifest is not UTF-8 text")
        );
        let large = refused(" ".repeat((1 << 20) + 1).as_bytes());
        assert!(
            large.problem.ends_with("is larger than 1024 KiB"),
            "{}",
            large.problem
        );
    }

    #[test]
    fn deep_nesting_is_no_crash() {
        let inline = format!("{}1{}", "{a = ".repeat(1000), "}".repeat(1000));
        let dotted = vec!["a"; 79].join(".");
        let both = format!("{}1{}", format!("{{{dotted} = ").repeat(79), "}".repeat(79));
        for value in ["[".repeat(100_000), inline, both] {
            assert!(parse(&format!("name = {value}"), CloudSection::Required).is_err());
        }
        assert!(
            parse(
                &format!("[{}]", vec!["a"; 100_000].join(".")),
                CloudSection::Required
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "(?s).{0,200}") {
            check_total(&text);
        }

        #[test]
        fn any_toml_like_text_comes_back(
            lines in prop::collection::vec(
                (
                    "\\[cloud\\]|\\[cloud\\.ssl\\]|(name|code|docker|cloud\\.ssl|expiration_date|dev_mode|secrets|x) ?",
                    "= ?(\"[^\"]{0,8}\"|[0-9:T.+-]{1,12}|\\[.{0,5}\\]|\\{.{0,5}\\}|true)?|",
                ),
                0..12,
            ),
        ) {
            let text: Vec<String> = lines.iter().map(|(key, value)| format!("{key}{value}")).collect();
            check_total(&text.join("\n"));
        }

        #[test]
        fn any_damage_to_a_manifest_comes_back(at in 0..FULL.len(), byte: u8) {
            let mut bytes = FULL.as_bytes().to_vec();
            bytes[at] = byte;
            check_total(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Either a manifest, or at least one error, each within the text.
    fn check_total(text: &str) {
        for cloud in [CloudSection::Required, CloudSection::Optional] {
            let Err(diagnostics) = parse(text, cloud) else {
                continue;
            };
            assert!(diagnostics.error_count() > 0);
            assert!(!diagnostics.to_string().contains('\u{1b}'));
            for diagnostic in diagnostics {
                let lines = text.split('\n').count();
                assert!(
                    diagnostic
                        .line
                        .is_none_or(|line| (1..=lines).contains(&line))
                );
            }
        }
    }
}
