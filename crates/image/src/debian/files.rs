//! What the scripts of packages would do, and a program needs.

use super::java;
use super::open::{DebError, Opened};

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/tmp:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "\
root:x:0:
app:x:1000:
nogroup:x:65534:
";
const NSSWITCH: &str = "\
passwd: files
group: files
hosts: files dns
";

/// Folders that every system has, and their modes. In the sandbox everything is the program's own,
/// so nobody needs the sticky bit of `/tmp`.
const FOLDERS: &[(&str, u32)] = &[
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/proc", 0o755),
    ("/root", 0o755),
    ("/run", 0o755),
    ("/sys", 0o755),
    ("/tmp", 0o777),
    ("/usr/lib64", 0o755),
    ("/usr/sbin", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o777),
];

/// Links that a system has.
const LINKS: &[(&str, &str)] = &[
    ("/bin", "usr/bin"),
    ("/lib", "usr/lib"),
    ("/lib64", "usr/lib64"),
    ("/sbin", "usr/sbin"),
    ("/usr/bin/sh", "dash"),
    ("/var/run", "/run"),
    // OpenSSL looks for one file with all authorities here.
    ("/usr/lib/ssl/cert.pem", AUTHORITIES),
];

/// Certificate authorities as one file.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where their package has them one by one.
const AUTHORITIES_FROM: &str = "/usr/share/ca-certificates";

pub(super) fn complete(opened: &mut Opened) -> Result<(), DebError> {
    for (path, mode) in FOLDERS {
        opened.add_folder(path, *mode);
    }
    for (path, target) in LINKS {
        opened.remove(path);
        opened.add_link(path, target);
    }
    opened.add_file("/etc/passwd", PASSWD.as_bytes())?;
    opened.add_file("/etc/group", GROUP.as_bytes())?;
    opened.add_file("/etc/nsswitch.conf", NSSWITCH.as_bytes())?;
    let authorities = authorities(opened)?;
    if !opened.below("/usr/lib/jvm").is_empty() {
        commands_of_java(opened);
        opened.add_file(java::TRUST_STORE, &java::trust_store(&authorities)?)?;
    }
    Ok(())
}

/// `update-ca-certificates`: all authorities in the order of their files' names. What they are
/// called, and their PEM.
fn authorities(opened: &mut Opened) -> Result<Vec<(String, String)>, DebError> {
    let mut authorities = Vec::new();
    for path in opened.below(AUTHORITIES_FROM) {
        let name = path
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".crt"));
        if let Some(name) = name
            && let Some(content) = opened.content(&path)?
        {
            let mut pem = String::from_utf8_lossy(&content).trim_end().to_owned();
            pem.push('\n');
            authorities.push((name.to_owned(), pem));
        }
    }
    opened.remove(AUTHORITIES_FROM);
    let all: String = authorities.iter().map(|(_, pem)| pem.as_str()).collect();
    opened.add_file(AUTHORITIES, all.as_bytes())?;
    Ok(authorities)
}

/// `update-alternatives`: the commands of the one Java that is there.
fn commands_of_java(opened: &mut Opened) {
    for path in opened.below("/usr/lib/jvm") {
        let parts: Vec<&str> = path.split('/').collect();
        if let ["", "usr", "lib", "jvm", _, "bin", command] = parts.as_slice() {
            opened.add_link(&format!("/usr/bin/{command}"), &path);
        }
    }
}
