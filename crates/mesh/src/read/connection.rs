//! `connections` of a service.

use mse_yaml::{Code, Field, Fields};

use super::{Reader, list, ports};
use crate::model::{Connection, Destination, HostTls, OutsideHost};

/// `redis`, `{to: redis, ports: [6379]}`, `{network: 10.0.0.0/8, ports: [443]}`,
/// `{host: api.example.com, ports: [443], tls: program}` or `{host: …, ports: …, ca: ca.pem}`.
pub(super) fn connection(r: &mut Reader, field: &Field<'_>) -> Option<Connection> {
    if !field.is_map() {
        return Some(Connection {
            to: Destination::Service(field.parse(r, Code::BadName)?),
            ports: Vec::new(),
        });
    }
    let mut fields = field.map(r)?;
    let keys = ["to", "network", "host"].map(|key| fields.get(key));
    let to = match keys {
        [Some(field), None, None] => field.parse(r, Code::BadName).map(Destination::Service),
        [None, Some(field), None] => field.parse(r, Code::BadValue).map(Destination::Network),
        [None, None, Some(host)] => outside(r, &mut fields, &host, field).map(Destination::Host),
        _ => {
            r.conflict(
                &field.spot,
                "a connection leads to one service, one host or one network",
                "write `to: SERVICE`, `host: api.example.com` or `network: 10.0.0.0/8`",
            );
            None
        }
    };
    let ports = list(r, fields.get("ports"), ports::number);
    fields.finish(r);
    let (to, mut ports) = (to?, ports?);
    ports.sort_unstable();
    ports.dedup();
    if !matches!(to, Destination::Service(_)) && ports.is_empty() {
        r.report.error_with(
            Code::MissingKey,
            &field.spot,
            "a connection that leaves the mesh needs its ports",
            "add `ports: […]`",
        );
        return None;
    }
    Some(Connection { to, ports })
}

/// Nothing leaves in the clear because a word is missing: who speaks TLS is said.
fn outside(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    host: &Field<'_>,
    whole: &Field<'_>,
) -> Option<OutsideHost> {
    let tls = match (fields.get("tls"), fields.get("ca")) {
        (Some(field), None) => field.word(r, &[("program", ())]).map(|()| HostTls::Program),
        (None, Some(field)) => field.line(r, 4096).map(HostTls::Shield),
        (None, None) => {
            r.report.error_with(
                Code::MissingKey,
                &whole.spot,
                "it is not said who speaks TLS with this host",
                "`ca: FILE.pem`: the shield does, and verifies the host by these certificates; `tls: program`: the program does, and the shield passes on what it sends",
            );
            None
        }
        (Some(field), Some(_)) => {
            r.conflict(
                &field.spot,
                "either the program speaks TLS, or the shield does, by `ca`",
                "remove `tls` or `ca`",
            );
            None
        }
    };
    let host = host.parse(r, Code::BadValue);
    Some(OutsideHost {
        host: host?,
        tls: tls?,
    })
}
