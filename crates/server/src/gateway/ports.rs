//! Loopback ports for apps.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::config::PortRange;

/// Listens on `wanted`, else on a port of the range that is not `kept` for another app, else on
/// any of the range.
pub(super) async fn bind(
    range: PortRange,
    wanted: Option<u16>,
    kept: &[u16],
) -> io::Result<(TcpListener, u16)> {
    let (fresh, used): (Vec<_>, Vec<_>) = match range {
        PortRange::Any => (vec![0], Vec::new()),
        PortRange::Within { first, last } => (first..=last).partition(|port| !kept.contains(port)),
    };
    let mut last_error = None;
    for port in wanted.into_iter().chain(fresh).chain(used) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                return Ok((listener, port));
            }
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wanted_port_comes_first_and_kept_ones_last() {
        // Three ports in a row that are free now; others may take them, hence the search.
        let first = loop {
            let (listener, port) = bind(PortRange::Any, None, &[]).await.unwrap();
            drop(listener);
            if let Some(last) = port.checked_add(2)
                && bind(PortRange::Within { first: last, last }, None, &[])
                    .await
                    .is_ok()
            {
                break port;
            }
        };
        let range = PortRange::Within {
            first,
            last: first + 2,
        };
        let (wanted, port) = bind(range, Some(first + 2), &[]).await.unwrap();
        assert_eq!(port, first + 2);
        // It is taken now, and the first is kept for another.
        let (_fresh, port) = bind(range, Some(first + 2), &[first]).await.unwrap();
        assert_eq!(port, first + 1);
        let (_kept, port) = bind(range, Some(first + 2), &[first]).await.unwrap();
        assert_eq!(port, first);
        bind(range, None, &[]).await.unwrap_err();
        drop(wanted);
        bind(range, None, &[]).await.unwrap();
    }
}
