//! Where, in its own network, a program finds the destinations of its policy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::policy::{ClientRule, Guard, Host, Policy};

/// The network of a program, which has a loopback interface and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// Where the shield listens for the program: one address for each client rule that refuses
    /// nothing, in the policy's order.
    pub listen: Vec<SocketAddr>,
    /// What the loopback interface needs beside its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Names, and the addresses that they stand for.
    pub hosts: Vec<(String, IpAddr)>,
}

impl Layout {
    /// A destination that is an address keeps it; each name gets an address of its own.
    pub fn of(policy: &Policy) -> Self {
        let mut layout = Self::default();
        let mut names = BTreeMap::new();
        for rule in open_clients(policy) {
            let address = match &rule.destination.host {
                Host::Address(address) => {
                    if !address.is_loopback() && !layout.addresses.contains(address) {
                        layout.addresses.push(*address);
                    }
                    *address
                }
                host if host.is_local() => Ipv4Addr::LOCALHOST.into(),
                Host::Name(name) => {
                    let next = names.len();
                    *names
                        .entry(name.clone())
                        .or_insert_with(|| address_of(next))
                }
            };
            layout
                .listen
                .push(SocketAddr::new(address, rule.destination.port));
        }
        layout.hosts.extend(names);
        layout
    }
}

/// The client rules that have a listener.
pub(crate) fn open_clients(policy: &Policy) -> impl Iterator<Item = &ClientRule> {
    let clients = policy.clients.iter();
    clients.filter(|rule| rule.guard != Guard::Refused)
}

/// 127.77.0.1 and those after it: on the loopback interface as 127.0.0.1 is, and nobody's habit.
fn address_of(index: usize) -> IpAddr {
    // There are fewer rules than fit into one byte.
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 77, 0, last).into()
}
