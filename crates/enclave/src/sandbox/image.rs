//! The root directory that is an image's.
//!
//! Everything but the copy itself is put in place after the copy has become this process's root
//! directory: links of the image then lead to where they lead the program, and never to the host.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::failure::{Doing, StageError};
use super::host::Host;
use super::namespaces::{self, INSIDE_ID, Maker};
use super::plan::{RootBase, TreePlan};
use super::report::SandboxEntry;
use super::root::{RootMemory, RootPlan};
use super::stage1;
use super::tree::{self, Place, Site};
use super::wire::{self, Event, FrameReader, Kind};

/// Copies the image, says what was copied, and makes namespaces and root directory when the rest
/// of the plan is there.
pub(super) fn make(
    frames: &mut FrameReader<&mut UnixStream>,
    root: &RootPlan,
) -> Result<(TreePlan, Vec<SandboxEntry>), StageError> {
    let maker = Maker::new(root.app_uid);
    let advice = namespaces::advice();
    let mut entries = match maker {
        Maker::Root(_) => {
            namespaces::enter_mounts()?;
            Vec::new()
        }
        Maker::User => namespaces::enter_user(maker)?,
    };
    let made = copy(frames, root, maker).and_then(|(memory, plan)| {
        if let RootBase::Machine(_) = plan.base {
            return Err(StageError::NoRoot);
        }
        let built = build(&plan, maker, &memory)?;
        Ok((plan, built))
    });
    let (plan, built) = made.map_err(|error| {
        let advice = advice.filter(|_| namespaces::is_forbidden(&error));
        error.with_fix(advice)
    })?;
    if let Maker::Root(uid) = maker {
        stage1::hand_over(&plan)?;
        namespaces::become_app_user(uid)?;
        entries = namespaces::enter_user(maker)?;
    }
    entries.extend(namespaces::enter_rest()?);
    entries.extend(built);
    Ok((plan, entries))
}

fn copy(
    frames: &mut FrameReader<&mut UnixStream>,
    root: &RootPlan,
    maker: Maker,
) -> Result<(RootMemory, TreePlan), StageError> {
    tree::keep_private()?;
    let (memory, copied) = RootMemory::fill(root, maker)?;
    namespaces::await_single_thread()?;
    let event = wire::encode(&Event::Rooted(copied))?;
    wire::write_frame(frames.channel(), Kind::Event, &event)?;
    Ok((memory, frames.read_json(Kind::Tree)?))
}

fn build(
    plan: &TreePlan,
    maker: Maker,
    memory: &RootMemory,
) -> Result<Vec<SandboxEntry>, StageError> {
    let host = Host::open(plan)?;
    let base = tree::base()?;
    memory.mount_at(&base)?;
    tree::pivot(&base)?;
    let mut site = Site {
        base: "/".into(),
        maker,
        never_swapped: memory.never_swapped,
    };
    let private = [
        (plan.secrets.target.as_path(), plan.secrets.max_bytes),
        (Path::new("/tmp"), plan.tmp_bytes),
        (Path::new("/dev/shm"), plan.shm_bytes),
    ]
    .map(|(target, bytes)| Place::Private(target.to_owned(), bytes));
    let mut places: Vec<Place> = host.trees.into_iter().map(Place::Tree).collect();
    places.extend(private);
    places.extend(plan.volumes.iter().map(Place::of_volume));
    site.mount_all(places)?;
    write_network_files(&site, plan.network.adapt(host.etc))?;
    site.write_links(&host.links)?;
    name_user()?;
    Ok(entries(plan, &site))
}

/// Files of `/etc` that an image does not bring; they belong to the program, as all does.
fn write_network_files(
    site: &Site,
    mut files: Vec<(&'static str, Vec<u8>)>,
) -> Result<(), StageError> {
    files.push(("hostname", b"enclave\n".into()));
    site.write_etc(&files)?;
    if let Maker::Root(uid) = site.maker {
        let id = Some(uid.as_u32());
        for (name, _) in &files {
            let path = Path::new("/etc").join(name);
            chown(&path, id, id).doing(|| format!("hand `{}` to the program", path.display()))?;
        }
    }
    Ok(())
}

/// Gives the program's user a name, if the image has files of names and knows nobody of that
/// number: some programs do not start without.
fn name_user() -> Result<(), StageError> {
    for (file, line) in [
        (
            "/etc/passwd",
            format!("app:x:{INSIDE_ID}:{INSIDE_ID}:app:/:/bin/sh\n"),
        ),
        ("/etc/group", format!("app:x:{INSIDE_ID}:\n")),
    ] {
        let action = || format!("look for the program's user in `{file}` of the image");
        let known = match fs::read(file) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing(action),
        };
        if knows(&known, INSIDE_ID) {
            continue;
        }
        let mut open = fs::OpenOptions::new()
            .append(true)
            .open(file)
            .doing(action)?;
        if !known.is_empty() && !known.ends_with(b"\n") {
            open.write_all(b"\n").doing(action)?;
        }
        open.write_all(line.as_bytes()).doing(action)?;
    }
    Ok(())
}

/// Whether a line of `passwd` or `group` has the number `id`.
fn knows(lines: &[u8], id: u32) -> bool {
    let id = id.to_string();
    lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b':').nth(2))
        .any(|number| number == id.as_bytes())
}

fn entries(plan: &TreePlan, site: &Site) -> Vec<SandboxEntry> {
    let mut entries = vec![
        SandboxEntry::applied(
            "host's files hidden",
            "the root directory is a copy of the measured image; the host's is unmounted",
        ),
        SandboxEntry::applied(
            "private storage",
            "the image's copy, released files, volumes and /tmp are memory-backed and seen by the program only",
        ),
        tree::swap_entry(site.never_swapped),
    ];
    entries.extend(plan.read_only.iter().map(|bind| {
        SandboxEntry::not_applied(
            "measured files",
            format!(
                "`{}` is not measured: the host may read and change it; the program may not write to it",
                bind.target
            ),
        )
    }));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_their_number() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nx1000:x:7:1000::/:\n";
        assert!(knows(passwd, 0) && knows(passwd, 7));
        assert!(!knows(passwd, 1000) && !knows(b"", 0) && !knows(b"a:b", 0));
    }
}
