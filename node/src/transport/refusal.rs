//! Why two nodes do not become neighbours, and the codes by which a connection is closed.
//!
//! Purpose: one list for both directions. A refusal travels as the application close of QUIC: its code, and its text
//! for the other side's log. What it does not do: decide.

use super::certificate::CertificateError;
use iroh::endpoint::VarInt;
use peat_node_core::event::CloseReason;
use std::ops::RangeInclusive;

/// Why a handshake ended without a neighbour. The text is for the other side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No protocol version in common.
    #[error(
        "no common protocol version: this node speaks {ours_min} to {ours_max}, the peer {theirs_min} to {theirs_max}"
    )]
    Version {
        /// Lowest of ours.
        ours_min: u16,
        /// Highest of ours.
        ours_max: u16,
        /// Lowest of the peer's.
        theirs_min: u16,
        /// Highest of the peer's.
        theirs_max: u16,
    },
    /// One side is managed by an operator, the other by flags.
    #[error("one side proves membership by shared key, the other by certificate")]
    Mode,
    /// The proof does not hold.
    #[error("wrong shared key or app id")]
    Proof,
    /// The certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The operator revoked the peer.
    #[error("revoked")]
    Revoked,
    /// This node has no key.
    #[error("no shared key is set on this node: it peers with nobody")]
    NoKey,
    /// This node waits for the operator.
    #[error("this node has no certificate yet")]
    NoCertificateYet,
    /// Bytes that are no handshake.
    #[error("malformed handshake")]
    Malformed,
    /// Took too long.
    #[error("handshake took too long")]
    Slow,
    /// No room.
    #[error("too many connections")]
    Busy,
}

impl Refusal {
    /// The class, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Version { .. } => "version",
            Self::Mode => "mode",
            Self::Proof => "proof",
            Self::Certificate(_) => "certificate",
            Self::Revoked => "revoked",
            Self::NoKey => "no_key",
            Self::NoCertificateYet => "no_certificate",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
            Self::Busy => "busy",
        }
    }

    /// Whether another try could go well although neither side's settings change.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoCertificateYet | Self::Malformed | Self::Slow | Self::Busy => true,
            Self::Version { .. } | Self::Mode | Self::Proof | Self::Certificate(_) | Self::Revoked | Self::NoKey => {
                false
            }
        }
    }

    pub(super) fn code(&self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Version { .. } => *LASTING.start(),
            Self::Mode => 17,
            Self::Proof => 18,
            Self::Certificate(_) => 19,
            Self::Revoked => 20,
            Self::NoKey => *LASTING.end(),
            Self::NoCertificateYet => 22,
            Self::Malformed => 23,
            Self::Slow => 24,
            Self::Busy => 25,
        })
    }
}

/// Codes of refusals that last: see [`Refusal::is_passing`].
const LASTING: RangeInclusive<u32> = 16..=21;

/// Whether the other side closed with a refusal that lasts.
pub(super) fn is_lasting(code: VarInt) -> bool {
    u32::try_from(code.into_inner()).is_ok_and(|code| LASTING.contains(&code))
}

/// Code and text of a close that the core asked for.
pub(super) fn closing(reason: CloseReason) -> (VarInt, &'static [u8]) {
    let (code, text): (u32, &[u8]) = match reason {
        CloseReason::Duplicate => (1, b"duplicate connection"),
        CloseReason::Requested => (2, b"disconnected by request"),
        CloseReason::Revoked => (3, b"revoked"),
        CloseReason::Malformed => (4, b"malformed frame"),
    };
    (VarInt::from_u32(code), text)
}

/// This process ends.
pub(super) const LEAVING: (VarInt, &[u8]) = (VarInt::from_u32(5), b"leaving");

/// The key that the connection was made with is no longer one of the mesh.
pub(super) const WITHDRAWN: (VarInt, &[u8]) = (VarInt::from_u32(7), b"its key was withdrawn");

/// The frames of this connection could not be delivered.
pub(super) const BROKEN: (VarInt, &[u8]) = (VarInt::from_u32(6), b"stream broken");
