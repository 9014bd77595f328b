use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What the enclave serves: a WSGI or ASGI callable in a Python module, `module:variable`.
///
/// The module may be dotted (`shop.web:app`). At most 255 characters in all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PythonApplication {
    module: String,
    variable: String,
}

impl PythonApplication {
    /// The dotted module, as in an `import` statement.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The name of the callable in the module.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The files of which the code directory must hold one: the module itself, or a package.
    pub fn candidates(&self) -> [PathBuf; 2] {
        let path: PathBuf = self.module.split('.').collect();
        [path.with_extension("py"), path.join("__init__.py")]
    }
}

impl FromStr for PythonApplication {
    type Err = InvalidApplication;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let length = text.chars().count();
        if length > 255 {
            return Err(InvalidApplication::Length { length });
        }
        let (module, variable) = match text.split_once(':') {
            Some((module, variable)) if !variable.contains(':') => (module, variable),
            _ => return Err(InvalidApplication::Form),
        };
        if let Some(part) = module.split('.').find(|part| !is_identifier(part)) {
            return Err(InvalidApplication::Module {
                part: part.to_owned(),
            });
        }
        if !is_identifier(variable) {
            return Err(InvalidApplication::Variable {
                variable: variable.to_owned(),
            });
        }
        Ok(Self {
            module: module.to_owned(),
            variable: variable.to_owned(),
        })
    }
}

impl fmt::Display for PythonApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.variable)
    }
}

/// Why a text is no [`PythonApplication`]; worded to follow the name of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApplication {
    /// Longer than 255 characters.
    #[error("must be 1 to 255 characters, but has {length}")]
    Length {
        /// What it has.
        length: usize,
    },
    /// No colon, or more than one.
    #[error("must be `module:variable`, with exactly one colon")]
    Form,
    /// A part of the module's name that Python could not import.
    #[error("names the module part `{part}`, which is no Python identifier")]
    Module {
        /// What stands between two dots.
        part: String,
    },
    /// A variable that Python could not hold.
    #[error("names the variable `{variable}`, which is no Python identifier")]
    Variable {
        /// What stands behind the colon.
        variable: String,
    },
}

/// Python's rule, with Rust's alphabetic classes: these differ in a handful of characters that the
/// search for the module's file catches.
fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|other| other == '_' || other.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_module_and_variable() {
        let application: PythonApplication = " shop.web:app ".parse().unwrap();

        assert_eq!(
            (application.module(), application.variable()),
            ("shop.web", "app")
        );
        assert_eq!(application.to_string(), "shop.web:app");
        assert_eq!(
            application.candidates(),
            [
                PathBuf::from("shop/web.py"),
                PathBuf::from("shop/web/__init__.py")
            ]
        );
    }

    #[test]
    fn a_single_module_has_a_file_or_a_package() {
        let application: PythonApplication = "app:app".parse().unwrap();

        assert_eq!(
            application.candidates(),
            [PathBuf::from("app.py"), PathBuf::from("app/__init__.py")]
        );
    }

    #[test]
    fn refuses_what_is_not_two_names() {
        let refused = |text: &str| text.parse::<PythonApplication>().unwrap_err();

        for form in ["", "bad", "a:b:c", "a::b"] {
            assert_eq!(refused(form), InvalidApplication::Form, "{form}");
        }
        for (text, part) in [
            (":app", ""),
            ("a-b:app", "a-b"),
            ("a..b:app", ""),
            ("../x:app", ""),
            ("1a:app", "1a"),
        ] {
            assert_eq!(
                refused(text),
                InvalidApplication::Module {
                    part: part.to_owned()
                }
            );
        }
        for (text, variable) in [
            ("app:", ""),
            ("app:create()", "create()"),
            ("app:a.b", "a.b"),
        ] {
            assert_eq!(
                refused(text),
                InvalidApplication::Variable {
                    variable: variable.to_owned()
                }
            );
        }
        assert_eq!(
            refused(&format!("a:{}", "b".repeat(254))),
            InvalidApplication::Length { length: 256 }
        );
    }
}
