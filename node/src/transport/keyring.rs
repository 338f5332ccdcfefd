//! The keys of a mesh by flags, as they are at this moment.
//!
//! Purpose: one key takes the place of another while the mesh goes on. The first key of the file is the one that a
//! dialer shows; every key of it is accepted, and an acceptor answers with the key that it was shown, which the dialer
//! has. Inputs: the channel's facts, the key file. Outputs: proofs and verdicts; closes of what a withdrawn key had
//! opened. What it does not do: decide when a key is old enough.
//!
//! A proof is HMAC-SHA256 over role, TLS exporter, both endpoint ids and the mesh's name. The exporter (RFC 9266 in
//! spirit) binds it to this very channel, the role keeps a proof from being sent back, the ids keep it from being
//! moved. The HMAC key is derived (HKDF, RFC 5869) with the protocol's version in it, so the mesh's key itself is never
//! used twice for different things.

use super::credentials::{Channel, Role};
use super::refusal::{Refusal, WITHDRAWN};
use super::{Shared, Transport};
use crate::api::access::{AccessError, Source, Watched};
use crate::config::{SharedKey, SharedKeys};
use crate::hkdf;
use arc_swap::ArcSwap;
use ring::hmac;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

const PROOF_INFO: &[u8] = b"peat/mesh/1 shared key proof";

/// Time between two looks at the key file; two that agree make a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a member proves to hold; none: nothing but the mesh's name.
pub(super) type Key = Option<SharedKey>;

/// What this node has of its mesh.
#[derive(Debug)]
pub struct Keyring {
    app_id: String,
    /// At least one, the one to show first.
    keys: ArcSwap<Vec<Key>>,
}

impl Keyring {
    /// Without keys everybody under the same name is a member, by an explicit flag.
    pub fn new(app_id: String, keys: Option<&SharedKeys>) -> Self {
        Self { app_id, keys: ArcSwap::from_pointee(keys.map_or_else(|| vec![None], all)) }
    }

    /// The proof under `key`, or under the first key.
    pub(super) fn prove(&self, channel: &Channel, key: Option<&Key>) -> Vec<u8> {
        let dialer = channel.role == Role::Dialer;
        let keys = self.keys.load();
        let key = key.or_else(|| keys.first()).and_then(Option::as_ref);
        let statement = statement(channel, dialer, &self.app_id);
        hmac::sign(&proof_key(key, &self.app_id), &statement).as_ref().to_vec()
    }

    /// The key that the peer proved to hold.
    pub(super) fn verify(&self, channel: &Channel, proof: &[u8]) -> Result<Key, Refusal> {
        // The peer is the other end, so it spoke in the other role.
        let statement = statement(channel, channel.role == Role::Acceptor, &self.app_id);
        let holds = |key: &&Key| hmac::verify(&proof_key(key.as_ref(), &self.app_id), &statement, proof).is_ok();
        self.keys.load().iter().find(holds).cloned().ok_or(Refusal::Proof)
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        self.keys.load().contains(key)
    }

    fn replace(&self, keys: &SharedKeys) {
        self.keys.store(Arc::new(all(keys)));
    }
}

impl Transport {
    /// Uses what the key file of `keyring` holds from now on, until the transport closes.
    ///
    /// # Errors
    /// When the file cannot be used any more.
    pub(crate) fn follow(&self, keyring: &Arc<Keyring>, file: &Path) -> Result<(), AccessError> {
        let make = |[source]: [&Source; 1], [content]: [&[u8]; 1]| {
            let parsed = std::str::from_utf8(content).map_err(|_| "is not text".to_owned()).and_then(SharedKeys::parse);
            parsed.map_err(|reason| AccessError::content(source, reason))
        };
        let (watched, keys) = Watched::begin([Source::new("shared-key-file", file)], Box::new(make))?;
        keyring.replace(&keys);
        self.0.tasks.spawn(follow(Arc::clone(&self.0), Arc::clone(keyring), watched));
        Ok(())
    }
}

async fn follow(shared: Arc<Shared>, keyring: Arc<Keyring>, mut watched: Watched<SharedKeys>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shared.stop.run_until_cancelled(looks.tick()).await.is_some() {
        let looked = tokio::task::spawn_blocking(move || {
            let found = watched.look();
            (watched, found)
        });
        let Ok((again, found)) = looked.await else {
            error!("the key file is no longer followed: the look at it panicked");
            return;
        };
        watched = again;
        shared.metrics.shared_key_stale(watched.is_stale());
        match found {
            None => {}
            Some(Ok(keys)) => {
                keyring.replace(&keys);
                info!(accepted = all(&keys).len(), "the mesh has new keys");
                shared.close_withdrawn();
            }
            Some(Err(reason)) => {
                let reason: &dyn std::error::Error = &reason;
                warn!(reason, "the key file cannot be used, the keys stay as they were");
            }
        }
    }
}

impl Shared {
    /// Ends the connections that were made with a key that is no longer accepted; a peer that has another dials again.
    fn close_withdrawn(&self) {
        for live in self.live().values().filter(|live| !self.credentials.accepts(&live.proven)) {
            live.connection.close(WITHDRAWN.0, WITHDRAWN.1);
        }
    }
}

fn all(keys: &SharedKeys) -> Vec<Key> {
    keys.all().cloned().map(Some).collect()
}

/// The mesh's name is the salt.
fn proof_key(key: Option<&SharedKey>, app_id: &str) -> hmac::Key {
    let key = key.map_or(&[][..], |key| key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, &hkdf::derive(app_id.as_bytes(), key, PROOF_INFO))
}

/// What a proof is over. Every part but the last has a fixed length, so no two statements read alike.
fn statement(channel: &Channel, by_dialer: bool, app_id: &str) -> Vec<u8> {
    let (dialer, acceptor) = match channel.role {
        Role::Dialer => (channel.me, channel.peer),
        Role::Acceptor => (channel.peer, channel.me),
    };
    let role: u8 = if by_dialer { 1 } else { 2 };
    [&[role][..], &channel.exporter, &dialer.0, &acceptor.0, app_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::ids::PeerId;

    fn ring(app_id: &str, keys: &[u8]) -> Keyring {
        let keys: Vec<Key> = keys.iter().map(|key| Some(SharedKey::from([*key; 32]))).collect();
        Keyring { app_id: app_id.to_owned(), keys: ArcSwap::from_pointee(keys) }
    }

    fn ends(exporter: u8) -> (Channel, Channel) {
        let (dialer, acceptor) = (PeerId([1; 32]), PeerId([2; 32]));
        let exporter = [exporter; 32];
        (
            Channel { role: Role::Dialer, me: dialer, peer: acceptor, exporter },
            Channel { role: Role::Acceptor, me: acceptor, peer: dialer, exporter },
        )
    }

    #[test]
    fn a_proof_holds_for_the_other_end_of_its_own_channel() {
        let (dialer, acceptor) = ends(9);
        let ours = ring("harbour", &[1]);
        for (from, to) in [(&dialer, &acceptor), (&acceptor, &dialer)] {
            assert_eq!(ours.verify(to, &ours.prove(from, None)), Ok(Some(SharedKey::from([1; 32]))));
        }
    }

    #[test]
    fn a_proof_is_worthless_with_another_key_name_channel_role_or_id() {
        let (dialer, acceptor) = ends(9);
        let ours = ring("harbour", &[1]);
        let proof = ours.prove(&dialer, None);
        let refused = Err(Refusal::Proof);
        assert_eq!(ring("harbour", &[2, 3]).verify(&acceptor, &proof), refused);
        assert_eq!(ring("harbor", &[1]).verify(&acceptor, &proof), refused);
        assert_eq!(ours.verify(&ends(8).1, &proof), refused);
        assert_eq!(ours.verify(&dialer, &proof), refused, "sent back to its author");
        let stranger = Channel { peer: PeerId([3; 32]), ..acceptor };
        assert_eq!(ours.verify(&stranger, &proof), refused);
        assert_eq!(ours.verify(&acceptor, &proof[1..]), refused);
        assert_eq!(ours.verify(&acceptor, &[]), refused);
    }

    #[test]
    fn an_empty_key_is_not_the_key_of_zeros() {
        let (dialer, acceptor) = ends(9);
        let empty = Keyring::new("harbour".to_owned(), None);
        let proof = empty.prove(&dialer, None);
        assert_eq!(empty.verify(&acceptor, &proof), Ok(None));
        assert_eq!(ring("harbour", &[0]).verify(&acceptor, &proof), Err(Refusal::Proof));
    }

    #[test]
    fn a_withdrawn_key_is_held_no_more() {
        let keys = ring("harbour", &[2, 1]);
        let old = Some(SharedKey::from([1; 32]));
        assert!(keys.holds(&old));
        keys.keys.store(ring("harbour", &[2]).keys.load_full());
        assert!(!keys.holds(&old));
    }
}
