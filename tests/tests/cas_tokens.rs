//! A secret on a token behind PKCS#11 (SoftHSM), read by the real CAS and handed to a service.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use mse_crypto::Digest;
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::CasMachine;
use mse_tests::programs::program;
use mse_tests::releases::ReleaseMachine;
use mse_workload::launch::CasStart;
use mse_workload::{CasWorkload, OpenToken, TokenLibrary};

use crate::softhsm::{PIN, SoftHsm, TOKEN};

#[path = "../../crates/pkcs11/tests/softhsm/mod.rs"]
mod softhsm;

#[test]
fn a_service_is_told_what_is_on_a_token() {
    // The library takes its configuration from the environment of the process.
    SoftHsm::new().run("on_a_token");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `a_service_is_told_what_is_on_a_token`"]
async fn on_a_token() {
    fill();
    let machine = CasMachine::new(&program("mse-cas")).await;
    let path = SoftHsm::library();
    let library = |digest| TokenLibrary {
        name: "hsm".into(),
        path: path.to_str().unwrap().to_owned(),
        digest,
        tokens: vec![OpenToken {
            label: TOKEN.into(),
            sessions: vec!["shop".into()],
        }],
    };
    let spec = |digest| CasSpec {
        workload: CasWorkload {
            token_libraries: vec![library(digest)],
            ..machine.workload()
        },
        ..machine.spec(CasStart::Create)
    };
    // Another library than the measured one is not loaded.
    let refused = machine.launch(spec(Digest::of(b"another"))).await.err();
    assert!(refused.unwrap().contains("was measured"));
    let digest = Digest::of_reader(std::fs::File::open(&path).unwrap()).unwrap();
    let cas = machine.launch(spec(digest)).await.unwrap();
    let machine = ReleaseMachine::with(machine, cas);

    let program = "import os; print('mirrored', os.environ['NOTE'][::-1])";
    let tree = machine.tree("program", &[("main.py", program)]);
    let session = |name: &str| {
        format!(
            "name: {name}
version: '0.3.12'
services:
- name: api
  command: /usr/bin/python3 main.py
  pwd: /app
  environment: {{NOTE: $$MSE::note$$}}
  attestation: {admits}
secrets:
- {{name: pin, kind: ascii, value: '{PIN}'}}
- {{name: note, kind: ascii, import_pkcs11: {{module: hsm, token: {TOKEN}, object: note, pin: $$MSE::pin$$}}}}
",
            admits = machine.admits(&tree, name, "api")
        )
    };
    // The token is opened to `shop` only.
    let refused = machine.upload(&session("other")).await.unwrap_err();
    assert!(refused.to_string().contains("note"), "{refused}");
    machine.upload(&session("shop")).await.unwrap();
    let service = machine.run(&tree, "shop", "api").await;
    assert_eq!(service.lines, ["mirrored eton a"], "{service:#?}");
}

fn fill() {
    let context = Pkcs11::new(SoftHsm::library()).unwrap();
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_rw_session(slot).unwrap();
    let pin = AuthPin::new(PIN.into());
    session.login(UserType::User, Some(&pin)).unwrap();
    session
        .create_object(&[
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(b"note".to_vec()),
            Attribute::Value(b"a note".to_vec()),
        ])
        .unwrap();
}
