use mse_crypto::Digest;
use mse_session::{EnvironmentValue, Secret, SecretSource, Session};
use mse_workload::image::{FACTS_FORMAT, SealedPart};
use mse_workload::launch::HEALTH;
use mse_workload::{EnclaveDigest, Measured};

use super::*;
use crate::{ServiceManifest, Variables};

mod connections;
mod values;

const WEB: &str = "
apiVersion: mse/v1
kind: genservice
environment:
  local:
  - {name: PASSWORD, value: $$SCONE::password$$}
  - {name: GREETING, value: 'hello {{WHO}}'}
  global:
  - {name: WHO}
secrets:
  global:
  - {name: password, kind: ascii, size: 10}
  - {name: web_key, kind: private-key}
  - {name: web_cert, kind: x509, private_key: web_key, issuer: ca, dns: ['{{WHO}}']}
  import: [ca]
injection_files:
- {path: /tls/web.key, content: $$SCONE::web_cert.key$$}
build: {name: web, kind: python, to: r.example/web, command: python3 web.py 'a b', pwd: /web}
listen: [8080, {port: 8443, name: https}]
";

const DB: &str = "
apiVersion: mse/v1
kind: genservice
environment:
  local:
  - {name: PASSWORD, value: $$SCONE::password$$}
secrets:
  global:
  - {name: ca, kind: x509-ca}
  import: [password]
build: {name: db, kind: sconify_image, from: r.example/base, to: r.example/db, command: /usr/bin/db}
listen: [5432]
";

const MESH: &str = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: 'cas.example:8081'}]
policy: {namespace: team/shop}
env: [{service: global, env: [{name: WHO, value: world}]}]
services:
- {name: web, image: r.example/web}
- {name: db, image: r.example/db, resources: {memory: 2Gi, cores: 2}}
";

fn image(manifest: &str) -> MeshImage {
    let (manifest, _) = ServiceManifest::read(manifest, &Variables::new()).unwrap();
    let reference = format!("{}@sha256:{}", manifest.build.to, "0f".repeat(32));
    MeshImage {
        reference: reference.parse().unwrap(),
        facts: ImageFacts {
            format: FACTS_FORMAT,
            name: manifest.build.name.to_string(),
            root: Digest::of(manifest.build.name.as_str().as_bytes()),
            enclave: EnclaveDigest(Digest::of(b"enclave")),
            sealed: None,
            unmeasured: Vec::new(),
        },
        template: manifest.template(),
        key: None,
        stable: None,
    }
}

fn images() -> BTreeMap<ServiceName, MeshImage> {
    [("web", WEB), ("db", DB)]
        .map(|(name, manifest)| (name.parse().unwrap(), image(manifest)))
        .into()
}

fn compiled(mesh: &str, images: &BTreeMap<ServiceName, MeshImage>) -> Result<Plan, CompileError> {
    compiled_for(true, mesh, images)
}

fn compiled_for(
    simulated: bool,
    mesh: &str,
    images: &BTreeMap<ServiceName, MeshImage>,
) -> Result<Plan, CompileError> {
    let (mesh, _) = Meshfile::read(mesh, &Variables::new()).unwrap();
    let target = Target {
        cas_key: CasKey::of(b"cas"),
        simulated,
        release: "mesh",
        owner: &Ownership::Sender,
        images,
        authorities: &[("ca.pem".to_owned(), "PEM".to_owned())].into(),
    };
    compile(&mesh, &target)
}

fn refused(mesh: &str, images: &BTreeMap<ServiceName, MeshImage>) -> String {
    compiled(mesh, images)
        .err()
        .expect("it is refused")
        .to_string()
}

fn session(plan: &Plan, name: &str) -> Session {
    let planned = plan.sessions.iter().find(|one| one.name.as_str() == name);
    let planned = planned.unwrap_or_else(|| panic!("there is no session `{name}`"));
    planned
        .text([7; 16], None)
        .unwrap_or_else(|faults| panic!("{name}: {faults}"))
        .0
}

fn secret<'a>(session: &'a Session, name: &str) -> &'a Secret {
    session
        .secret(&name.parse().unwrap())
        .unwrap_or_else(|| panic!("no secret `{name}`"))
}

fn exported(session: &Session, name: &str) -> Vec<String> {
    let exports = secret(session, name).exports.iter();
    exports.map(|export| format!("{:?}", export.to)).collect()
}

#[test]
fn every_session_is_one_and_comes_after_what_it_needs() {
    let plan = compiled(MESH, &images()).unwrap();
    let names: Vec<_> = plan.sessions.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "team",
            "team/shop",
            "team/shop/access",
            "team/shop/security",
            "team/shop/image-r_example_db",
            "team/shop/image-r_example_web",
            "team/shop/secrets",
            "team/shop/web",
            "team/shop/db",
        ]
    );
    for name in names {
        session(&plan, name);
    }
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn what_is_measured_is_what_the_image_session_says() {
    let plan = compiled(MESH, &images()).unwrap();
    let [web, db] = &plan.services[..] else {
        panic!()
    };
    assert_eq!(web.service.as_str(), "python3");
    assert_eq!(db.service.as_str(), "db");
    assert_eq!(web.workload.session, "team/shop/web");
    assert_eq!(db.workload.resources.memory_mib, 2048);
    assert_eq!(db.workload.resources.millicores, 2000);
    let image = session(&plan, "team/shop/image-r_example_web").to_text();
    assert!(image.contains(&web.measurement.to_string()), "{}", *image);
    assert!(!image.contains(&db.measurement.to_string()));
}

#[test]
fn on_hardware_services_run_in_named_machines_only() {
    let refused = compiled_for(false, MESH, &images()).err().unwrap();
    assert!(refused.to_string().contains("policy.machines"), "{refused}");
    let [firmware, kernel, system, guest] = ["a1", "b2", "c3", "d4"].map(|byte| byte.repeat(48));
    let mesh = MESH.replace(
        "namespace: team/shop",
        &format!(
            "namespace: team/shop, machines: [{{tee: tdx, measurement: {firmware}, rtmr1: {kernel}, rtmr2: {system}}}, {{tee: snp, measurement: {guest}}}]"
        ),
    );
    let plan = compiled_for(false, &mesh, &images()).unwrap();
    let web = plan.services[0].workload.digest().to_string();
    let image = session(&plan, "team/shop/image-r_example_web");
    let SecretSource::Explicit(_) = secret(&image, "web.measurements").source else {
        panic!()
    };
    let text = image.to_text();
    for measured in [&web, &firmware, &kernel, &system, &guest] {
        assert!(text.contains(measured.as_str()), "{measured}: {}", *text);
    }
    assert_eq!(text.matches(&web).count(), 2, "{}", *text);
    assert!(!text.contains("simulated"), "{}", *text);
    assert!(!text.contains("mrenclave"), "{}", *text);
}

#[test]
fn a_stable_version_is_accepted_beside_the_new_one() {
    let mut images = images();
    let web = images.get_mut(&"web".parse().unwrap()).unwrap();
    let mut facts = web.facts.clone();
    facts.root = Digest::of(b"before");
    web.stable = Some(StableImage {
        reference: web.reference.clone(),
        facts,
    });
    let plan = compiled(MESH, &images).unwrap();
    let image = session(&plan, "team/shop/image-r_example_web").to_text();
    assert_eq!(image.matches("mrenclave").count(), 2, "{}", *image);
    assert!(
        plan.warnings
            .iter()
            .any(|one| one.contains("version before"))
    );
}

#[test]
fn secrets_are_given_to_who_uses_them_and_to_nobody_else() {
    let plan = compiled(MESH, &images()).unwrap();
    let secrets = session(&plan, "team/shop/secrets");
    assert_eq!(exported(&secrets, "password").len(), 2);
    // The certificate's key is in the form that the service asks for.
    for name in ["web_cert", "web_key"] {
        let to = exported(&secrets, name);
        assert_eq!(to.len(), 1, "{name}");
        assert!(to[0].contains("team/shop/web"), "{to:?}");
    }
    // Nobody uses it, though a certificate is issued by it.
    assert!(exported(&secrets, "ca").is_empty());
    let web = session(&plan, "team/shop/web");
    assert!(matches!(
        secret(&web, "password").source,
        SecretSource::Imported(_)
    ));
    assert!(web.secret(&"ca".parse().unwrap()).is_none());
}

#[test]
fn a_session_has_the_same_text_for_the_same_salt() {
    let plan = compiled(MESH, &images()).unwrap();
    let again = compiled(MESH, &images()).unwrap();
    for (one, other) in plan.sessions.iter().zip(&again.sessions) {
        let (one, other) = (
            one.text([1; 16], None).unwrap(),
            other.text([1; 16], None).unwrap(),
        );
        assert_eq!(*one.1, *other.1);
        assert_eq!(one.0.hash(), other.0.hash());
    }
}

fn literal(value: &EnvironmentValue) -> Option<&str> {
    match value {
        EnvironmentValue::Given(text) => text.as_literal(),
        EnvironmentValue::FromHost => None,
    }
}

#[test]
fn an_encrypted_image_needs_its_own_key() {
    let key = CodeKey::from_bytes([5; 32]);
    let mut images = images();
    let web = images.get_mut(&"web".parse().unwrap()).unwrap();
    web.facts.sealed = Some(SealedPart {
        bundle: Digest::of(b"b"),
        key_check: key.check_value(),
    });
    assert!(refused(MESH, &images).contains("its key is not here"));
    let web = images.get_mut(&"web".parse().unwrap()).unwrap();
    web.key = Some(CodeKey::from_bytes([6; 32]));
    assert!(refused(MESH, &images).contains("not that of the encrypted part"));
    let web = images.get_mut(&"web".parse().unwrap()).unwrap();
    web.key = Some(key);
    let text = session(&compiled(MESH, &images).unwrap(), "team/shop/web").to_text();
    assert!(text.contains("/mse/image.key"), "{}", *text);
}

#[test]
fn faults_are_named() {
    let images = images();
    let without = |part: &str| refused(&MESH.replace(part, ""), &images);
    assert!(without("{name: WHO, value: world}").contains("`{{WHO}}`"));
    let with = |manifest: &str| {
        let mut images = images.clone();
        images.insert("web".parse().unwrap(), image(manifest));
        refused(MESH, &images)
    };
    assert_eq!(
        with(&WEB.replace("import: [ca]", "import: [cas]")),
        "`web` imports the secret `cas`, which no service defines in `secrets.global`; did you mean `ca`?"
    );
    assert!(
        with(&WEB.replace("web_cert.key", "ca2:chain"))
            .contains("the content of `/tls/web.key` of `web` uses the secret `ca2`")
    );
    assert!(
        with(
            &WEB.replace("import: [ca]", "import: []")
                .replace("name: web_key", "name: ca")
                .replace("issuer: ca, ", "")
        )
        .contains("both define the secret `ca`")
    );
    assert!(with(&WEB.replace("name: web_key", "name: access_policy")).contains("give it another"));
    for (field, value) in [("tolerate", "outdated-tcb"), ("ignore_advisories", "'*'")] {
        let mesh = MESH.replace("team/shop}", &format!("team/shop, {field}: {value}}}"));
        assert!(
            refused(&mesh, &images).contains("is dangerous: say why"),
            "{field}"
        );
    }
    let mesh = MESH.replace("{name: db", "{name: secrets");
    let mut renamed = images.clone();
    let db = renamed.remove(&"db".parse().unwrap()).unwrap();
    renamed.insert("secrets".parse().unwrap(), db);
    assert!(refused(&mesh, &renamed).contains("would be two sessions"));
}

#[test]
fn no_definition_reaches_for_what_is_not_its_service_s() {
    let with = |definition: &str| {
        let mut images = images();
        let manifest = WEB.replace("{name: password, kind: ascii, size: 10}", definition);
        let manifest = manifest.replace(
            "{name: PASSWORD, value: $$SCONE::password$$}",
            "{name: A, value: b}",
        );
        images.insert("web".parse().unwrap(), image(&manifest));
        refused(MESH, &images)
    };
    for stolen in [
        "{name: password, kind: ascii, value: '$$MSE::mesh-ca:privatekey$$'}",
        "{name: password, kind: ascii, value: 'a$$SCONE::db_only$$'}",
        "{name: password, kind: ascii, value: '$$MSE::access_policy$$'}",
    ] {
        let error = with(stolen);
        assert!(
            error.contains("the secret `password` of `web` uses the secret"),
            "{error}"
        );
    }
    let mesh_ca = WEB.replace("issuer: ca,", "issuer: mesh-ca,");
    let mut images = images();
    images.insert("web".parse().unwrap(), image(&mesh_ca));
    assert!(refused(MESH, &images).contains("uses the secret `mesh-ca`"));
}

#[test]
fn every_session_is_guarded_by_the_access_policy() {
    let plan = compiled(MESH, &images()).unwrap();
    for planned in &plan.sessions {
        let text = session(&plan, planned.name.as_str()).to_text();
        // Their rules are what holds without any.
        if !matches!(planned.role, SessionRole::Namespace | SessionRole::Access) {
            assert!(
                text.contains(r#""access_policy":"$$MSE::access_policy$$""#),
                "{}",
                *text
            );
        }
    }
}

#[test]
fn a_meshfile_gives_files_and_names_optional_volumes() {
    let manifest = DB.replace(
        "command: /usr/bin/db",
        "command: /usr/bin/db, volumes: [{name: data, path: /data, optional: true}]",
    );
    let manifest = format!(
        "{manifest}injection_files: [{{path: /own, content: o}}, {{path: /both, content: o}}]"
    );
    let mut images = images();
    images.insert("db".parse().unwrap(), image(&manifest));
    let with = |more: &str| {
        let mesh = MESH.replace(
            "image: r.example/db,",
            &format!("image: r.example/db,{more}"),
        );
        compiled(&mesh, &images)
    };
    let text = |plan: &Plan| session(plan, "team/shop/db").to_text().to_string();
    let without = with("").unwrap();
    assert!(!text(&without).contains("/data"));
    assert!(without.services[1].volumes.is_empty());

    let given =
        " volumes: [{name: data}], files: [{path: /both, content: 'of {{WHO}} $$SCONE::ca$$'}],";
    let plan = with(given).unwrap();
    let text = text(&plan);
    assert!(text.contains("/data") && plan.services[1].volumes.len() == 1);
    assert!(text.contains("of world $$MSE::ca$$"), "{text}");
    assert_eq!(text.matches("/both").count(), 1, "{text}");
    assert!(text.contains("/own"));

    let refused = |more: &str| with(more).err().expect("it is refused").to_string();
    let error = refused(" volumes: [{name: date}],");
    assert!(error.contains("it has `data`"), "{error}");
    let error = refused(" files: [{path: /f, content: $$SCONE::web_key$$}],");
    assert!(error.contains("web_key"), "{error}");
    let error = refused(" files: [{path: /f, from: f}],");
    assert!(error.contains("was not read"), "{error}");
}

#[test]
fn a_shield_is_the_mesh_s_alone_and_names_are_unique() {
    let mesh = MESH.replace(
        "image: r.example/web}",
        "image: r.example/web, connections: []}",
    );
    let manifest = WEB.replace("name: GREETING", "name: MSE_NETWORK_SHIELD_CLIENT_x");
    let mut changed = images();
    changed.insert("web".parse().unwrap(), image(&manifest));
    assert!(refused(&mesh, &changed).contains("follows them alone"));
    let mut same = images();
    let db = same.get_mut(&"db".parse().unwrap()).unwrap();
    db.reference = "r.example/we.b".parse().unwrap();
    let web = same.get_mut(&"web".parse().unwrap()).unwrap();
    web.reference = "r.example/we_b".parse().unwrap();
    assert!(refused(MESH, &same).contains("would be two sessions"));
}

#[test]
fn the_enclave_is_told_how_to_ask_as_the_meshfile_says() {
    let told = |web: &str, manifest: &str| {
        let mesh = MESH.replace(
            "image: r.example/web}",
            &format!("image: r.example/web{web}}}"),
        );
        let mut images = images();
        images.insert("web".parse().unwrap(), image(manifest));
        let plan = compiled(&mesh, &images).unwrap();
        let session = session(&plan, "team/shop/web");
        let environment = &session.services[0].environment;
        let told = environment.iter().find(|(name, _)| name.as_str() == HEALTH);
        told.map(|(_, value)| literal(value).expect("a text").to_owned())
    };
    let with_sign = WEB.replace("build: {", "build: {health: {tcp: 8443}, ");
    assert_eq!(told("", WEB), None);
    assert_eq!(told("", &with_sign).as_deref(), Some("tcp:8443"));
    let probe = ", health: {http: {path: /health, port: 8080}, period: 30s, failures: 3}";
    assert_eq!(
        told(probe, &with_sign).as_deref(),
        Some("http:8080/health period=30s failures=3")
    );
    let probe = ", health: {tcp: 8080, timeout: 1}";
    assert_eq!(told(probe, WEB).as_deref(), Some("tcp:8080 timeout=1s"));
}
