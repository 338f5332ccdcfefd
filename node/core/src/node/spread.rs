//! Telling neighbours of changes, eagerly or lazily.
//!
//! Inputs: changes of documents, announcements, time; outputs: what neighbours are owed. See [`crate::sync::spread`].

use super::MeshNode;
use super::receive::want;
use crate::docs::row::Version;
use crate::ids::{Key, PeerId};
use crate::shelf::Changed;
use crate::sync::frame::Push;
use std::time::Duration;

impl MeshNode {
    /// Owes a change to every neighbour but the one that sent it.
    pub(super) fn owe_all(&mut self, key: &Key, changed: Changed, from: Option<PeerId>, uptime: Duration) {
        let Some(since) = changed.filter(|_| self.sync_active) else { return };
        // What is written here where everybody hears by announcement would be nowhere else for half a second.
        let mut told = self.neighbours.values_mut().filter(|neighbour| neighbour.flow.sends(key));
        if from.is_none()
            && let Some(neighbour) = told.next()
            && !(neighbour.spread.is_eager() || told.any(|neighbour| neighbour.spread.is_eager()))
        {
            neighbour.owe(key, since.clone());
        }
        for (_, neighbour) in self.neighbours.iter_mut().filter(|(peer, _)| Some(**peer) != from) {
            if neighbour.spread.is_eager() || neighbour.dirty.contains(key) {
                neighbour.owe(key, since.clone());
            } else {
                neighbour.gather(key, uptime);
            }
        }
    }

    pub(super) fn on_announce(&mut self, peer: PeerId, theirs: Vec<(Key, Version)>, uptime: Duration) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        for (key, announced) in theirs {
            let ours = self.shelf.index.version(&key);
            if ours == Some(announced) {
                neighbour.equal(&key);
            } else {
                neighbour.spread.expect(key, announced, ours, uptime);
            }
        }
    }

    /// Content came from `peer`: was it news, or had another peer been faster?
    pub(super) fn note_origin(&mut self, key: &Key, version: Version, peer: PeerId, news: bool) {
        if news {
            self.origins.note(key, version, peer);
            return;
        }
        self.docs_redundant += 1;
        // Only while the faster one keeps telling: nobody is left with lazy links alone.
        let faster = self.origins.other(key, version, peer).and_then(|first| self.neighbours.get(&first));
        if faster.is_some_and(|faster| faster.spread.hears_eagerly())
            && let Some(neighbour) = self.neighbours.get_mut(&peer)
        {
            neighbour.spread.turn(Push::Lazy);
        }
    }

    /// Asks for what was announced and did not come; the link that knew of it is a better one.
    pub(super) fn ask_for_the_late(&mut self, peer: &PeerId, uptime: Duration) {
        let Some(neighbour) = self.neighbours.get_mut(peer) else { return };
        for (key, expected) in neighbour.spread.pass(uptime) {
            if expected.is_missing(self.shelf.index.version(&key)) {
                want(neighbour, &key);
                neighbour.spread.turn(Push::Eager);
            }
        }
    }
}
