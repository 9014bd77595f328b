//! A server that is not the CAS, and treats strangers as the CAS does: what so many sockets cost this
//! machine, whoever's they are.

use std::collections::VecDeque;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::SEATS;

/// Listens until it is dropped.
pub(super) struct Elsewhere {
    port: String,
    serving: JoinHandle<()>,
}

impl Elsewhere {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        Ok(Self {
            port: listener.local_addr()?.port().to_string(),
            serving: tokio::spawn(serve(listener)),
        })
    }

    pub(super) fn port(&self) -> &str {
        &self.port
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Keeps the newest, as many as the CAS has seats for; the others go without farewell.
async fn serve(listener: TcpListener) {
    let mut seats: VecDeque<TcpStream> = VecDeque::with_capacity(SEATS);
    loop {
        // A stranger that is gone already does not count.
        let Ok((stranger, _)) = listener.accept().await else {
            continue;
        };
        if seats.len() == SEATS
            && let Some(oldest) = seats.pop_front()
        {
            let _ = oldest.set_zero_linger();
        }
        seats.push_back(stranger);
    }
}
