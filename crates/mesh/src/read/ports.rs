//! Ports and signs of health.

use std::num::NonZeroU16;

use mse_yaml::{Code, Field, Fields, optional};

use super::Reader;
use crate::model::{Health, Port, Probe, Seconds};

/// A number of a port.
pub(super) fn number(r: &mut Reader, field: &Field<'_>) -> Option<NonZeroU16> {
    let number = field.number::<u16>(r)?;
    let port = NonZeroU16::new(number);
    if port.is_none() {
        r.bad_value(&field.spot, "0 is no port", "write one from 1 to 65535");
    }
    port
}

/// `8080`, or `{port: 8080, name: http}`.
pub(super) fn port(r: &mut Reader, field: &Field<'_>) -> Option<Port> {
    if !field.is_map() {
        let port = number(r, field)?;
        return Some(Port { port, name: None });
    }
    let mut fields = field.map(r)?;
    let port = fields
        .require(r, "port")
        .and_then(|field| number(r, &field));
    let name = optional(fields.get("name"), |field| name(r, &field));
    fields.finish(r);
    Some(Port {
        port: port?,
        name: name?,
    })
}

/// What a port is for.
pub(super) fn name(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let text = field.line(r, 256)?;
    let is_name = text.len() <= 15
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if !is_name {
        r.report.error(
            Code::BadName,
            &field.spot,
            "the name of a port has at most 15 characters of `[a-z0-9-]`, one of them a letter",
        );
        return None;
    }
    Some(text)
}

/// `{http: {path: /health, port: 8080}}` or `{tcp: 6379}`.
pub(super) fn health(r: &mut Reader, field: &Field<'_>) -> Option<Health> {
    let mut fields = field.map(r)?;
    let health = sign(r, &mut fields, field);
    fields.finish(r);
    health
}

/// A sign of health, and how it is looked at.
pub(super) fn probe(r: &mut Reader, field: &Field<'_>) -> Option<Probe> {
    let mut fields = field.map(r)?;
    let check = sign(r, &mut fields, field);
    let period = optional(fields.get("period"), |field| seconds(r, &field));
    let timeout = optional(fields.get("timeout"), |field| seconds(r, &field));
    let failures = optional(fields.get("failures"), |field| {
        let failures = field.number::<u32>(r)?;
        if !(1..=1000).contains(&failures) {
            r.bad_value(&field.spot, "`failures` is from 1 to 1000", "write 3");
            return None;
        }
        Some(failures)
    });
    fields.finish(r);
    Some(Probe {
        check: check?,
        period: period?,
        timeout: timeout?,
        failures: failures?,
    })
}

fn sign(r: &mut Reader, fields: &mut Fields<'_>, whole: &Field<'_>) -> Option<Health> {
    let (http, tcp) = (fields.get("http"), fields.get("tcp"));
    match (http, tcp) {
        (Some(http), None) => {
            let mut fields = http.map(r)?;
            let path = fields
                .require(r, "path")
                .and_then(|field| field.parse(r, Code::BadValue));
            let port = fields
                .require(r, "port")
                .and_then(|field| number(r, &field));
            fields.finish(r);
            Some(Health::Http {
                path: path?,
                port: port?,
            })
        }
        (None, Some(tcp)) => {
            if !tcp.is_map() {
                return Some(Health::Tcp {
                    port: number(r, &tcp)?,
                });
            }
            let mut fields = tcp.map(r)?;
            let port = fields
                .require(r, "port")
                .and_then(|field| number(r, &field));
            fields.finish(r);
            Some(Health::Tcp { port: port? })
        }
        (http, _) => {
            let message = match http {
                Some(_) => "`http` and `tcp` are both there",
                None => "there is neither `http` nor `tcp`",
            };
            let help = "write `http: {path: /health, port: 8080}` or `tcp: 8080`";
            r.conflict(&whole.spot, message, help);
            None
        }
    }
}

/// A time: `30`, or as sessions write it, `30s`.
fn seconds(r: &mut Reader, field: &Field<'_>) -> Option<Seconds> {
    let text = field.text(r)?;
    let digits = text.strip_suffix('s').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits
        .parse()
        .ok()
        .filter(|_| is_number)
        .and_then(Seconds::new);
    if seconds.is_none() {
        r.bad_value(
            &field.spot,
            "a time is from one second to a day",
            "write whole seconds, such as `10s`",
        );
    }
    seconds
}
