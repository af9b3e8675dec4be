//! The worker's port: chosen once, and kept over restarts of the serving process.
//!
//! The supervisor binds a socket that never listens, and holds it. On Linux a second socket may bind
//! the same address as long as both ask for `SO_REUSEADDR` and only one listens: so the serving
//! process can listen there, nobody else gets the port while that is away (not even as the near end
//! of an outgoing connection), and whoever connects meanwhile is refused at once instead of waiting in
//! a backlog that nobody serves. Elsewhere the port is chosen in the same way and not held.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use tokio::net::TcpSocket;

/// A port, and what holds it.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    _held: Option<TcpSocket>,
}

impl Port {
    /// Takes the port, or a free one for port 0.
    ///
    /// # Errors
    /// Why it can't be had, and what to do.
    pub(super) fn take(listen: SocketAddr) -> anyhow::Result<Self> {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => anyhow!(
                "port {} on {} is in use by another process; choose another with --port (0 takes a free one)",
                listen.port(),
                listen.ip()
            ),
            ErrorKind::AddrNotAvailable => {
                anyhow!("{} is not an address of this machine; choose one with --host", listen.ip())
            }
            ErrorKind::PermissionDenied => {
                anyhow!("port {} needs privileges; choose one above 1023 with --port", listen.port())
            }
            _ => anyhow::Error::new(error).context(format!("can't listen on {listen}")),
        })?;
        let address = socket.local_addr().context("can't tell which port was taken")?;
        Ok(Self { address, _held: cfg!(target_os = "linux").then_some(socket) })
    }

    /// Where the serving process listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_port_refuses_connections_and_can_still_be_listened_on() {
        let port = Port::take(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let refused = tokio::net::TcpStream::connect(port.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for _ in 0..2 {
            let listener = crate::worker::api::bind(port.address()).unwrap();
            let (connected, accepted) = tokio::join!(tokio::net::TcpStream::connect(port.address()), listener.accept());
            drop((connected.unwrap(), accepted.unwrap()));
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let message = Port::take(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(message.contains("in use") && message.contains("--port"), "{message}");
    }
}
