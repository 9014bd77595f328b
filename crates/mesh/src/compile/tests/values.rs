//! Values of the Meshfile stay what they are, wherever they stand.

use std::convert::Infallible;

use mse_session::{EnvironmentName, Explicit, Template};
use proptest::prelude::*;

use super::*;
use crate::text::MeshText;

const TOLD: &str = "
apiVersion: mse/v1
kind: genservice
build: {name: web, kind: python, to: r.example/web, pwd: /, command: \"python3 {{V}} --v={{V}} '{{V}} {{V}}' @{{V}} @@2 $$MSE::word$$\"}
environment:
  local: [{name: A, value: '{{V}}'}, {name: B, value: \"x{{V}}\\ny\"}]
  global: [{name: V}]
secrets: {global: [{name: word, kind: ascii, size: 8}, {name: own, kind: ascii, value: '{{V}}'}, {name: config, kind: config-fragment, value: '{{V}}'}]}
injection_files: [{path: /a.yml, content: 'a: {{V}}'}]
";

/// Sessions of a mesh of one service that gives the value.
fn told(value: &str) -> Result<Plan, CompileError> {
    told_by(TOLD, value)
}

fn told_by(manifest: &str, value: &str) -> Result<Plan, CompileError> {
    let mesh = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: cas.example}]
policy: {namespace: shop}
env: [{service: global, env: [{name: V, value: x}]}]
services: [{name: web, image: r.example/web}]
";
    let (mut mesh, _) = Meshfile::read(mesh, &Variables::new()).unwrap();
    mesh.env[0].variables[0].value = MeshText::literal(value);
    let images = [("web".parse().unwrap(), image(manifest))].into();
    let target = Target {
        cas_key: CasKey::of(b"cas"),
        simulated: true,
        release: "mesh",
        owner: &Ownership::Sender,
        images: &images,
        authorities: &BTreeMap::new(),
    };
    compile(&mesh, &target)
}

fn explicit<'a>(session: &'a Session, name: &str) -> &'a Template {
    match &secret(session, name).source {
        SecretSource::Explicit(Explicit::Text { value, .. }) => value,
        _ => panic!("`{name}` stands in the session"),
    }
}

/// As the program gets it; the CAS's secret `word` is `W`, and the host says `H2`.
fn rendered(session: &Session, text: &Template) -> String {
    let bytes = text.render(
        |reference| {
            let value = match reference.secret().unwrap().as_str() {
                "word" => "W".to_owned(),
                kept => explicit(session, kept).as_literal().unwrap().to_owned(),
            };
            Ok::<_, Infallible>(value.into_bytes().into())
        },
        |number| Ok(format!("H{number}")),
    );
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

fn command(session: &Session) -> Vec<String> {
    let command = session.services[0].command.as_ref().unwrap();
    let words = command.0.iter();
    words.map(|word| rendered(session, word)).collect()
}

fn prove(value: &str) {
    let plan = told(value).unwrap_or_else(|error| panic!("{value:?}: {error}"));
    let web = session(&plan, "shop/web");
    let v = value;
    let expected = [
        "python3".to_owned(),
        v.to_owned(),
        format!("--v={v}"),
        format!("{v} {v}"),
        format!("@{v}"),
        "H2".to_owned(),
        "W".to_owned(),
    ];
    assert_eq!(command(&web), expected, "{value:?}");
    let told = |name: &str| {
        let environment = &web.services[0].environment;
        let found = environment.iter().find(|(one, _)| one.as_str() == name);
        literal(found.unwrap().1).unwrap().to_owned()
    };
    assert_eq!(told("A"), value);
    assert_eq!(told("B"), format!("x{value}\ny"));
    // Nothing else came with it.
    assert_eq!(web.services.len(), 1);
    let environment = web.services[0].environment.keys();
    assert!(environment.map(EnvironmentName::as_str).eq(["A", "B", "V"]));
    assert_eq!(web.images[0].injection_files.len(), 1);
    let secrets = session(&plan, "shop/secrets");
    assert_eq!(explicit(&secrets, "own").as_literal().unwrap(), value);
    let SecretSource::Explicit(Explicit::Fragment(fragment)) = &secret(&secrets, "config").source
    else {
        panic!("a fragment")
    };
    assert_eq!(fragment, value);
}

#[test]
fn values_that_look_like_something_are_texts() {
    for value in [
        "a b",
        "'",
        "\" '",
        "@@1",
        "@1",
        "1",
        "a @@2",
        "$HOME ${X} $$ \\$",
        "{{V}} {{x}}",
        "x\n- {name: C, value: 1}",
        "]}, \"a\": {b: [",
        "# x",
        "~",
        "null",
        "*a &b !c <<",
        "\\",
        "$$$$",
        "\t",
    ] {
        prove(value);
    }
}

#[test]
fn what_an_image_asks_of_the_host_is_still_asked() {
    let plan = told("x").unwrap();
    let text = session(&plan, "shop/web").to_text();
    assert!(
        text.contains("@@2") && !text.contains("mesh-word"),
        "{}",
        *text
    );
    let kept = session(&told("@@1").unwrap(), "shop/web").to_text();
    assert!(kept.contains("$$MSE::mesh-word-1$$"), "{}", *kept);
}

#[test]
fn a_value_may_name_a_secret_in_a_reference() {
    let manifest = TOLD.replace("$$MSE::word$$", "$$MSE::{{V}}:hex$$ @@1{{V}}");
    let manifest = manifest.replace(
        "{name: word, kind: ascii, size: 8}",
        "{name: v, kind: binary, size: 8}",
    );
    let plan = told_by(&manifest, "v").unwrap();
    let text = session(&plan, "shop/web").to_text();
    assert!(
        text.contains("$$MSE::v:hex$$") && !text.contains("mesh-word"),
        "{}",
        *text
    );
    // A digit would ask for another word of the host's.
    let plan = told_by(&manifest.replace("$$MSE::{{V}}:hex$$ ", ""), "2").unwrap();
    let text = session(&plan, "shop/web").to_text();
    assert!(text.contains("@@1$$MSE::mesh-word-1$$"), "{}", *text);
}

#[test]
fn a_value_with_a_reference_is_held_to_what_the_service_imports() {
    let error = told("a $$MSE::stolen$$").err().unwrap().to_string();
    assert!(error.contains("uses the secret `stolen`"), "{error}");
    let error = told("@@1 $$MSE::mesh-ca:privatekey$$").err().unwrap();
    assert!(error.to_string().contains("uses the secret `mesh-ca`"));
}

proptest! {
    #[test]
    fn every_value_is_a_part_of_one_word_and_of_nothing_else(
        value in "([ -~äß\\t\\n]|@@[0-9]{0,2}|['\"$@{}\\\\:#,-]|\\{\\{V\\}\\}){1,10}",
    ) {
        prop_assume!(!value.contains("$$MSE::") && !value.contains("$$SCONE::"));
        prove(&value);
    }
}
