//! What becomes of `connections`.

use super::*;

#[test]
fn curated_services_have_a_shield() {
    let mesh = MESH.replace("image: r.example/db,", "curated: redis,");
    let refused = refused(&mesh, &images());
    assert!(refused.contains("no network shield"), "{refused}");
    let mesh = mesh.replace(
        "image: r.example/web}",
        "image: r.example/web, connections: []}",
    );
    compiled(&mesh, &images()).unwrap();
}

#[test]
fn connections_become_a_shield() {
    let mesh = MESH.replace(
        "image: r.example/web}",
        "image: r.example/web, connections: [{to: db, ports: [5432]}]}",
    );
    let plan = compiled(&mesh, &images()).unwrap();
    let web = session(&plan, "team/shop/web").to_text();
    for part in [
        "MSE_NETWORK_SHIELD_CLIENT_1_DESTINATION",
        "TCP:db:5432",
        "MSE_NETWORK_SHIELD_SERVER_8443",
        "mesh-web-client",
        "/run/mesh/client.key",
    ] {
        assert!(web.contains(part), "{part} in {}", *web);
    }
    let db = session(&plan, "team/shop/db");
    let environment = &db.services[0].environment;
    let value = |name: &str| {
        let found = environment.iter().find(|(one, _)| one.as_str() == name);
        found
            .and_then(|(_, value)| literal(value))
            .map(str::to_owned)
    };
    assert_eq!(value("MSE_NETWORK_SHIELD").as_deref(), Some("protected"));
    assert_eq!(
        value("MSE_NETWORK_SHIELD_SERVER_5432_CLIENT_AUTH").as_deref(),
        Some("file:/run/mesh/ca.pem")
    );
    assert_eq!(
        value("MSE_NETWORK_SHIELD_SERVER_5432_CLIENT_NAMES").as_deref(),
        Some("web")
    );
    session(&plan, "team/shop/secrets");
    assert_eq!(
        refused(&mesh.replace("[5432]", "[5433]"), &images()),
        "`web` connects to port 5433 of `db`, which does not say that it listens there: add the port to `listen` of its manifest or `ports` in the Meshfile"
    );
}

#[test]
fn each_port_is_open_to_those_that_connect_to_it() {
    const OTHER: &str = "
apiVersion: mse/v1
kind: genservice
build: {name: other, kind: sconify_image, from: r.example/base, to: r.example/other, command: /other}
listen: [7000]
";
    let mut images = images();
    let name: ServiceName = "Ot_her".parse().unwrap();
    images.insert(name, image(OTHER));
    let listening = DB.replace("[5432]", "[5432, 5433]");
    images.insert("db".parse().unwrap(), image(&listening));
    let mesh = MESH.replace(
        "image: r.example/web}",
        "image: r.example/web, connections: [{to: db, ports: [5432]}, Ot_her]}",
    ) + "- {name: Ot_her, image: r.example/other, connections: [db]}\n";
    let plan = compiled(&mesh, &images).unwrap();
    let names = |service: &str, port: u16| {
        let session = session(&plan, &format!("team/shop/{service}"));
        let variable = format!("MSE_NETWORK_SHIELD_SERVER_{port}_CLIENT_NAMES");
        let environment = &session.services[0].environment;
        let found = environment.iter().find(|(one, _)| one.as_str() == variable);
        found
            .and_then(|(_, value)| literal(value))
            .map(str::to_owned)
    };
    assert_eq!(names("db", 5432).as_deref(), Some("ot-her,web"));
    assert_eq!(names("db", 5433).as_deref(), Some("ot-her"));
    assert_eq!(names("Ot_her", 7000).as_deref(), Some("web"));
    // Nobody connects to it: it is everybody's.
    assert_eq!(names("web", 8080), None);
    let secrets = session(&plan, "team/shop/secrets").to_text();
    for (client, shown) in [("web", true), ("ot-her", true), ("db", false)] {
        let certificate = format!("\"name\":\"mesh-{client}-client\"");
        assert_eq!(secrets.contains(&certificate), shown, "{client}");
    }
    assert!(secrets.contains("dns:ot-her"), "{}", *secrets);
}

#[test]
fn a_connection_without_ports_is_one_to_all_of_them() {
    let [named, all] = ["[{to: db, ports: [5432]}]", "[db]"].map(|connections| {
        let mesh = MESH.replace(
            "image: r.example/web}",
            &format!("image: r.example/web, connections: {connections}}}"),
        );
        let plan = compiled(&mesh, &images()).unwrap();
        let names = ["team/shop/web", "team/shop/db", "team/shop/secrets"];
        names.map(|name| session(&plan, name).to_text().to_string())
    });
    assert_eq!(named, all);
}

#[test]
fn hosts_outside_are_reached_by_tls_of_the_shield_or_of_the_program() {
    let mesh = |connections: &str| {
        MESH.replace(
            "image: r.example/web}",
            &format!("image: r.example/web, connections: [{connections}]}}"),
        )
    };
    let out = mesh(
        "db, {host: API.example.com, ports: [443, 8443], ca: ca.pem}, {host: '2001:db8::1', ports: [22], tls: program}",
    );
    let plan = compiled(&out, &images()).unwrap();
    let web = session(&plan, "team/shop/web");
    let environment = &web.services[0].environment;
    let value = |name: &str| {
        let name = format!("MSE_NETWORK_SHIELD_CLIENT_{name}");
        let found = environment.iter().find(|(one, _)| one.as_str() == name);
        found
            .and_then(|(_, value)| literal(value))
            .unwrap_or("none")
            .to_owned()
    };
    let rule = |number: u8| {
        ["", "_DESTINATION", "_SERVER_AUTH", "_IDENTITY"]
            .map(|part| value(&format!("{number}{part}")))
    };
    let (tls, bare) = ("file:/run/mesh/outside-2.pem", "none");
    assert_eq!(rule(2), ["protected", "TCP:api.example.com:443", tls, bare]);
    assert_eq!(rule(3)[1], "TCP:api.example.com:8443");
    assert_eq!(rule(4), ["unprotected", "TCP:[2001:db8::1]:22", bare, bare]);
    let file = web.images[0].injection_files.iter();
    let mut file = file.filter(|one| one.path.as_str() == "/run/mesh/outside-2.pem");
    assert!(file.next().is_some());
    let loud: Vec<_> = plan
        .warnings
        .iter()
        .filter(|one| one.contains("UNPROTECTED"))
        .collect();
    assert_eq!(loud.len(), 1, "{loud:?}");
    assert!(loud[0].contains("`[2001:db8::1]:22`"), "{loud:?}");

    assert!(
        refused(
            &mesh("{host: a.example, ports: [443], ca: other.pem}"),
            &images()
        )
        .contains("`other.pem` was not read")
    );
    assert!(
        refused(
            &mesh("{host: a.example, ports: [443], ca: ca.pem}, {host: a.example, ports: [443], tls: program}"),
            &images()
        )
        .contains("port 443 is named twice, differently")
    );
    let network = refused(&mesh("{network: 10.1.0.0/16, ports: [443]}"), &images());
    for part in [
        "`services[].connections[].network` of `web` is `10.1.0.0/16`",
        "name each host, as `{host: ",
    ] {
        assert!(network.contains(part), "{network}");
    }
    for (connection, expected) in [
        ("{host: a.example, ports: [443]}", "who speaks TLS"),
        ("{host: a.example, tls: program}", "needs its ports"),
        ("{host: a.example, ports: [1], tls: shield}", "`shield`"),
        (
            "{host: a.example, ports: [1], tls: program, ca: x}",
            "either the program",
        ),
        (
            "{host: db, ports: [1], tls: program}",
            "is a service of the mesh",
        ),
        ("{host: 'a b', ports: [1], tls: program}", "is no host"),
        (
            "{host: a.example, to: db, ports: [1]}",
            "leads to one service",
        ),
        ("{to: db, ca: ca.pem}", "`ca`"),
    ] {
        let outcome = crate::check_text(&mesh(connection), &Variables::new());
        let errors: Vec<_> = outcome.errors().map(|one| one.message.clone()).collect();
        assert!(
            errors.iter().any(|one| one.contains(expected)),
            "{connection}: {errors:?}"
        );
    }
}
