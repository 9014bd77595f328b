//! `policy.machines` of a Meshfile.

use mse_session::{Hex, TeeKind};
use mse_yaml::{Code, Field, Fields};

use super::{Reader, parsed};
use crate::model::Machine;

pub(super) fn machines(r: &mut Reader, field: &Field<'_>) -> Option<Vec<Machine>> {
    let items = field.items(r);
    let read: Vec<_> = items.iter().map(|item| machine(r, item)).collect();
    read.into_iter().collect()
}

fn machine(r: &mut Reader, field: &Field<'_>) -> Option<Machine> {
    let mut fields = field.map(r)?;
    let kinds = [TeeKind::Tdx, TeeKind::Snp].map(|tee| (tee.as_str(), tee));
    let tee = fields
        .require(r, "tee")
        .and_then(|field| field.word(r, &kinds));
    let measurement = required(r, &mut fields, "measurement");
    let machine = match tee {
        Some(TeeKind::Tdx) => {
            let rtmr0 = parsed(r, fields.get("rtmr0"), Code::BadValue);
            let rtmr1 = required(r, &mut fields, "rtmr1");
            let rtmr2 = required(r, &mut fields, "rtmr2");
            (|| {
                Some(Machine::Tdx {
                    measurement: measurement?,
                    rtmr0: rtmr0?,
                    rtmr1: rtmr1?,
                    rtmr2: rtmr2?,
                })
            })()
        }
        Some(_) => measurement.map(|measurement| Machine::Snp { measurement }),
        None => {
            // They are no faults of their own.
            for register in ["rtmr0", "rtmr1", "rtmr2"] {
                fields.get(register);
            }
            None
        }
    };
    fields.finish(r);
    machine
}

fn required(r: &mut Reader, fields: &mut Fields<'_>, key: &'static str) -> Option<Hex<48>> {
    fields
        .require(r, key)
        .and_then(|field| field.parse(r, Code::BadValue))
}
