//! What a neighbour's frames mean.
//!
//! Every handler only changes what is owed or stored; the frames themselves are made by the flush, from the state of
//! that moment. A handler that cannot finish (a store error) does nothing more: the next comparison of roots repeats
//! it.

use super::MeshNode;
use crate::docs::Kind;
use crate::docs::row::{Have, Version};
use crate::event::{CloseReason, Now, Outputs};
use crate::ids::{ConnId, Key, PeerId};
use crate::rows::Rows;
use crate::shelf::ShelfError;
use crate::sync::digest::{Brief, FAN_OUT, Index, Place, brief};
use crate::sync::frame::{Frame, FrameError, Payload};
use crate::sync::neighbour::{Neighbour, Since};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Tree nodes with at most this many rows are listed instead of compared further: a level of digests costs as much.
pub(super) const LIST_AT: usize = 16;
/// Documents that may be waiting to be asked for. More are found again by the next comparison.
const WANTED_LIMIT: usize = 1 << 16;

impl MeshNode {
    pub(super) fn receive(
        &mut self,
        now: Now,
        (conn, peer): (ConnId, PeerId),
        frame: Bytes,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) {
        let current = self.neighbours.get(&peer).is_some_and(|neighbour| neighbour.conn == conn);
        if !current || !self.sync_active {
            return;
        }
        match Frame::decode(frame).map(|frame| self.admit(peer, frame, rows, outputs)) {
            Ok(Frame::Root(theirs)) => self.on_whole_root(peer, theirs, now.uptime),
            Ok(Frame::Part(heard, theirs)) => self.on_part(peer, heard, theirs),
            Ok(Frame::Grants(grants)) => self.on_grants(peer, grants, now.uptime),
            Ok(Frame::Heard(heard)) => self.on_heard(peer, heard),
            Ok(Frame::Ask(places)) => self.on_ask(peer, places),
            Ok(Frame::Answer(answers)) => self.on_answer(peer, answers),
            Ok(Frame::Children(theirs)) => self.on_children(peer, &theirs),
            Ok(Frame::Keys { place, after, upto, rows: theirs }) => {
                let theirs = self.tell_collected(peer, theirs, rows, outputs);
                self.on_keys(peer, place, (after, upto), theirs);
            }
            Ok(Frame::Want(keys)) => {
                for (key, theirs) in keys {
                    let done = self.on_want(peer, &key, theirs, rows, outputs);
                    self.count_failure(&done);
                }
            }
            // They stay where they came from.
            Ok(Frame::Docs(_)) if self.leaves => {}
            Ok(Frame::Docs(docs)) => {
                for (key, version, payload) in docs {
                    let done = self.on_doc(now, peer, (&key, version), payload, rows, outputs);
                    self.count_failure(&done);
                }
            }
            Ok(Frame::Confirm(questions)) => {
                for question in questions {
                    let done = self.on_confirm(peer, question, rows, outputs);
                    self.count_failure(&done);
                }
            }
            Ok(Frame::Confirmed(answers)) => self.on_confirmed(peer, answers, outputs),
            Ok(Frame::Collected(theirs)) => {
                for (key, version) in theirs {
                    // One that cannot be read now is found again by the next comparison.
                    self.shelf.collect_too(&key, version, rows, outputs).unwrap_or_default();
                }
            }
            Ok(Frame::Announce(theirs)) => self.on_announce(peer, theirs, now.uptime),
            Ok(Frame::Push(push)) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.spread.turned(push);
                }
            }
            // Frames only add to what is known, and none expects an answer: one that is left out costs time.
            Err(FrameError::Unknown(_)) => self.frames_unknown += 1,
            Err(FrameError::Short | FrameError::Trailing(_) | FrameError::Field(_)) => {
                self.frames_malformed += 1;
                self.book.disconnected(conn, peer, now.uptime, &mut self.rng);
                self.detach(peer, conn, CloseReason::Malformed, outputs);
            }
        }
    }

    fn count_failure(&mut self, done: &Result<(), ShelfError>) {
        self.merges_failed += u64::from(done.is_err());
    }

    fn on_children(&mut self, peer: PeerId, theirs: &[(Place, [u64; FAN_OUT])]) {
        let Some(neighbour) = self.neighbours.get(&peer).filter(|neighbour| neighbour.compares()) else { return };
        let seen = self.shared(neighbour);
        let children = theirs.iter().flat_map(|(place, digests)| place.children().zip(digests));
        let differing = children.filter(|(child, theirs)| seen.half(*child) != **theirs);
        let differing: Vec<Place> = differing.map(|(child, _)| child).collect();
        self.answer_difference(peer, differing.into_iter());
    }

    pub(super) fn answer_difference(&mut self, peer: PeerId, differing: impl Iterator<Item = Place>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let seen = self.shelf.index.seen(neighbour.flow.shared());
        for place in differing {
            if seen.is_short(place, LIST_AT) {
                neighbour.list.insert(place, None);
            } else {
                neighbour.compare.insert(place);
            }
        }
    }

    fn on_keys(
        &mut self,
        peer: PeerId,
        place: Place,
        (after, upto): (Option<Key>, Option<Key>),
        theirs: Vec<(Key, Brief)>,
    ) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let index = &self.shelf.index;
        let listed: BTreeMap<&Key, Brief> = theirs.iter().map(|(key, brief)| (key, *brief)).collect();
        let last = upto.as_ref().map(Index::order);
        let shared = neighbour.flow.shared().cloned();
        let ours = index.seen(shared.as_ref()).below(place, after.as_ref()).map(|(key, _)| key);
        for key in ours.take_while(|key| last.is_none_or(|last| Index::order(key) <= last)) {
            if !listed.contains_key(key) {
                neighbour.owe(key, Since::Start);
            }
        }
        for (key, theirs) in listed {
            if index.version(key).as_ref().map(brief) != Some(theirs) {
                want(neighbour, key);
            }
        }
    }

    /// The peer lists deletes that are collected here: it hears so, and is not asked for them. Gives the other rows.
    fn tell_collected(
        &mut self,
        peer: PeerId,
        mut theirs: Vec<(Key, Brief)>,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Vec<(Key, Brief)> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return theirs };
        let shelf = &self.shelf;
        theirs.retain(|(key, theirs)| {
            let ours = shelf.collected_version(key, rows, outputs).filter(|ours| brief(ours) == *theirs);
            ours.is_none_or(|ours| {
                neighbour.tell_collected(key, ours);
                false
            })
        });
        theirs
    }

    fn on_want(
        &mut self,
        peer: PeerId,
        key: &Key,
        theirs: Option<Have>,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<(), ShelfError> {
        let ours = self.shelf.have(key, rows, outputs)?;
        let (send, ask) = match (ours, theirs) {
            (None, theirs) => (None, theirs.is_some()),
            (Some(_), None) => (Some(Since::Start), false),
            (Some(ours), Some(theirs)) if ours == theirs => (None, false),
            (Some(ours), Some(theirs)) => match (&ours, theirs) {
                (Have::Full { life, .. }, Have::Full { heads, life: theirs }) => {
                    let same_history = life.generation == theirs.generation;
                    let newer = theirs.join(*life) != *life;
                    let since = if same_history { Since::Heads(heads.clone()) } else { Since::Start };
                    let lacks = newer || (same_history && !self.shelf.knows(key, &heads, rows, outputs)?);
                    (Some(since), lacks)
                }
                (_, theirs) => {
                    let newer = rank(&ours) > rank(&theirs);
                    (newer.then_some(Since::Start), !newer)
                }
            },
        };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        if let Some(since) = send {
            neighbour.owe_exactly(key, since);
        }
        if ask {
            want(neighbour, key);
        }
        Ok(())
    }

    fn on_doc(
        &mut self,
        now: Now,
        peer: PeerId,
        (key, version): (&Key, Version),
        payload: Payload,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<(), ShelfError> {
        self.docs_received += 1;
        if self.shelf.index.version(key) == Some(version) {
            self.note_origin(key, version, peer, false);
        } else if self.lacks_content(key, version, &payload) {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                want(neighbour, key);
            }
        } else {
            let merged = self.shelf.merge(key, payload, rows, outputs)?;
            let has_more = self.note_content(peer, key, version, &merged);
            self.note_origin(key, version, peer, merged.changed.is_some());
            self.owe_all(key, merged.changed, Some(peer), now.uptime);
            let is_collected =
                self.shelf.index.version(key).is_none() && self.shelf.version(key, rows, outputs)? == Some(version);
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
            if is_collected {
                neighbour.tell_collected(key, version);
            }
            if has_more {
                want(neighbour, key);
            }
            if merged.sender_behind {
                neighbour.owe(key, Since::Start);
            }
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && self.shelf.index.version(key) == Some(version)
        {
            // Equal now, so neither owes the other anything: most echoes of a flooded change end here.
            neighbour.equal(key);
        }
        Ok(())
    }
}

impl MeshNode {
    /// Whether these are the new stamps of a live document that is not here: not an empty one, as its version tells.
    fn lacks_content(&self, key: &Key, version: Version, payload: &Payload) -> bool {
        let Payload::Full { life, changes } = payload else { return false };
        let empty = || Have::Full { heads: Vec::new(), life: *life }.version();
        changes.is_empty() && life.is_live() && self.shelf.index.version(key).is_none() && empty() != version
    }
}

pub(super) fn want(neighbour: &mut Neighbour, key: &Key) {
    if neighbour.wanted.len() < WANTED_LIMIT && neighbour.flow.takes(key) {
        neighbour.wanted.insert(key.clone());
    }
}

/// Orders rows of which one counts whole.
pub(super) fn rank(have: &Have) -> (crate::stamp::Stamp, Kind, Option<PeerId>) {
    let writer = match have {
        Have::Latest { writer, .. } => Some(*writer),
        Have::Full { .. } => None,
    };
    (have.newest(), have.kind(), writer)
}
