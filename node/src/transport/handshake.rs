//! The first words on a connection: versions, then mutual proof.
//!
//! Purpose: after this, both sides have agreed on a protocol version and know each other as members. Inputs: the first
//! bidirectional stream, credentials, the facts of the channel. Outputs: [`Agreed`], or a [`HandshakeError`].
//! What it does not do: time limits and closing; the caller has both.
//!
//! ```text
//! dialer                              acceptor
//! Hello(versions, mode), Proof   ->
//!                                     agrees, verifies, or closes with a reason
//!                                <-   Hello(versions, mode), Proof
//! agrees, verifies, or closes
//! Accept                         ->
//! ```
//! The dialer speaks first because it knows whom it dials: QUIC proved the key it asked for. A stranger that dials
//! learns nothing before it has proved itself. Each message is a 32-bit big-endian length and that many bytes, the first
//! of them a tag; bytes after the known fields of a Hello are skipped, so that later versions can add some.

use super::certificate::LONGEST;
use super::credentials::{Channel, Credentials, Mode, Proven, Role};
use super::refusal::Refusal;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Versions of the mesh protocol that this release speaks.
pub const VERSIONS: (u16, u16) = (1, 3);

/// Longest message; a longer one is refused before it is read.
const LONGEST_MESSAGE: usize = LONGEST + 1;

const HELLO: u8 = 1;
const PROOF: u8 = 2;
const ACCEPT: u8 = 3;

/// A handshake that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// We refuse.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream ended: the link is lost, or the peer refuses and its close has the reason.
    #[error("handshake interrupted")]
    Interrupted(#[from] io::Error),
}

/// What came of a handshake.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Of the mesh protocol.
    pub(super) version: u16,
    /// What the peer proved.
    pub(super) proven: Proven,
}

/// Runs one side. `now` is wall-clock time since the Unix epoch.
pub(super) async fn handshake(
    send: &mut (impl AsyncWrite + Unpin),
    recv: &mut (impl AsyncRead + Unpin),
    credentials: &Credentials,
    channel: &Channel,
    now: Duration,
) -> Result<Agreed, HandshakeError> {
    let mode = credentials.mode()?;
    match channel.role {
        Role::Dialer => {
            introduce(send, mode, &credentials.prove(channel, None)?).await?;
            let version = agree(&read(recv, HELLO).await?, mode)?;
            let proven = credentials.verify(channel, &read(recv, PROOF).await?, now)?;
            write(send, ACCEPT, &[]).await?;
            Ok(Agreed { version, proven })
        }
        Role::Acceptor => {
            let version = agree(&read(recv, HELLO).await?, mode)?;
            let proven = credentials.verify(channel, &read(recv, PROOF).await?, now)?;
            introduce(send, mode, &credentials.prove(channel, Some(&proven))?).await?;
            read(recv, ACCEPT).await?;
            Ok(Agreed { version, proven })
        }
    }
}

async fn introduce(send: &mut (impl AsyncWrite + Unpin), mode: Mode, proof: &[u8]) -> io::Result<()> {
    let (min, max) = VERSIONS;
    let [a, b] = min.to_be_bytes();
    let [c, d] = max.to_be_bytes();
    write(send, HELLO, &[a, b, c, d, mode as u8]).await?;
    write(send, PROOF, proof).await
}

/// The highest version in common, when the modes are equal.
fn agree(hello: &[u8], ours: Mode) -> Result<u16, Refusal> {
    let &[a, b, c, d, mode, ..] = hello else { return Err(Refusal::Malformed) };
    let (theirs_min, theirs_max) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (ours_min, ours_max) = VERSIONS;
    let version = ours_max.min(theirs_max);
    if version < ours_min.max(theirs_min) {
        return Err(Refusal::Version { ours_min, ours_max, theirs_min, theirs_max });
    }
    if mode != ours as u8 {
        return Err(Refusal::Mode);
    }
    Ok(version)
}

async fn write(send: &mut (impl AsyncWrite + Unpin), tag: u8, fields: &[u8]) -> io::Result<()> {
    let length = u32::try_from(fields.len() + 1).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.push(tag);
    message.extend_from_slice(fields);
    send.write_all(&message).await?;
    send.flush().await
}

async fn read(recv: &mut (impl AsyncRead + Unpin), tag: u8) -> Result<Vec<u8>, HandshakeError> {
    let length = recv.read_u32().await? as usize;
    if !(1..=LONGEST_MESSAGE).contains(&length) {
        return Err(Refusal::Malformed.into());
    }
    if recv.read_u8().await? != tag {
        return Err(Refusal::Malformed.into());
    }
    let mut fields = vec![0; length - 1];
    recv.read_exact(&mut fields).await?;
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::super::keyring::Keyring;
    use super::*;
    use crate::config::{SharedKey, SharedKeys};
    use peat_node_core::ids::PeerId;
    use std::sync::Arc;
    use tokio::io::{duplex, split};

    fn shared(key: u8) -> Credentials {
        keys(key, &[])
    }

    fn keys(first: u8, others: &[u8]) -> Credentials {
        let key = |key: u8| SharedKey::from([key; 32]);
        let keys = SharedKeys { first: key(first), others: others.iter().copied().map(key).collect() };
        Credentials::SharedKey(Arc::new(Keyring::new("harbour".to_owned(), Some(&keys))))
    }

    fn ends() -> (Channel, Channel) {
        let (dialer, acceptor) = (PeerId([1; 32]), PeerId([2; 32]));
        let exporter = [9; 32];
        (
            Channel { role: Role::Dialer, me: dialer, peer: acceptor, exporter },
            Channel { role: Role::Acceptor, me: acceptor, peer: dialer, exporter },
        )
    }

    async fn meet(
        dials: &Credentials,
        accepts: &Credentials,
    ) -> (Result<Agreed, HandshakeError>, Result<Agreed, HandshakeError>) {
        let (near, far) = duplex(64 * 1024);
        let (dialer, acceptor) = ends();
        let dial = async {
            let (mut recv, mut send) = split(near);
            handshake(&mut send, &mut recv, dials, &dialer, Duration::ZERO).await
        };
        let accept = async {
            let (mut recv, mut send) = split(far);
            handshake(&mut send, &mut recv, accepts, &acceptor, Duration::ZERO).await
        };
        tokio::join!(dial, accept)
    }

    async fn answer_to(bytes: &[u8]) -> Result<Agreed, HandshakeError> {
        let (mut near, far) = duplex(64 * 1024);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let (mut recv, mut send) = split(far);
        handshake(&mut send, &mut recv, &shared(1), &ends().1, Duration::ZERO).await
    }

    #[tokio::test]
    async fn members_agree_on_the_version() {
        let (dialed, accepted) = meet(&shared(1), &shared(1)).await;
        assert_eq!((dialed.unwrap().version, accepted.unwrap().version), (3, 3));
    }

    #[tokio::test]
    async fn another_key_is_refused_before_the_acceptor_says_anything() {
        let (dialed, accepted) = meet(&shared(1), &shared(2)).await;
        assert!(matches!(accepted, Err(HandshakeError::Refused(Refusal::Proof))));
        assert!(matches!(dialed, Err(HandshakeError::Interrupted(_))));
    }

    #[tokio::test]
    async fn at_every_step_of_a_rotation_both_ways_of_dialling_meet_and_the_old_key_is_shut_out_at_the_end() {
        let (old, new) = (1, 2);
        let steps = [keys(old, &[]), keys(old, &[new]), keys(new, &[old]), keys(new, &[])];
        for (here, there) in steps.iter().zip(&steps[1..]) {
            for (dials, accepts) in [(here, there), (there, here), (there, there)] {
                let (dialed, accepted) = meet(dials, accepts).await;
                assert_eq!(dialed.unwrap().proven, accepted.unwrap().proven);
            }
        }
        let (_, accepted) = meet(&steps[0], &steps[3]).await;
        assert!(matches!(accepted, Err(HandshakeError::Refused(Refusal::Proof))));
    }

    #[tokio::test]
    async fn versions_are_negotiated_and_unknown_fields_of_a_hello_are_skipped() {
        assert_eq!(agree(&[0, 1, 0, 9, 1, 0xff, 0xff], Mode::SharedKey), Ok(3));
        assert_eq!(agree(&[0, 1, 0, 1, 1], Mode::SharedKey), Ok(1), "a node of an earlier release");
        let newer = agree(&[0, 4, 0, 9, 1], Mode::SharedKey);
        assert_eq!(newer, Err(Refusal::Version { ours_min: 1, ours_max: 3, theirs_min: 4, theirs_max: 9 }));
        assert_eq!(agree(&[0, 1, 0, 1, 2], Mode::SharedKey), Err(Refusal::Mode));
        assert_eq!(agree(&[0, 1, 0], Mode::SharedKey), Err(Refusal::Malformed));
    }

    #[tokio::test]
    async fn malformed_words_are_refused_without_being_stored() {
        for bytes in [&[0xff; 8][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 2, PROOF, 0], &[0, 0, 0, 2, HELLO, 0]] {
            assert!(matches!(answer_to(bytes).await, Err(HandshakeError::Refused(Refusal::Malformed))), "{bytes:?}");
        }
        assert!(matches!(answer_to(&[0, 0]).await, Err(HandshakeError::Interrupted(_))));
    }
}
