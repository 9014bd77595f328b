//! Services that run images: the real enclave program, launched by the real runtime, against a CAS
//! that appraises for real.

use std::fs;
use std::os::unix::fs::symlink;

use mse_crypto::CodeKey;
use mse_runtime::process::ServiceSpec;
use mse_tests::image_root::ImageRoot;
use mse_tests::programs::{program, static_program};
use mse_tests::services::{Service, ServiceMachine};
use mse_workload::ServiceWorkload;
use mse_workload::image::IMAGE_KEY;
use mse_workload::launch::{ServiceCheck, ServiceEnd};

/// A machine and an image for it.
struct Setting {
    machine: ServiceMachine,
    image: ImageRoot,
}

impl Setting {
    async fn new(image: ImageRoot) -> Self {
        let machine = ServiceMachine::new(&static_program("mse-enclave")).await;
        let setting = Self { machine, image };
        setting.expect();
        setting
    }

    /// The CAS releases to the image as it is now.
    fn expect(&self) {
        let measurement = self.machine.measure(&self.workload());
        self.machine.cas.policies().measurement = Some(measurement);
    }

    fn workload(&self) -> ServiceWorkload {
        ServiceWorkload {
            tree: self.image.root_digest(),
            base: self.image.base(),
            ..self.machine.workload()
        }
    }

    fn spec(&self) -> ServiceSpec {
        ServiceSpec {
            workload: self.workload(),
            tree: self.image.path().to_owned(),
            ..self.machine.spec()
        }
    }

    async fn run(&self) -> Service {
        self.machine.run_spec(self.spec()).await
    }

    /// What a script prints.
    async fn lines(&self, script: &str) -> Vec<String> {
        self.machine.cas.policies().script(script);
        let service = self.run().await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Program { code: 0 }),
            "{service:#?}"
        );
        service.lines
    }

    fn inject(&self, path: &str, content: &str) {
        let file = (path.to_owned(), 0o400, content.to_owned());
        self.machine.cas.policies().files.push(file);
    }

    async fn refused(&self, check: ServiceCheck, says: &str) -> Service {
        self.refused_spec(self.spec(), check, says).await
    }

    async fn refused_spec(&self, spec: ServiceSpec, check: ServiceCheck, says: &str) -> Service {
        let service = self.machine.run_spec(spec).await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Refused { check }),
            "{service:#?}"
        );
        assert!(service.reason().contains(says), "{service:#?}");
        assert!(service.lines.is_empty(), "{service:#?}");
        service
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_the_image_and_nothing_of_the_machine() {
    let setting = Setting::new(ImageRoot::new()).await;
    setting.machine.cas.policies().environment =
        [("PASSWORD".to_owned(), "s3cret".to_owned())].into();
    let lines = setting
        .lines("pwd; ls /; cat /srv/data.txt; echo; echo \"$PASSWORD\"; id -un; env | while read line; do echo \"<$line>\"; done")
        .await;
    assert_eq!(lines[0], "/");
    let of_machine = ["usr/share", "home", "work", "var", "sbin", "opt"];
    for hidden in of_machine {
        assert!(!lines.contains(&hidden.to_owned()), "{lines:?}");
    }
    for there in [
        "bin",
        "dev",
        "etc",
        "proc",
        "srv",
        "tmp",
        "of the image",
        "s3cret",
        "app",
        "<PASSWORD=s3cret>",
    ] {
        assert!(lines.contains(&there.to_owned()), "{there}: {lines:?}");
    }
    assert!(!lines.contains(&"mse".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("<PATH=")));
    // Not even what is looked for elsewhere.
    let lines = setting
        .lines("ls /usr /etc; cat /etc/hostname; test -e /usr/bin/python3 || echo none")
        .await;
    assert!(lines.contains(&"none".to_owned()) && lines.contains(&"enclave".to_owned()));
    assert!(!lines.contains(&"share".to_owned()), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_the_program_s_own_and_gone_with_it() {
    let setting = Setting::new(ImageRoot::new()).await;
    for _ in 0..2 {
        let lines = setting
            .lines(
                "cat /srv/data.txt; echo; echo changed >/srv/data.txt; cat /srv/data.txt; \
                 mkdir /new && touch /new/x /bin/y /tmp/z /dev/shm/w && echo made; \
                 stat -c %u /srv/data.txt /etc/hosts; echo >/dev/null && echo null",
            )
            .await;
        assert_eq!(
            lines,
            ["of the image", "changed", "made", "1000", "1000", "null"]
        );
    }
    let on_host = fs::read_to_string(setting.image.at("srv/data.txt")).unwrap();
    assert_eq!(on_host, "of the image");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_looked_up_in_the_image_and_starts_where_the_session_says() {
    let image = ImageRoot::new();
    fs::create_dir(image.at("python")).unwrap();
    let setting = Setting::new(image).await;
    setting.machine.cas.policies().directory = Some("/python".into());
    setting.machine.cas.policies().arguments = ["stat", "-c", "%n", "."].map(str::to_owned).into();
    let service = setting.run().await;
    assert_eq!(service.lines, ["."], "{service:#?}");
    assert_eq!(setting.lines("pwd").await, ["/python"]);
    setting.machine.cas.policies().directory = Some("/nowhere".into());
    setting
        .refused(ServiceCheck::Machine, "working directory `/nowhere`")
        .await;
    setting.machine.cas.policies().directory = None;
    // On the machine, and not in the image.
    setting.machine.cas.policies().arguments = vec!["python3".into()];
    setting.refused(ServiceCheck::Machine, "`python3`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_injected_anywhere_and_in_place_of_the_image_s_own() {
    let image = ImageRoot::new();
    image.write("etc/nginx/nginx.conf", "of the image");
    image.write("etc/nginx/mime.types", "of the image");
    symlink("/srv", image.at("var")).unwrap();
    let setting = Setting::new(image).await;
    for (path, content) in [
        ("/tls/client.crt", "certificate"),
        ("/etc/resolv.conf", "nameserver 192.0.2.1"),
        ("/etc/nginx/nginx.conf", "released"),
        ("/usr/local/lib/x", "library"),
        ("/var/through-link", "linked"),
        ("/bin/more", "program"),
    ] {
        setting.inject(path, content);
    }
    let lines = setting
        .lines(
            "for f in /tls/client.crt /etc/resolv.conf /etc/nginx/nginx.conf /etc/nginx/mime.types \
             /usr/local/lib/x /srv/through-link /bin/more; do cat $f; echo; done",
        )
        .await;
    assert_eq!(
        lines,
        [
            "certificate",
            "nameserver 192.0.2.1",
            "released",
            "of the image",
            "library",
            "linked",
            "program"
        ]
    );
    for (closed, says) in [
        ("/proc/x", "closed"),
        ("/dev/x", "closed"),
        ("/mse/x", "closed"),
        ("/etc", "closed"),
        ("/etc/nginx", "the image has a folder there"),
    ] {
        setting.machine.cas.policies().files.clear();
        setting.inject(closed, "x");
        let service = setting.run().await;
        assert!(service.reason().contains(says), "{closed}: {service:#?}");
        assert!(service.lines.is_empty(), "{service:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_image_is_refused_before_the_cas_is_asked() {
    type Lie = fn(&ImageRoot);
    let lies: [(Lie, &str); 6] = [
        (
            |i| i.write("srv/data.txt", "of the imagE"),
            "not the measured",
        ),
        (|i| i.write("srv/more.txt", ""), "not the measured"),
        (
            |i| fs::remove_file(i.at("srv/data.txt")).unwrap(),
            "not the measured",
        ),
        (
            |i| {
                fs::rename(i.at("srv/data.txt"), i.at("mse/data.txt")).unwrap();
                symlink("/mse/data.txt", i.at("srv/data.txt")).unwrap();
            },
            "not the measured",
        ),
        (
            |i| nix::unistd::mkfifo(&i.at("srv/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "`/srv/pipe` is a pipe",
        ),
        (
            |i| fs::write(i.at("srv/large"), vec![1; 300 << 20]).unwrap(),
            "give the service more memory",
        ),
    ];
    for (lie, says) in lies {
        let setting = Setting::new(ImageRoot::new()).await;
        setting.machine.cas.policies().script("echo ran");
        let spec = setting.spec();
        lie(&setting.image);
        setting.refused_spec(spec, ServiceCheck::Tree, says).await;
        assert!(setting.machine.cas.log().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_after_the_copy_is_of_no_effect() {
    let setting = Setting::new(ImageRoot::new()).await;
    let file = setting.image.at("srv/data.txt");
    setting.machine.cas.policies().tampered = Some(file.clone());
    let lines = setting.lines("cat /srv/data.txt").await;
    assert_eq!(lines, ["of the image"]);
    assert_ne!(fs::read_to_string(file).unwrap(), "of the image");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_encrypted_part_lies_over_the_root_and_its_key_is_not_for_the_program() {
    let mut image = ImageRoot::new();
    let key = CodeKey::generate();
    image.seal(
        &[
            ("python/app.py", "print('s3cret code')"),
            ("srv/model", "weights"),
        ],
        &key,
    );
    let setting = Setting::new(image).await;
    setting.machine.cas.policies().script("echo ran");
    setting
        .refused(ServiceCheck::Configuration, "injects no key")
        .await;
    setting.inject(IMAGE_KEY, "not a key");
    setting
        .refused(ServiceCheck::Configuration, "64 hexadecimal digits")
        .await;
    setting.machine.cas.policies().files.clear();
    setting.inject(IMAGE_KEY, &CodeKey::generate().to_hex());
    setting
        .refused(ServiceCheck::Configuration, "the key of another image")
        .await;
    setting.machine.cas.policies().files.clear();
    setting.inject(IMAGE_KEY, &key.to_hex());
    let lines = setting
        .lines(
            "cat /python/app.py; echo; cat /srv/model; echo; cat /srv/data.txt; echo; \
             test -e /mse || echo no key; ls -R /run",
        )
        .await;
    assert_eq!(
        lines[..4],
        ["print('s3cret code')", "weights", "of the image", "no key"]
    );
    let key = key.to_hex();
    assert!(!lines.iter().any(|line| line.contains("image.key")));
    assert!(!lines.iter().any(|line| line.contains(key.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_encrypted_part_is_refused_before_the_cas_is_asked() {
    let mut image = ImageRoot::new();
    let key = CodeKey::generate();
    image.seal(&[("srv/model", "weights")], &key);
    let setting = Setting::new(image).await;
    let spec = setting.spec();
    let bundle = setting.image.at("mse/sealed.tar");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[520] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    setting
        .refused_spec(spec, ServiceCheck::Tree, "not the measured")
        .await;
    assert!(setting.machine.cas.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_file_does_not_replace_one_of_the_root() {
    let mut image = ImageRoot::new();
    let key = CodeKey::generate();
    image.seal(&[("srv/data.txt", "sealed")], &key);
    let setting = Setting::new(image).await;
    setting.machine.cas.policies().script("echo ran");
    setting.inject(IMAGE_KEY, &key.to_hex());
    setting
        .refused(ServiceCheck::Machine, "`srv/data.txt` is there already")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_paths_are_the_host_s_read_only_and_reported() {
    let mut image = ImageRoot::new();
    image.write("plain/notes.txt", "of the image's folder");
    image.leave_unmeasured(&["/etc/ssl/certs", "/plain"]);
    let setting = Setting::new(image).await;
    let before = setting.image.root_digest();
    setting
        .image
        .write("plain/notes.txt", "changed by the host");
    assert_eq!(setting.image.root_digest(), before);
    let lines = setting
        .lines(
            "cat /plain/notes.txt; echo; echo x 2>/dev/null >/plain/notes.txt || echo closed; \
             test -e /etc/ssl/certs/ca-certificates.crt && echo certificates",
        )
        .await;
    assert_eq!(lines, ["changed by the host", "closed", "certificates"]);

    setting.inject("/plain/x", "x");
    setting
        .refused(ServiceCheck::Configuration, "closed to it")
        .await;
    let mut image = ImageRoot::new();
    image.leave_unmeasured(&["/nowhere/at/all"]);
    let setting = Setting::new(image).await;
    setting
        .refused(ServiceCheck::Configuration, "`/nowhere/at/all`")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_needs_libraries_says_so() {
    let machine = ServiceMachine::new(&program("mse-enclave")).await;
    let setting = Setting {
        machine,
        image: ImageRoot::new(),
    };
    setting
        .refused(ServiceCheck::Machine, "linked dynamically")
        .await;
    assert!(setting.machine.cas.log().is_empty());
}
