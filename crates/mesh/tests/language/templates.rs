//! What is in an image.

use mse_mesh::{InvalidTemplate, ServiceManifest, ServiceTemplate, Variables};

const MANIFEST: &str = "
apiVersion: mse/v1
kind: genservice
build:
  name: api
  kind: python
  to: registry.example/api:2
  command: python3 api.py --user {{API_USER}} @@1
  pwd: /app
  stable: registry.example/api:1
  health: {http: {path: /health, port: 8080}}
  volumes: [{name: data, path: /data, export: [{session: ../backup, update_policy: no_rollback_protection}]}]
environment:
  local: [{name: PASSWORD, value: $$SCONE::password$$}]
  global: [{name: API_USER, value: nobody}]
secrets:
  global: [{name: password, kind: ascii, size: 32}]
  import: [ca]
injection_files: [{path: /tls/ca.crt, content: $$SCONE::ca:crt$$}]
listen: [8080, {port: 9090, name: metrics}]
";

const TEMPLATE: &str = r#"{"command":"python3 api.py --user {{API_USER}} @@1","environment":{"global":[{"name":"API_USER","value":"nobody"}],"local":[{"name":"PASSWORD","value":"$$SCONE::password$$"}]},"format":1,"health":{"http":{"path":"/health","port":8080}},"injection_files":[{"content":"$$SCONE::ca:crt$$","path":"/tls/ca.crt"}],"listen":[8080,{"name":"metrics","port":9090}],"name":"api","pwd":"/app","secrets":{"global":[{"kind":"ascii","name":"password","size":32}],"import":["ca"]},"stable":"registry.example/api:1","volumes":[{"export":[{"session":"../backup","update_policy":"no_rollback_protection"}],"name":"data","path":"/data"}]}"#;

#[test]
fn the_format_is_fixed() {
    let (manifest, warnings) = ServiceManifest::read(MANIFEST, &Variables::new()).unwrap();
    assert_eq!(warnings, []);
    let json = manifest.template().canonical().unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), TEMPLATE);
    let read = ServiceTemplate::from_json(TEMPLATE.as_bytes()).unwrap();
    assert_eq!(read, manifest.template());
}

#[test]
fn nothing_but_the_canonical_form_is_read() {
    for (old, new) in [
        ("\"format\":1", "\"format\":2"),
        ("\"format\":1,", ""),
        ("\"pwd\"", "\"pdw\""),
        ("\"pwd\":\"/app\"", "\"pwd\":\"/app/\""),
        ("\"pwd\":\"/app\"", "\"pwd\": \"/app\""),
        ("\"pwd\":\"/app\"", "\"pwd\":\"/app\",\"pwd\":\"/app\""),
        (
            "\"command\":\"python3",
            "\"command\":\"$$SCONE::password python3",
        ),
        ("[8080,", "[\"8080\","),
        ("{\"name\":\"API_USER\"", "{\"key\":\"API_USER\""),
        ("\"name\":\"api\"", "\"name\":\"a b\""),
        ("}]}", "}]} "),
    ] {
        let json = TEMPLATE.replacen(old, new, 1);
        assert_ne!(json, TEMPLATE, "{old}");
        let read = ServiceTemplate::from_json(json.as_bytes());
        assert!(read.is_err(), "{old} -> {new}");
    }
    assert!(matches!(
        ServiceTemplate::from_json(b"{}"),
        Err(InvalidTemplate::Format(_))
    ));
    assert!(matches!(
        ServiceTemplate::from_json(b"no json"),
        Err(InvalidTemplate::Json(_))
    ));
}
