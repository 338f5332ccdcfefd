//! Why a join is refused, and what the node is told.
//!
//! Output: a gRPC status whose code says whether trying again can help (UNAVAILABLE, FAILED_PRECONDITION) or not, as
//! the proto promises. Messages name what to change and never contain tokens. What it does not do: log.

use peat_operator_core::identity::SpiffeError;
use tonic::Status;

use super::hello::Malformed;
use super::record::RecordError;
use super::sessions::ClaimError;
use super::token::TokenError;
use crate::authority::LeafError;
use crate::authority::store::StoreError;
use crate::error::Chain;

/// Why a node may not join, or not now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("read a message of the node")]
    Malformed(#[from] Malformed),
    #[error("wait for the node's {0}")]
    Silent(&'static str),
    #[error("receive from the node")]
    Transport(#[source] Status),
    #[error("more than {0} messages at once: send only changes")]
    Flood(u32),
    #[error("check the token")]
    Token(#[from] TokenError),
    #[error("the token is bound to another pod than the one in the hello")]
    OtherPod,
    #[error("the signature does not prove the endpoint key for this challenge")]
    Proof,
    #[error("the pod of this token is gone")]
    NoPod,
    #[error("this pod belongs to no mesh or to another one; it joins by the annotation peat.mesh/inject")]
    OtherMesh,
    #[error("the mesh does not exist or cannot be used: {0}")]
    Mesh(String),
    #[error("the mesh does not admit namespace {0}: see spec.injection.allowedNamespaces")]
    NotAdmitted(String),
    #[error("the pod has no IP yet")]
    NoAddressYet,
    #[error("address {0} is not the pod's")]
    ForeignAddress(std::net::SocketAddr),
    #[error("take the pod's place")]
    Claim(#[from] ClaimError),
    #[error("write the peer's record")]
    Record(#[from] RecordError),
    #[error("load the authority of the mesh")]
    Authority(#[from] StoreError),
    #[error("sign the certificate")]
    Certificate(#[from] LeafError),
    #[error("name the node in its certificate")]
    Identity(#[from] SpiffeError),
    #[error("read pod")]
    Api(#[source] kube::Error),
    #[error("the operator is shutting down")]
    ShuttingDown,
    #[error("a newer stream of this pod took over")]
    Replaced,
    #[error("the node reads too slowly")]
    SlowReader,
}

impl Refusal {
    /// A word from a fixed set, for metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Flood(_) => "malformed",
            Self::Silent(_) | Self::Transport(_) | Self::SlowReader => "lost",
            Self::Token(TokenError::Review(_)) | Self::Api(_) => "api_error",
            Self::Token(_) => "token",
            Self::OtherPod => "other_pod",
            Self::Proof => "proof",
            Self::NoPod => "no_pod",
            Self::OtherMesh | Self::Mesh(_) | Self::NotAdmitted(_) => "mesh",
            Self::NoAddressYet => "no_address",
            Self::ForeignAddress(_) => "address",
            Self::Claim(_) => "second_key",
            Self::Record(_) | Self::Authority(_) | Self::Certificate(_) | Self::Identity(_) => "internal",
            Self::ShuttingDown => "shutdown",
            Self::Replaced => "replaced",
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = Chain(&refusal).to_string();
        match refusal {
            Refusal::Malformed(_) => Self::invalid_argument(message),
            Refusal::Flood(_) => Self::resource_exhausted(message),
            Refusal::Silent(_) | Refusal::SlowReader => Self::deadline_exceeded(message),
            Refusal::Transport(status) => status,
            Refusal::Token(TokenError::Invalid(_) | TokenError::Unbound) | Refusal::NoPod => {
                Self::unauthenticated(message)
            }
            Refusal::OtherPod
            | Refusal::Proof
            | Refusal::OtherMesh
            | Refusal::NotAdmitted(_)
            | Refusal::ForeignAddress(_)
            | Refusal::Claim(ClaimError::KeyTaken(_)) => Self::permission_denied(message),
            Refusal::Claim(ClaimError::SecondKey) => Self::failed_precondition(message),
            Refusal::Replaced => Self::aborted(message),
            Refusal::Token(TokenError::Review(_))
            | Refusal::Mesh(_)
            | Refusal::NoAddressYet
            | Refusal::Record(_)
            | Refusal::Authority(_)
            | Refusal::Certificate(_)
            | Refusal::Identity(_)
            | Refusal::Api(_)
            | Refusal::ShuttingDown => Self::unavailable(message),
        }
    }
}
