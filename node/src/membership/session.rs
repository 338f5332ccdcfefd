//! One `Membership.Join` stream, from hello to its end.
//!
//! Purpose: prove who we are, take what the operator says, tell it how many peers we hold. Inputs: target, token and
//! identity, then messages. Outputs: [`News`] to the supervisor. What it does not do: connect again, or act on news.
//! The order on the stream is in `peat/membership/v1/membership.proto`.

use super::PeerSet;
use super::source::{Target, Token};
use crate::config::relay_url;
use crate::handle::NodeHandle;
use crate::identity::Identity;
use crate::transport::VERSIONS;
use peat_node_core::ids::PeerId;
use peat_proto::membership::join_request::Message as Up;
use peat_proto::membership::join_response::Message as Down;
use peat_proto::membership::membership_client::MembershipClient;
use peat_proto::membership::{self as proto, JoinRequest, JoinResponse};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status, Streaming};

/// TCP and TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Each answer up to `Joined`; the operator asks the API server for two of them.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// A dead operator is noticed after these two.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Messages up that wait: hello, proof, and one link state at a time.
const UP: usize = 4;

/// A link state goes up at most this often.
const LINK_EVERY: Duration = Duration::from_secs(10);

/// Signed before everything else, so that the signature can be used for nothing else.
const PROOF_DOMAIN: &[u8] = b"peat join v1\0";

/// What the operator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Joined { certificate: Vec<u8>, trust_bundle: Vec<Vec<u8>>, peers: PeerSet, grace: Duration },
    Peers { upserted: PeerSet, removed: BTreeSet<PeerId> },
    Renewed { certificate: Vec<u8>, trust_bundle: Vec<Vec<u8>> },
    Revoked(BTreeSet<PeerId>),
}

/// A stream that did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the membership URL or its certificates cannot be used")]
    Target(#[source] tonic::transport::Error),
    #[error("connect to the operator")]
    Connect(#[source] tonic::transport::Error),
    #[error("the operator answered {code}: {text}")]
    Refused { code: &'static str, text: String },
    #[error("the operator did not answer in time")]
    Silent,
    #[error("the operator sent a message out of order")]
    Order,
    #[error("the operator ended the stream")]
    Ended,
}

impl SessionError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Target(_) => "bad_target",
            Self::Connect(_) => "unreachable",
            Self::Refused { code, .. } => code,
            Self::Silent => "silent",
            Self::Order => "out_of_order",
            Self::Ended => "ended",
        }
    }
}

/// Who joins.
#[derive(Debug)]
pub(super) struct Joiner<'a> {
    pub(super) identity: &'a Identity,
    pub(super) mesh_uid: &'a str,
    pub(super) pod_uid: &'a str,
    /// Where peers reach us: `ip:port`.
    pub(super) addresses: Vec<String>,
    /// Where those meet us who cannot.
    pub(super) relay: Option<String>,
    /// For the number of connected peers.
    pub(super) node: &'a NodeHandle,
}

/// A stream on which `Joined` has come.
pub(super) struct Session {
    up: mpsc::Sender<JoinRequest>,
    down: Streaming<JoinResponse>,
    node: NodeHandle,
    /// The last number of connected peers that went up.
    told: Option<u32>,
    tick: Interval,
}

impl Joiner<'_> {
    /// Opens a stream and proves the key. Gives the stream and the first news, which is `Joined`.
    pub(super) async fn join(&self, target: &Target, token: &Token) -> Result<(Session, News), SessionError> {
        let mut client = MembershipClient::new(connect(target).await?);
        let (up, requests) = mpsc::channel(UP);
        push(&up, Up::Hello(self.hello(token))).await?;
        let opening = timeout(ANSWER_LIMIT, client.join(ReceiverStream::new(requests)));
        let down = opening.await.map_err(|_| SessionError::Silent)?.map_err(refused)?.into_inner();
        let mut session = Session { up, down, node: self.node.clone(), told: None, tick: interval(LINK_EVERY) };
        let Down::Challenge(challenge) = session.answer().await? else { return Err(SessionError::Order) };
        let statement = statement(&challenge.nonce, token, self.mesh_uid, self.pod_uid);
        let proof = proto::Proof {
            signature: self.identity.sign(&statement).to_vec(),
            addresses: self.addresses.clone(),
            relay_url: self.relay.clone().unwrap_or_default(),
        };
        push(&session.up, Up::Proof(proof)).await?;
        let first = session.answer().await?;
        match news(first)? {
            joined @ News::Joined { .. } => Ok((session, joined)),
            News::Peers { .. } | News::Renewed { .. } | News::Revoked(_) => Err(SessionError::Order),
        }
    }

    fn hello(&self, token: &Token) -> proto::Hello {
        let (min, max) = VERSIONS;
        proto::Hello {
            mesh_uid: self.mesh_uid.to_owned(),
            token: token.expose().to_owned(),
            pod_uid: self.pod_uid.to_owned(),
            endpoint_id: self.identity.id().0.to_vec(),
            node_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: min.into(),
            protocol_max: max.into(),
        }
    }
}

impl Session {
    /// Waits for news, and meanwhile tells how many peers are connected when that changes.
    pub(super) async fn next(&mut self) -> Result<News, SessionError> {
        loop {
            tokio::select! {
                message = self.down.message() => match message {
                    Ok(Some(JoinResponse { message: Some(message) })) => return news(message),
                    // A kind of message that a later operator sends.
                    Ok(Some(JoinResponse { message: None })) => {}
                    Ok(None) => return Err(SessionError::Ended),
                    Err(status) => return Err(refused(status)),
                },
                _ = self.tick.tick() => self.tell_link().await?,
            }
        }
    }

    async fn tell_link(&mut self) -> Result<(), SessionError> {
        let now = u32::try_from(self.node.status().connected_peers).unwrap_or(u32::MAX);
        if self.told != Some(now) {
            self.told = Some(now);
            push(&self.up, Up::Link(proto::LinkState { connected_peers: now })).await?;
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<Down, SessionError> {
        match timeout(ANSWER_LIMIT, self.down.message()).await {
            Ok(Ok(Some(JoinResponse { message: Some(message) }))) => Ok(message),
            Ok(Ok(Some(JoinResponse { message: None }))) => Err(SessionError::Order),
            Ok(Ok(None)) => Err(SessionError::Ended),
            Ok(Err(status)) => Err(refused(status)),
            Err(_) => Err(SessionError::Silent),
        }
    }
}

async fn connect(target: &Target) -> Result<Channel, SessionError> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&target.ca));
    let endpoint = Endpoint::from_shared(target.url.clone()).and_then(|endpoint| endpoint.tls_config(tls));
    let endpoint = endpoint.map_err(SessionError::Target)?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true);
    timeout(2 * CONNECT_LIMIT, endpoint.connect())
        .await
        .map_err(|_| SessionError::Silent)?
        .map_err(SessionError::Connect)
}

async fn push(up: &mpsc::Sender<JoinRequest>, message: Up) -> Result<(), SessionError> {
    up.send(JoinRequest { message: Some(message) }).await.map_err(|_| SessionError::Ended)
}

fn statement(nonce: &[u8], token: &Token, mesh_uid: &str, pod_uid: &str) -> Vec<u8> {
    let token = Sha256::digest(token.expose().as_bytes());
    [PROOF_DOMAIN, nonce, &token, mesh_uid.as_bytes(), pod_uid.as_bytes()].concat()
}

fn news(message: Down) -> Result<News, SessionError> {
    match message {
        Down::Challenge(_) => Err(SessionError::Order),
        Down::Joined(joined) => Ok(News::Joined {
            certificate: joined.certificate,
            trust_bundle: joined.trust_bundle,
            peers: peers(joined.peers),
            grace: Duration::from_secs(joined.expiry_grace_seconds),
        }),
        Down::Peers(delta) => Ok(News::Peers { upserted: peers(delta.upserted), removed: ids(&delta.removed) }),
        Down::Renewal(renewal) => {
            Ok(News::Renewed { certificate: renewal.certificate, trust_bundle: renewal.trust_bundle })
        }
        Down::Revocation(revocation) => Ok(News::Revoked(ids(&revocation.endpoint_ids))),
    }
}

/// Entries with an id of another length than 32 bytes are left out: they can be nobody. A relay is one more address, if
/// it is the URL of one.
fn peers(peers: Vec<proto::Peer>) -> PeerSet {
    let known = |peer: proto::Peer| {
        let relay = relay_url(&peer.relay_url).ok().map(|url| url.to_string());
        Some((id(&peer.endpoint_id)?, peer.addresses.into_iter().chain(relay).collect()))
    };
    peers.into_iter().filter_map(known).collect()
}

fn ids(ids: &[Vec<u8>]) -> BTreeSet<PeerId> {
    ids.iter().filter_map(|bytes| id(bytes)).collect()
}

fn id(bytes: &[u8]) -> Option<PeerId> {
    bytes.try_into().ok().map(PeerId)
}

fn refused(status: Status) -> SessionError {
    let code = match status.code() {
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::FailedPrecondition => "failed_precondition",
        Code::Unavailable => "unavailable",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Unimplemented => "unimplemented",
        Code::InvalidArgument => "invalid_argument",
        Code::NotFound => "not_found",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => "other",
    };
    SessionError::Refused { code, text: status.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::source;

    #[test]
    fn the_statement_is_what_the_proto_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "token").unwrap();
        let token = source::token(file.path()).unwrap();
        let hash: [u8; 32] = Sha256::digest(b"token").into();
        let expected = [b"peat join v1\0", &[7; 32][..], &hash, b"mesh", b"pod"].concat();
        assert_eq!(statement(&[7; 32], &token, "mesh", "pod"), expected);
    }

    #[test]
    fn an_id_of_another_length_is_nobody() {
        let peer = |bytes: usize| proto::Peer { endpoint_id: vec![1; bytes], ..Default::default() };
        assert_eq!(peers(vec![peer(31), peer(32), peer(33), peer(0)]).len(), 1);
        assert_eq!(ids(&[vec![2; 32], vec![]]).len(), 1);
    }

    #[test]
    fn a_second_challenge_is_out_of_order() {
        assert!(matches!(news(Down::Challenge(proto::Challenge::default())), Err(SessionError::Order)));
    }
}
