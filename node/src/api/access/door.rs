//! The way from an accepted stream to a connection.
//!
//! Purpose: decide by the listener how its callers prove who they are, and make TLS of a stream where it does. A
//! handshake has a time limit, and of too many at once the oldest is given up: whoever begins one and says nothing
//! holds a small part of the connections for a short time and stops nobody. Inputs: streams. Outputs: streams with
//! their [`Visitor`]. What it does not do: accept; speak HTTP, but for one sentence to who speaks it without TLS.

use super::Access;
use super::visitor::{Certified, Refusal, Visitor};
use crate::config::{ApiConfig, Listen};
use crate::transport::der;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longest handshake, if a header may not take even less.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Handshakes at once, as a part of the connections: one in so many.
const HANDSHAKE_SHARE: usize = 4;

/// What every TLS connection begins with: the type of a handshake record (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The answer to a caller without TLS; most who get it speak HTTP.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 38\r\nconnection: close\r\n\r\n\
    this port speaks TLS: call it by https";

/// Who is refused has this long to take the answer.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// How one listener lets callers in.
#[derive(Debug)]
pub(in crate::api) enum Door {
    /// As they are.
    Plain(Visitor),
    /// Over TLS.
    Tls(Arc<TlsDoor>),
}

/// A stream's way through a door.
pub(in crate::api) enum Entry {
    /// As it is.
    Plain(Visitor),
    /// By a handshake.
    Tls(Turn),
}

impl Door {
    /// The door of a listener. `access`: none when there is nothing by which anyone could prove anything.
    pub(in crate::api) fn of(listen: &Listen, config: &ApiConfig, access: Option<&Arc<Access>>) -> Self {
        let Some(access) = access.filter(|_| config.access.guards(listen)) else { return Self::Plain(Visitor::Anyone) };
        match listen {
            Listen::Tcp(_) if config.access.tls.is_some() => Self::Tls(Arc::new(TlsDoor {
                access: Arc::clone(access),
                limit: config.header_read_timeout.min(HANDSHAKE_LIMIT),
                handshakes: Handshakes::new((config.max_connections / HANDSHAKE_SHARE).max(1)),
            })),
            Listen::Tcp(_) | Listen::Unix(_) => Self::Plain(access.without_certificate()),
        }
    }

    /// The way of the stream that was accepted just now. To be asked in the order in which streams are accepted: which
    /// of too many handshakes is the oldest is decided here.
    pub(in crate::api) fn open(&self) -> Entry {
        match self {
            Self::Plain(visitor) => Entry::Plain(visitor.clone()),
            Self::Tls(door) => Entry::Tls(Turn::begin(Arc::clone(door))),
        }
    }
}

/// A door that speaks TLS.
#[derive(Debug)]
pub(in crate::api) struct TlsDoor {
    access: Arc<Access>,
    limit: Duration,
    handshakes: Handshakes,
}

impl TlsDoor {
    /// The error is none for a caller who went without a word, as probes of a port do.
    async fn handshake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Visitor), Option<Refusal>> {
        let mut first = [0];
        if stream.peek(&mut first).await.map_err(|_| None)? == 0 {
            return Err(None);
        }
        if first != [HANDSHAKE_RECORD] {
            farewell(stream, SPEAK_TLS).await;
            return Err(Some(Refusal::PlainText));
        }
        let server = self.access.rules.borrow().server.clone().ok_or(Refusal::Handshake)?;
        let stream = match TlsAcceptor::from(server).accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                // The alert that says why was sent.
                farewell(stream, b"").await;
                return Err(Some(reason(&error)));
            }
        };
        let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let visitor = match chain.filter(|chain| !chain.is_empty()) {
            None => self.access.without_certificate(),
            Some(chain) => {
                let not_after = der::fields(&chain[0]).ok_or(Refusal::Certificate)?.not_after;
                Visitor::Certified(Arc::new(Certified::new(Arc::clone(&self.access), chain, not_after)))
            }
        };
        Ok((stream, visitor))
    }
}

/// Sends the last bytes of a connection, and reads what the caller still sends: a connection that is closed with unread
/// bytes is reset, and the answer with it.
async fn farewell(mut stream: TcpStream, last: &[u8]) {
    let taken = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not wait for the answer has what he wants.
    let _ = tokio::time::timeout(FAREWELL_LIMIT, taken).await;
}

fn reason(error: &io::Error) -> Refusal {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Refusal::Certificate,
        Some(_) | None => Refusal::Handshake,
    }
}

/// The handshakes under way at one door.
#[derive(Debug)]
struct Handshakes {
    most: usize,
    running: Mutex<Running>,
}

/// By the order in which they began.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    given_up: BTreeMap<u64, CancellationToken>,
}

impl Handshakes {
    fn new(most: usize) -> Self {
        Self { most, running: Mutex::default() }
    }

    /// Begins one more, and gives up the oldest of too many; its number, and what is cancelled when it is given up.
    fn begin(&self) -> (u64, CancellationToken) {
        let mut running = self.running();
        let number = running.next;
        running.next += 1;
        let given_up = CancellationToken::new();
        running.given_up.insert(number, given_up.clone());
        if running.given_up.len() > self.most
            && let Some((_, oldest)) = running.given_up.pop_first()
        {
            oldest.cancel();
        }
        (number, given_up)
    }

    fn end(&self, number: u64) {
        self.running().given_up.remove(&number);
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing in here can be left half-done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handshake under way; over when dropped.
pub(in crate::api) struct Turn {
    door: Arc<TlsDoor>,
    number: u64,
    given_up: CancellationToken,
}

impl Turn {
    fn begin(door: Arc<TlsDoor>) -> Self {
        let (number, given_up) = door.handshakes.begin();
        Self { door, number, given_up }
    }

    /// Makes TLS of a stream. None when it did not come to that, which was counted.
    pub(in crate::api) async fn enter(self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Visitor)> {
        let entered = tokio::select! {
            biased;
            () = self.given_up.cancelled() => Err(Some(Refusal::Crowded)),
            entered = tokio::time::timeout(self.door.limit, self.door.handshake(stream)) => {
                entered.unwrap_or(Err(Some(Refusal::Slow)))
            }
        };
        match entered {
            Ok(entered) => Some(entered),
            Err(refusal) => {
                refusal.map(|refusal| self.door.access.refused(refusal));
                None
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.door.handshakes.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_handshakes_the_oldest_is_given_up_and_those_that_ended_do_not_count() {
        let handshakes = Handshakes::new(2);
        let [(_, first), (ended, _)] = [(); 2].map(|()| handshakes.begin());
        handshakes.end(ended);
        let (_, second) = handshakes.begin();
        assert!(!first.is_cancelled());
        let (_, third) = handshakes.begin();
        assert!(first.is_cancelled());
        assert!(!second.is_cancelled() && !third.is_cancelled());
        assert_eq!(handshakes.running().given_up.len(), 2);
    }

    #[test]
    fn the_answer_to_a_caller_without_tls_has_the_length_it_says() {
        let text = std::str::from_utf8(SPEAK_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
    }
}
