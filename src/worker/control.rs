//! A worker's link to its coordinator: registers, holds the control stream, keeps the heartbeat
//! going, and begins again whenever one of these breaks.
//!
//! What it is told goes to the supervisor as it came; what is known of the worker comes from there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::heartbeat::{self, Pulse};
use super::supervisor::{View, tell};
use crate::client::{Client, ClientConfig, ClientError};
use crate::config::WorkerConfig;
use crate::protocol::{ControlCommand, RegisterReply, RegisterWorker, routes};

/// The link of one worker.
#[derive(Clone, Debug)]
pub(super) struct Link {
    config: Arc<WorkerConfig>,
    client: Client,
    address: SocketAddr,
    view: watch::Receiver<View>,
    commands: mpsc::Sender<ControlCommand>,
}

impl Link {
    /// So many registrations in a row that did not last are worth a word.
    const SUSPICIOUS: u32 = 4;

    /// A link, unless the worker stands alone.
    ///
    /// # Errors
    /// Where no client can be made of the configuration.
    pub(super) fn try_new(
        config: &Arc<WorkerConfig>,
        address: SocketAddr,
        view: watch::Receiver<View>,
        commands: mpsc::Sender<ControlCommand>,
    ) -> Result<Option<Self>, ClientError> {
        let Some(url) = config.coordinator.clone() else { return Ok(None) };
        let token = config.access.own_token().map(str::to_owned);
        let client = Client::try_new(&ClientConfig { url, token, timeout: WorkerConfig::LINK_TIMEOUT })?;
        Ok(Some(Self { config: Arc::clone(config), client, address, view, commands }))
    }

    /// Holds the link for ever.
    pub(super) async fn hold(self) {
        let mut pause = Backoff::default();
        let mut complaint = String::new();
        let mut short = 0;
        let mut pulse = Pulse::new(self.view.clone());
        loop {
            let ended = match self.register().await {
                Err(error) => error.to_string(),
                Ok(reply) => {
                    if !complaint.is_empty() {
                        tell(&format!("registered with {}", self.client.url()));
                        complaint.clear();
                    }
                    tracing::info!(coordinator = self.client.url(), "registered");
                    let ended = self.session(&reply, &mut pulse).await;
                    tracing::warn!(reason = ended.reason, "the link to the coordinator broke");
                    // Coordinators come and go; it is worth a word only if it does not come back, or if
                    // two workers keep taking each other's place.
                    short = if ended.lasted { 0 } else { short + 1 };
                    if ended.lasted {
                        pause = Backoff::default();
                    } else if short == Self::SUSPICIOUS {
                        let (url, id) = (self.client.url(), &self.config.id);
                        let reason = ended.reason;
                        tell(&format!("{url} keeps ending the link ({reason}); is another worker called {id} too?"));
                    }
                    tokio::time::sleep(pause.next()).await;
                    continue;
                }
            };
            if complaint != ended {
                tell(&format!("{ended}; {} serves and keeps trying to register", self.config.id));
                complaint = ended;
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    async fn register(&self) -> Result<RegisterReply, ClientError> {
        let url = self.own_url().await;
        let view = self.view.borrow().clone();
        let me = RegisterWorker {
            worker_id: self.config.id.clone(),
            url,
            capabilities: view.report.capabilities,
            capacity: self.config.capacity as u32,
            state: view.state,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: view.pid,
            faults: view.faults,
            fault_injection: self.config.fault_injection,
        };
        self.client.call(Method::POST, routes::WORKERS, Some(&me)).await
    }

    /// One registration, until its control stream ends or a heartbeat finds that it is void.
    async fn session(&self, reply: &RegisterReply, pulse: &mut Pulse) -> Ended {
        let path = routes::worker(routes::WORKER_CONTROL, &self.config.id);
        let mut control = match self.client.stream::<ControlCommand>(&path).await {
            Ok(control) => control,
            Err(error) => return Ended { reason: error.to_string(), lasted: false },
        };
        let beaten = pulse.beats();
        let reason = {
            let mut beats = std::pin::pin!(heartbeat::beat(&self.client, &self.config, reply, pulse));
            loop {
                tokio::select! {
                    command = control.next() => match command {
                        Some(Ok(command)) => {
                            // The supervisor lives as long as this task.
                            let _ = self.commands.send(command).await;
                        }
                        Some(Err(reason)) => break reason,
                        None => break "the coordinator ended the control stream".to_owned(),
                    },
                    reason = &mut beats => break reason,
                }
            }
        };
        Ended { reason, lasted: pulse.beats() > beaten + 1 }
    }

    /// Leaves the fleet.
    pub(super) async fn leave(&self) {
        let path = routes::worker(routes::WORKER, &self.config.id);
        let left = tokio::time::timeout(WorkerConfig::LEAVE_TIMEOUT, self.client.send(Method::DELETE, &path, None));
        match left.await {
            Ok(Ok(answer)) => tracing::info!(status = answer.status.as_u16(), "left the coordinator"),
            Ok(Err(error)) => tracing::warn!(%error, "could not leave the coordinator"),
            Err(_) => tracing::warn!("could not leave the coordinator in time"),
        }
    }

    /// How the coordinator reaches this worker.
    async fn own_url(&self) -> String {
        if let Some(url) = &self.config.advertise {
            return url.clone();
        }
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // Listening everywhere is no address. The one to give is that of the interface which
            // leads to the coordinator; connecting a datagram socket finds it, and sends nothing.
            let coordinator = self.client.url().trim_start_matches("http://").to_owned();
            let coordinator = if coordinator.contains(':') { coordinator } else { format!("{coordinator}:80") };
            let found = async {
                let socket = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).await?;
                socket.connect(coordinator).await?;
                socket.local_addr()
            };
            match found.await {
                Ok(local) => address.set_ip(local.ip()),
                Err(error) => tracing::warn!(%error, "no way to the coordinator is known; say --advertise"),
            }
        }
        format!("http://{address}")
    }
}

/// How a registration ended.
struct Ended {
    reason: String,
    /// It held for more than a moment.
    lasted: bool,
}

/// Pauses that double, with some chance in them so that a whole fleet does not dial at once.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let doubled = WorkerConfig::RECONNECT_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(WorkerConfig::RECONNECT_MAX).mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= WorkerConfig::RECONNECT_MIN && pauses[0] >= WorkerConfig::RECONNECT_MIN / 2);
        assert!(pauses.iter().all(|pause| *pause <= WorkerConfig::RECONNECT_MAX));
        assert!(pauses[19] >= WorkerConfig::RECONNECT_MAX / 2);
    }
}
