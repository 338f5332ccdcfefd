//! From what is owed to frames.
//!
//! Order of importance: what finds differences first (small), then questions, then content. Frames stop when a
//! neighbour's window is full and go on when the transport reports room.

use super::{MeshNode, NEVER};
use crate::docs::row::Have;
use crate::event::{Now, Output, Outputs};
use crate::ids::{Key, PeerId};
use crate::rows::Rows;
use crate::sync::digest::{Brief, Place, brief};
use crate::sync::frame::{Frame, Payload};
use crate::sync::neighbour::Since;
use bytes::Bytes;

/// Content of one frame, about: large enough that the header does not count, small enough to interleave.
const FRAME_BYTES: usize = 64 << 10;
/// Tree places answered in one frame: sixteen digests each.
const PLACES: usize = 128;
/// Announcements, or collected deletes, in one frame.
const ANNOUNCED: usize = 1024;
/// Questions in one frame.
const WANTS: usize = 256;

impl MeshNode {
    /// Makes frames of what neighbours lack, as far as their windows allow. Call once per batch, after the last
    /// [`MeshNode::handle`].
    pub fn flush(&mut self, now: Now, rows: &dyn Rows, outputs: &mut Outputs) {
        self.uptime = now.uptime;
        self.shelf.batch_ends();
        for key in self.shelf.mend_found(rows, outputs) {
            self.owe_all(&key, Some(Since::Start), None, now.uptime);
        }
        if !self.sync_active {
            return;
        }
        let to_do = self.neighbours.iter().filter(|(_, neighbour)| neighbour.has_work(now.uptime));
        let peers: Vec<PeerId> = to_do.map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.ask_for_the_late(&peer, now.uptime);
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.pass_one_way(now.uptime);
            }
            self.drain(&peer, rows, outputs);
            // After what this very batch changed, or a node that is written to all the time would never compare.
            self.open_comparison(&peer, now);
            self.drain(&peer, rows, outputs);
        }
    }

    /// Makes all frames that are owed and for which there is room.
    fn drain(&mut self, peer: &PeerId, rows: &dyn Rows, outputs: &mut Outputs) {
        while let Some(frame) = self.next_frame(peer, rows, outputs) {
            let Some(neighbour) = self.neighbours.get_mut(peer) else { return };
            let frame = frame.encode();
            neighbour.took(frame.len());
            outputs.sends.push(Output::Send { conn: neighbour.conn, peer: *peer, frame });
        }
    }

    fn open_comparison(&mut self, peer: &PeerId, now: Now) {
        let due = |next: std::time::Duration| next != NEVER && next <= now.uptime;
        if !self.neighbours.get(peer).is_some_and(|neighbour| due(neighbour.next_root)) {
            return;
        }
        let next = self.next_root(peer, now.uptime);
        let Some(neighbour) = self.neighbours.get_mut(peer) else { return };
        neighbour.next_root = next;
        neighbour.open_root = neighbour.is_worth_comparing();
    }

    fn next_frame(&mut self, peer: &PeerId, rows: &dyn Rows, outputs: &Outputs) -> Option<Frame> {
        let neighbour = self.neighbours.get_mut(peer).filter(|neighbour| neighbour.has_room())?;
        if neighbour.owes_grants || neighbour.owes_heard {
            return self.grants_frame(peer);
        }
        if let Some(push) = neighbour.spread.wish.take() {
            return Some(Frame::Push(push));
        }
        let opens = std::mem::take(&mut neighbour.open_root);
        if opens {
            return self.root_frame(peer);
        }
        if !neighbour.collected.is_empty() {
            let rows = std::iter::from_fn(|| neighbour.collected.pop_first()).take(ANNOUNCED).collect();
            return Some(Frame::Collected(rows));
        }
        if !neighbour.compare.is_empty() {
            let places = pop(&mut neighbour.compare, PLACES).into_iter();
            let seen = self.shelf.index.seen(neighbour.flow.shared());
            return Some(Frame::Children(places.map(|place| (place, seen.children(place))).collect()));
        }
        if let Some((place, after)) = neighbour.list.pop_first() {
            return Some(self.keys_frame(peer, place, after));
        }
        if !neighbour.wanted.is_empty() {
            // A row that cannot be read is asked for whole, which also heals it; so is one of which the peer may know
            // nothing.
            let flow = &neighbour.flow;
            let have = |key: &Key| self.shelf.have(key, rows, outputs).ok().flatten().filter(|_| flow.may_read(key));
            let (mut questions, mut size) = (Vec::new(), 0);
            while questions.len() < WANTS
                && size < FRAME_BYTES
                && let Some(key) = neighbour.wanted.pop_first()
            {
                let have = have(&key);
                size += key.as_bytes().len() + have.as_ref().map_or(0, breadth);
                questions.push((key, have));
            }
            return Some(Frame::Want(questions));
        }
        neighbour.ask_about_last();
        self.confirm_frame(peer, rows, outputs)
            .or_else(|| self.one_way_frame(peer, PLACES))
            .or_else(|| self.docs_frame(peer, rows, outputs))
            .or_else(|| self.announce_frame(peer))
    }

    /// Our word, or the question for the peer's.
    fn confirm_frame(&mut self, peer: &PeerId, rows: &dyn Rows, outputs: &Outputs) -> Option<Frame> {
        let neighbour = self.neighbours.get_mut(peer)?;
        if !neighbour.stored.is_empty() {
            let answers = std::iter::from_fn(|| neighbour.stored.pop_first()).take(WANTS);
            return Some(Frame::Confirmed(answers.collect()));
        }
        let number = self.concerns.next_number();
        let (mut questions, mut size) = (Vec::new(), 0);
        for key in neighbour.take_unsure(WANTS) {
            if size >= FRAME_BYTES {
                neighbour.unsure.insert(key);
                continue;
            }
            if !(self.concerns.has(&key) || neighbour.one_way.is_open(&key) || neighbour.last.due() == Some(&key)) {
                continue;
            }
            match self.shelf.have(&key, rows, outputs) {
                Ok(Some(have)) => {
                    neighbour.one_way.asked(&key, number);
                    neighbour.last.asked(&key, number);
                    size += key.as_bytes().len() + breadth(&have);
                    questions.push((key, number, have));
                }
                Ok(None) => {
                    neighbour.one_way.close(&key);
                    neighbour.last.forget(&key);
                }
                // It is asked about later.
                Err(_) => {}
            }
        }
        (!questions.is_empty()).then_some(Frame::Confirm(questions))
    }

    fn announce_frame(&mut self, peer: &PeerId) -> Option<Frame> {
        let keys = self.neighbours.get_mut(peer)?.spread.take_announced(ANNOUNCED, self.uptime);
        let index = &self.shelf.index;
        let rows: Vec<_> = keys.into_iter().filter_map(|key| Some((key.clone(), index.version(&key)?))).collect();
        (!rows.is_empty()).then_some(Frame::Announce(rows))
    }

    /// The rows below `place` behind `after`; what does not fit one frame is owed as the next.
    fn keys_frame(&mut self, peer: &PeerId, place: Place, after: Option<Key>) -> Frame {
        let mut size = 0;
        let mut listed = Vec::new();
        let mut upto = None;
        let scope = self.neighbours.get(peer).and_then(|neighbour| neighbour.flow.shared());
        for (key, version) in self.shelf.index.seen(scope).below(place, after.as_ref()) {
            if size > FRAME_BYTES {
                upto = listed.last().map(|(key, _): &(Key, Brief)| key.clone());
                break;
            }
            size += key.as_bytes().len() + size_of::<Brief>();
            listed.push((key.clone(), brief(version)));
        }
        if let (Some(last), Some(neighbour)) = (&upto, self.neighbours.get_mut(peer)) {
            neighbour.list.insert(place, Some(last.clone()));
        }
        Frame::Keys { place, after, upto, rows: listed }
    }

    fn docs_frame(&mut self, peer: &PeerId, rows: &dyn Rows, outputs: &Outputs) -> Option<Frame> {
        let mut docs = Vec::new();
        let mut size = 0;
        while size < FRAME_BYTES {
            let Some((key, since)) = self.neighbours.get_mut(peer)?.dirty.next() else { break };
            // A document that cannot be read now is left to the next comparison.
            let Ok(Some((payload, rest))) = self.shelf.payload(&key, &since, FRAME_BYTES, rows, outputs) else {
                continue;
            };
            size += key.as_bytes().len() + weight(&payload);
            if let (Some(rest), Some(neighbour)) = (rest, self.neighbours.get_mut(peer)) {
                neighbour.owe_exactly(&key, rest);
            }
            let Ok(Some(version)) = self.shelf.version(&key, rows, outputs) else { continue };
            if let Some(neighbour) = self.neighbours.get_mut(peer).filter(|_| self.concerns.has(&key)) {
                neighbour.ask_whether_stored(&key);
            }
            docs.push((key, version, payload));
        }
        let (last, ..) = docs.last()?;
        self.neighbours.get_mut(peer)?.note_sent(last);
        Some(Frame::Docs(docs))
    }
}

fn pop<T: Ord>(set: &mut std::collections::BTreeSet<T>, most: usize) -> Vec<T> {
    std::iter::from_fn(|| set.pop_first()).take(most).collect()
}

/// Bytes of the part of a question that grows.
fn breadth(have: &Have) -> usize {
    match have {
        Have::Full { heads, .. } => size_of_val(heads.as_slice()),
        Have::Latest { .. } => 0,
    }
}

/// Bytes of a payload's content.
fn weight(payload: &Payload) -> usize {
    match payload {
        Payload::Full { changes, .. } => changes.iter().map(Bytes::len).sum(),
        Payload::Latest { text, .. } => text.as_ref().map_or(0, Bytes::len),
    }
}
