//! The files that `copy` names, in the context folder and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::plan::Plan;

/// Files with patterns of what stays out, the first one that exists.
const IGNORE_FILES: &[&str] = &[".mseignore", ".dockerignore"];
/// Stay out of folders in any case: caches and what belongs to the developer.
const ALWAYS_IGNORED: &[&str] = &[
    "__pycache__/",
    "*.py[cod]",
    ".git/",
    ".mseignore",
    ".dockerignore",
];

/// One thing to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Folder,
    File { from: PathBuf, mode: u32 },
    Link { target: String },
}

/// Everything that `copy` names, by its absolute path in the image.
pub(crate) fn collect(
    context: &Path,
    copy: &[String],
    plan: &Plan,
) -> Result<BTreeMap<String, Item>, ContextError> {
    let context = fs::canonicalize(context)
        .map_err(|source| ContextError::Read(context.to_owned(), source))?;
    let patterns = patterns(&context)?;
    let mut items = BTreeMap::new();
    for entry in copy {
        let relative = relative(entry)?;
        let from = context.join(&relative);
        // A link on the way may lead out; the last part may be a link, which is copied as such.
        if let Some(folder) = from.parent() {
            let real = fs::canonicalize(folder)
                .map_err(|source| ContextError::Missing(entry.clone(), context.clone(), source))?;
            if !real.starts_with(&context) && real != context {
                return Err(ContextError::Outside(entry.clone()));
            }
        }
        fs::symlink_metadata(&from)
            .map_err(|source| ContextError::Missing(entry.clone(), context.clone(), source))?;
        walk(&context, &from, &patterns, plan, &mut items)?;
    }
    Ok(items)
}

/// The file at `path` below the context, which must not lead out of it.
pub(crate) fn locate(context: &Path, path: &str) -> Result<PathBuf, ContextError> {
    let context = fs::canonicalize(context)
        .map_err(|source| ContextError::Read(context.to_owned(), source))?;
    let real = fs::canonicalize(context.join(relative(path)?))
        .map_err(|source| ContextError::Missing(path.to_owned(), context.clone(), source))?;
    if real.starts_with(&context) {
        Ok(real)
    } else {
        Err(ContextError::Outside(path.to_owned()))
    }
}

fn walk(
    context: &Path,
    from: &Path,
    patterns: &Gitignore,
    plan: &Plan,
    items: &mut BTreeMap<String, Item>,
) -> Result<(), ContextError> {
    let matcher = patterns.clone();
    let named = from.to_owned();
    let walk = WalkBuilder::new(from)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.path() == named || !matcher.matched(entry.path(), is_dir).is_ignore()
        })
        .build();
    for entry in walk {
        let entry = entry.map_err(ContextError::Walk)?;
        let path = entry.path();
        let inside = path.strip_prefix(context).unwrap_or(path);
        let name = inside
            .to_str()
            .ok_or_else(|| ContextError::Name(path.to_owned()))?;
        let read = |source| ContextError::Read(path.to_owned(), source);
        let metadata = fs::symlink_metadata(path).map_err(read)?;
        let item = if metadata.is_dir() {
            Item::Folder
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            Item::File {
                from: path.to_owned(),
                mode: if executable { 0o755 } else { 0o644 },
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(read)?;
            if leads_out(inside, &target) {
                return Err(ContextError::Link(path.to_owned(), target));
            }
            Item::Link {
                target: target
                    .to_str()
                    .ok_or_else(|| ContextError::Name(path.to_owned()))?
                    .to_owned(),
            }
        } else {
            return Err(ContextError::NotAFile(path.to_owned()));
        };
        items.insert(plan.below_pwd(name), item);
    }
    Ok(())
}

fn relative(entry: &str) -> Result<PathBuf, ContextError> {
    let mut clean = PathBuf::new();
    for part in Path::new(entry).components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            _ => return Err(ContextError::Outside(entry.to_owned())),
        }
    }
    Ok(clean)
}

/// Whether the link at `path`, relative to the context, points to something outside of it.
fn leads_out(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count() - 1;
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

fn patterns(context: &Path) -> Result<Gitignore, ContextError> {
    let mut builder = GitignoreBuilder::new(context);
    for pattern in ALWAYS_IGNORED {
        builder
            .add_line(None, pattern)
            .expect("the default patterns are valid globs");
    }
    if let Some(file) = IGNORE_FILES
        .iter()
        .map(|name| context.join(name))
        .find(|file| file.is_file())
        && let Some(error) = builder.add(&file)
    {
        return Err(ContextError::Walk(error));
    }
    builder.build().map_err(ContextError::Walk)
}

/// What is wrong with the context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Something cannot be read.
    #[error("`{at}` cannot be read: {1}", at = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Something that is named is not there.
    #[error("`{0}` is not in the folder `{at}`: {2}", at = .1.display())]
    Missing(String, PathBuf, #[source] io::Error),
    /// A path that leads out.
    #[error("`{0}` leads out of the folder of the service: name files below it")]
    Outside(String),
    /// A link that leads out.
    #[error(
        "`{}` is a link to `{}`, outside of the folder of the service: copy the file, or list the link in .mseignore",
        .0.display(), .1.display()
    )]
    Link(PathBuf, PathBuf),
    /// A name that is no UTF-8.
    #[error("`{at}` has a name that is no UTF-8: rename it", at = .0.display())]
    Name(PathBuf),
    /// A device, pipe or socket.
    #[error("`{at}` is neither file nor folder nor link", at = .0.display())]
    NotAFile(PathBuf),
    /// A folder, or patterns, that cannot be read.
    #[error("the files of the service cannot be listed: {0}")]
    Walk(#[source] ignore::Error),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn plan() -> Plan {
        Plan {
            pwd: "/python".into(),
            dirs: Vec::new(),
            environment: None,
            unmeasured: Vec::new(),
        }
    }

    fn names(context: &Path, copy: &[&str]) -> Result<Vec<String>, ContextError> {
        let copy: Vec<String> = copy.iter().map(ToString::to_string).collect();
        Ok(collect(context, &copy, &plan())?.into_keys().collect())
    }

    #[test]
    fn relative_paths_are_kept_below_the_working_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("code/lib/__pycache__")).unwrap();
        for file in [
            "code/api.py",
            "code/lib/x.py",
            "code/lib/__pycache__/x.pyc",
            "other",
        ] {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        assert_eq!(
            names(dir.path(), &["code/api.py"]).unwrap(),
            ["/python/code/api.py"]
        );
        let all = [
            "/python/code",
            "/python/code/api.py",
            "/python/code/lib",
            "/python/code/lib/x.py",
        ];
        assert_eq!(names(dir.path(), &["./code/"]).unwrap(), all);
        fs::write(dir.path().join(".dockerignore"), "lib\n").unwrap();
        assert_eq!(names(dir.path(), &["code"]).unwrap(), all[..2]);
        // What is named is meant.
        assert_eq!(names(dir.path(), &["code/lib"]).unwrap(), all[2..]);
    }

    #[test]
    fn nothing_outside_of_the_context_is_copied() {
        let outer = tempfile::tempdir().unwrap();
        let context = outer.path().join("context");
        fs::create_dir_all(context.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), "x").unwrap();
        fs::write(context.join("file"), "x").unwrap();
        for bad in ["../secret", "/etc/passwd", "sub/../../secret"] {
            assert!(
                matches!(names(&context, &[bad]), Err(ContextError::Outside(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            names(&context, &["nothing"]),
            Err(ContextError::Missing(..))
        ));
        symlink("..", context.join("up")).unwrap();
        assert!(matches!(
            names(&context, &["up/secret"]),
            Err(ContextError::Outside(_))
        ));
        assert!(matches!(
            names(&context, &["up"]),
            Err(ContextError::Link(..))
        ));
        assert!(matches!(
            locate(&context, "up/secret"),
            Err(ContextError::Outside(_))
        ));
        symlink("/etc/passwd", context.join("sub/absolute")).unwrap();
        assert!(matches!(
            names(&context, &["sub"]),
            Err(ContextError::Link(..))
        ));
        fs::remove_file(context.join("sub/absolute")).unwrap();
        symlink("../file", context.join("sub/link")).unwrap();
        assert_eq!(
            names(&context, &["sub"]).unwrap(),
            ["/python/sub", "/python/sub/link"]
        );
    }
}
