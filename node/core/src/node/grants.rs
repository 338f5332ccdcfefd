//! Rights of neighbours: told, kept, and what flows one way confirmed.
//!
//! Inputs: rules, and the frames of version 3; outputs: what neighbours may be told and asked for from now on. Every
//! key that a neighbour is told of, or asked for, passes the guards of [`Neighbour`]; what it says itself passes
//! [`MeshNode::admit`]. What it does not do: read files.

use super::receive::{LIST_AT, want};
use super::{MeshNode, NEVER};
use crate::docs::row::Version;
use crate::event::Outputs;
use crate::ids::{Key, PeerId};
use crate::rights::{Grants, Rights};
use crate::rows::Rows;
use crate::shelf::Merged;
use crate::sync::digest::{Digest, Place, Scope, Seen};
use crate::sync::frame::{Frame, Verdict, fingerprint};
use crate::sync::neighbour::{Neighbour, Since};
use std::collections::BTreeSet;
use std::time::Duration;

impl MeshNode {
    /// The rules changed; they hold from now on.
    pub(super) fn on_rights(&mut self, rights: Rights, uptime: Duration) {
        self.rights = rights;
        for (peer, neighbour) in &mut self.neighbours {
            if neighbour.permit(self.rights.grants(peer)) {
                compare_soon(neighbour, uptime);
            }
        }
        self.divide();
    }

    /// A neighbour says what may be done there.
    pub(super) fn on_grants(&mut self, peer: PeerId, grants: Grants, uptime: Duration) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if neighbour.learn(grants) {
            compare_soon(neighbour, uptime);
            self.divide();
        }
    }

    /// Makes the digests that comparisons with the neighbours need.
    pub(super) fn divide(&mut self) {
        let scopes = self.neighbours.values().flat_map(|neighbour| neighbour.flow.scopes());
        let scopes: BTreeSet<Scope> = scopes.cloned().collect();
        self.shelf.index.divide(&scopes);
    }

    /// What is compared with `neighbour`.
    pub(super) fn shared<'a>(&'a self, neighbour: &'a Neighbour) -> Seen<'a> {
        self.shelf.index.seen(neighbour.flow.shared())
    }

    /// A root of everything: whoever sends it grants everything, and takes it that this node does.
    pub(super) fn on_whole_root(&mut self, peer: PeerId, theirs: Digest, uptime: Duration) {
        self.on_grants(peer, Grants::ALL, uptime);
        self.compare_root(peer, fingerprint(&Grants::ALL), theirs);
    }

    /// A root of what is shared with a neighbour that knows `heard` of this node's grants.
    pub(super) fn on_part(&mut self, peer: PeerId, heard: u64, theirs: Digest) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.owes_heard = true;
        }
        self.compare_root(peer, heard, theirs);
    }

    fn compare_root(&mut self, peer: PeerId, heard: u64, theirs: Digest) {
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| neighbour.compares()) else { return };
        neighbour.is_known_as(heard);
        let agreed = !neighbour.owes_grants;
        let differs = self.neighbours.get(&peer).is_some_and(|neighbour| self.shared(neighbour).root() != theirs);
        if agreed && differs {
            self.answer_difference(peer, [Place::ROOT].into_iter());
        }
    }

    pub(super) fn on_heard(&mut self, peer: PeerId, heard: u64) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.is_known_as(heard);
        }
    }

    /// A neighbour asks about tree nodes of what it tells and is not told.
    pub(super) fn on_ask(&mut self, peer: PeerId, places: Vec<(Place, u64)>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let back = neighbour.flow.back().clone();
        // Then the neighbour does not know its rights yet; it asks again.
        if back.is_empty() {
            return;
        }
        let seen = self.shelf.index.seen(Some(&back));
        for (place, theirs) in places {
            let verdict = match seen.count(place) {
                _ if seen.half(place) == theirs => Verdict::Same,
                0 => Verdict::Nothing,
                _ => Verdict::Differs,
            };
            if verdict == Verdict::Differs && seen.is_short(place, LIST_AT) {
                // Deletes that the neighbour tells nobody of any more are heard of by asking, where it may know the
                // names.
                seen.below(place, None).for_each(|(key, _)| show(neighbour, key));
            }
            neighbour.one_way.answer(place, theirs, verdict);
        }
    }

    /// A neighbour answers for tree nodes that it was asked about.
    pub(super) fn on_answer(&mut self, peer: PeerId, answers: Vec<(Place, u64, Verdict)>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let out = neighbour.flow.out().clone();
        let seen = self.shelf.index.seen(Some(&out));
        for (place, digest, verdict) in answers {
            if !neighbour.one_way.answered(place, digest) {
                continue;
            }
            match verdict {
                Verdict::Same => {}
                Verdict::Nothing => seen.below(place, None).for_each(|(key, _)| neighbour.owe(key, Since::Start)),
                Verdict::Differs if seen.is_short(place, LIST_AT) => {
                    for (key, _) in seen.below(place, None) {
                        neighbour.one_way.open(key);
                        neighbour.ask_whether_stored(key);
                    }
                }
                Verdict::Differs => {
                    let children = place.children().filter(|child| seen.count(*child) > 0);
                    children.for_each(|child| neighbour.one_way.open_place(child));
                }
            }
        }
    }

    /// A neighbour that has not given its word about all that flows to it only, and something of that.
    #[cfg(feature = "sim")]
    pub(crate) fn unconfirmed(&self) -> Option<(PeerId, String)> {
        let waits = |(peer, neighbour): (&PeerId, &Neighbour)| Some((*peer, neighbour.one_way.first_open()?));
        self.neighbours.iter().find_map(waits)
    }

    /// What a frame says that its sender may say: all but what is about collections that do not flow so.
    pub(super) fn admit(&mut self, peer: PeerId, mut frame: Frame, rows: &dyn Rows, outputs: &Outputs) -> Frame {
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| !neighbour.flow.is_all()) else {
            return frame;
        };
        let flow = &neighbour.flow;
        match &mut frame {
            Frame::Docs(docs) => {
                let all = docs.len();
                docs.retain(|(key, _, _)| flow.may_write(key));
                self.docs_refused += (all - docs.len()) as u64;
            }
            Frame::Keys { rows, .. } => rows.retain(|(key, _)| flow.shares(key)),
            Frame::Want(keys) => {
                keys.retain(|(key, _)| flow.sends(key));
                for (key, theirs) in keys.iter().filter(|(key, _)| flow.tells(key)) {
                    if theirs.is_some() && self.shelf.collected_version(key, rows, outputs).is_some() {
                        neighbour.dirty.set(key, Since::Start);
                    }
                }
            }
            Frame::Announce(rows) | Frame::Collected(rows) => rows.retain(|(key, _)| flow.takes(key)),
            Frame::Confirm(questions) => questions.retain(|(key, _, _)| flow.takes(key)),
            Frame::Confirmed(answers) => answers.retain(|(key, _)| flow.sends(key)),
            // They name no documents.
            Frame::Root(_) | Frame::Children(_) | Frame::Push(_) | Frame::Part(..) | Frame::Heard(_) => {}
            Frame::Grants(_) | Frame::Ask(_) | Frame::Answer(_) => {}
        }
        frame
    }

    /// Content of `key` came and was merged: where a row does not show that it has all of that, the next question is
    /// answered by memory. Whether the peer has more of this version.
    pub(super) fn note_content(&mut self, peer: PeerId, key: &Key, version: Version, merged: &Merged) -> bool {
        let no_news = merged.changed.is_none() && self.shelf.index.version(key).is_none();
        let has_others = self.shelf.keeps_others(key);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return false };
        let is_stuck = neighbour.leaves_gaps_again(key, version, merged.gaps);
        if !neighbour.flow.is_told(key) {
            return merged.gaps && !is_stuck;
        }
        // Not where gaps are left: a writer that waits would take that for stored. Nor where its heads can be looked
        // up: what leaves no gap in a history that others have sent as well need not be all.
        if !(merged.gaps || has_others) && (merged.sender_behind || no_news) {
            neighbour.one_way.note_moot(key, version);
        } else {
            neighbour.one_way.forget_moot(key);
        }
        merged.gaps && !is_stuck
    }

    /// The next frame about rights.
    pub(super) fn grants_frame(&mut self, peer: &PeerId) -> Option<Frame> {
        let neighbour = self.neighbours.get_mut(peer)?;
        if std::mem::take(&mut neighbour.owes_grants) {
            return Some(Frame::Grants(neighbour.flow.mine().clone()));
        }
        std::mem::take(&mut neighbour.owes_heard).then(|| Frame::Heard(fingerprint(neighbour.flow.theirs())))
    }

    /// The next frame about what flows one way.
    pub(super) fn one_way_frame(&mut self, peer: &PeerId, most: usize) -> Option<Frame> {
        let neighbour = self.neighbours.get_mut(peer)?;
        let answers = neighbour.one_way.take_answers(most);
        if !answers.is_empty() {
            return Some(Frame::Answer(answers));
        }
        let seen = self.shelf.index.seen(Some(neighbour.flow.out()));
        let asked = neighbour.one_way.take_asked(most, |place| seen.half(place));
        (!asked.is_empty()).then_some(Frame::Ask(asked))
    }

    /// The root of what `peer` shares.
    pub(super) fn root_frame(&self, peer: &PeerId) -> Option<Frame> {
        let neighbour = self.neighbours.get(peer)?;
        let root = self.shared(neighbour).root();
        let part = || Frame::Part(fingerprint(neighbour.flow.theirs()), root);
        Some(if neighbour.flow.is_all() { Frame::Root(root) } else { part() })
    }
}

/// Asks for `key`, where the neighbour may know its name.
pub(super) fn show(neighbour: &mut Neighbour, key: &Key) {
    if neighbour.flow.may_read(key) {
        want(neighbour, key);
    }
}

/// The side that opens comparisons does so at once.
fn compare_soon(neighbour: &mut Neighbour, uptime: Duration) {
    if neighbour.next_root != NEVER {
        neighbour.next_root = uptime;
    }
}
