//! A link between two nodes that can be slow, lossy, narrow or cut: a relay of real QUIC packets.
//!
//! One node is bound to IPv4 loopback and the other to IPv6 loopback, so neither has a socket that could reach the
//! other: whatever addresses QUIC tells them, every packet goes through here, which the counters show as well. Inputs:
//! where the nodes are, [`Weather`]. Outputs: where the one finds the other, [`Counts`]. What it does not do: look into
//! packets.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The router of a narrow link holds this much and drops what is more.
const ROUTER_BYTES: u64 = 128 * 1024;

/// What happens to the packets of a link, the same both ways.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub delay: Duration,
    /// Each packet is later by a random part of this, so packets overtake each other.
    pub jitter: Duration,
    /// Of a hundred packets, how many are lost.
    pub loss: u32,
    /// Bytes a second; none is as many as come.
    pub rate: Option<u32>,
    pub cut: bool,
}

impl Weather {
    pub const FAIR: Self = Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0, rate: None, cut: false };
    pub const CUT: Self = Self { cut: true, ..Self::FAIR };
}

/// Of one direction, in bytes of QUIC packets.
#[derive(Debug, Default)]
pub struct Counts {
    taken: AtomicU64,
    passed: AtomicU64,
}

impl Counts {
    /// What the sender gave to the link.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What the link gave to the receiver.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

pub struct Link {
    weather: watch::Sender<Weather>,
    /// Where the node on IPv4 finds the other one.
    pub near: SocketAddr,
    pub there: Arc<Counts>,
    pub back: Arc<Counts>,
    _ways: JoinSet<()>,
}

impl Link {
    /// Joins the node at `four`, a port of 127.0.0.1, with that at `six`, a port of `::1`.
    pub async fn join(four: u16, six: u16, seed: u64) -> Self {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let far = Arc::new(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap());
        let (weather, watch) = watch::channel(Weather::FAIR);
        let four = (Arc::clone(&near), SocketAddr::from((Ipv4Addr::LOCALHOST, four)));
        let six = (Arc::clone(&far), SocketAddr::from((Ipv6Addr::LOCALHOST, six)));
        let (there, back) = (Arc::new(Counts::default()), Arc::new(Counts::default()));
        let mut ways = JoinSet::new();
        ways.spawn(Way::new(four.clone(), six.clone(), &watch, &there, seed).carry());
        ways.spawn(Way::new(six, four, &watch, &back, seed ^ u64::MAX).carry());
        Self { weather, near: near.local_addr().unwrap(), there, back, _ways: ways }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Bytes that both ends gave to the link.
    pub fn bytes(&self) -> u64 {
        self.there.taken() + self.back.taken()
    }
}

/// A socket of the link, and the node on its side.
type End = (Arc<UdpSocket>, SocketAddr);

/// One direction.
struct Way {
    from: End,
    to: End,
    weather: watch::Receiver<Weather>,
    counts: Arc<Counts>,
    rng: StdRng,
    /// Packets under way, by when they arrive; the number keeps the order of those that arrive at once.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    number: u64,
    /// When a narrow link has sent what it holds.
    free: Instant,
}

impl Way {
    fn new(from: End, to: End, weather: &watch::Receiver<Weather>, counts: &Arc<Counts>, seed: u64) -> Self {
        Self {
            from,
            to,
            weather: weather.clone(),
            counts: Arc::clone(counts),
            rng: StdRng::seed_from_u64(seed),
            waiting: BTreeMap::new(),
            number: 0,
            free: Instant::now(),
        }
    }

    async fn carry(mut self) {
        let (from, source) = self.from.clone();
        let mut packet = vec![0; 65536];
        loop {
            let due = self.waiting.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                received = from.recv_from(&mut packet) => {
                    // Nothing but the node on this side may use the link.
                    if let Ok((length, sender)) = received && sender == source {
                        self.take(&packet[..length]).await;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let later = self.waiting.split_off(&(Instant::now(), 0));
                    for packet in std::mem::replace(&mut self.waiting, later).into_values() {
                        self.pass(&packet).await;
                    }
                }
            }
        }
    }

    async fn take(&mut self, packet: &[u8]) {
        let bytes = packet.len() as u64;
        self.counts.taken.fetch_add(bytes, Ordering::Relaxed);
        let Weather { delay, jitter, loss, rate, cut } = *self.weather.borrow();
        let lost = self.rng.random_range(0..100) < loss;
        let late = jitter.mul_f64(self.rng.random());
        if cut || lost {
            return;
        }
        let now = Instant::now();
        let mut sent = now;
        if let Some(rate) = rate {
            let rate = f64::from(rate);
            let begin = self.free.max(now);
            if (begin - now).as_secs_f64() * rate > ROUTER_BYTES as f64 {
                return;
            }
            self.free = begin + Duration::from_secs_f64(bytes as f64 / rate);
            sent = self.free;
        }
        let due = sent + delay + late;
        if due == now && self.waiting.is_empty() {
            self.pass(packet).await;
        } else {
            self.number += 1;
            self.waiting.insert((due, self.number), packet.to_vec());
        }
    }

    async fn pass(&self, packet: &[u8]) {
        let (socket, target) = &self.to;
        // A node that is down takes nothing, as on any network.
        if socket.send_to(packet, target).await.is_ok() {
            self.counts.passed.fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
    }
}
