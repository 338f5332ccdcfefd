//! Applications of the simulated world: they read what is durable, write, and remember what was acknowledged.

use super::{Event, Node, SWEEP, World, Written};
use crate::docs::Document;
use crate::docs::life::Ttl;
use crate::docs::row::{State, View};
use crate::event::{Condition, Edit, Input, Quorum, Reply, RequestError, Terms};
use crate::ids::{Collection, Key, RequestId};
use crate::policy::{Deletion, Policy, RESERVED};
use crate::sim::check::Problem;
use rand::Rng;
use std::time::Duration;

/// How long a writer waits for a neighbour.
const CONCERN_LIMIT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn answer(&mut self, node: Node, request: RequestId, answer: Result<Reply, RequestError>) {
        if let Some(written) = self.concerns.remove(&request) {
            if let Ok(Reply::Stored { enough: true, .. }) = answer {
                self.is_stored_beside(node, written);
            }
            return;
        }
        self.acknowledged += usize::from(answer.is_ok());
        if self.policy.take_if(|policy| *policy == request).is_some() && answer.is_err() {
            // Without it, marks of deletes would live for days.
            return self.set_policy();
        }
        if let (Some(written), Ok(Reply::Written(_))) = (self.pending.remove(&request), answer) {
            self.wait_for_a_neighbour(node, &written);
            self.kept.push(written);
        }
    }

    /// Where things fail, every fourth writer goes on only when a neighbour has stored what it wrote.
    fn wait_for_a_neighbour(&mut self, node: Node, written: &Written) {
        if self.scenario.loss <= 0.0 || !written.value.is_multiple_of(4) {
            return;
        }
        let request = RequestId(self.id());
        self.concerns.insert(request, written.clone());
        let quorum = Quorum { peers: 1, ..Quorum::default() };
        let input = Input::Await { request, key: written.key.clone(), quorum, limit: CONCERN_LIMIT };
        let boot = self.nodes[node].boot;
        self.after(Duration::ZERO, Event::Arrive { node, boot, input });
    }

    fn is_stored_beside(&mut self, writer: Node, written: Written) {
        let has = |node: Node| self.document(node, &written.key).is_some_and(|document| written.is_in(&document));
        if (0..self.nodes.len()).any(|node| node != writer && has(node)) {
            self.stored += 1;
        } else {
            self.unstored = Some(written);
        }
    }

    /// One write of an application, of five kinds; the first three must survive once acknowledged, documents of the
    /// others come and go.
    pub(super) fn write(&mut self, node: Node) {
        if self.nodes[node].core.is_none() {
            return;
        }
        if self.nodes[node].writing {
            // The application reads, adds a leaf and puts as one step; between two steps the driver could merge a leaf
            // that the put would then rightly remove.
            self.after(Duration::from_millis(10), Event::Write { node });
            return;
        }
        let request = RequestId(self.id());
        let value = request.0;
        let (kind, shared) = (self.rng.random_range(0..6), self.rng.random_range(0..6));
        let (key, leaf) = match kind {
            0 => (key("single", &format!("doc-{value}")), "only".to_owned()),
            1 | 2 => (key("shared", &format!("doc-{shared}")), format!("leaf-{value}")),
            3 => (key("tracks", &format!("own-{value}")), "only".to_owned()),
            4 => (key("tracks", &format!("doc-{shared}")), "last".to_owned()),
            _ => (key("notes", &format!("doc-{shared}")), format!("leaf-{}", value % 3)),
        };
        let shape = self.shape();
        let written = Written { key, object: Written::object_of(shape), leaf, value };
        let stays = kind < 4;
        if stays {
            self.pending.insert(request, written.clone());
        }
        let input = if !stays && self.rng.random_bool(0.3) {
            Input::Write { request, key: written.key.clone(), edit: Edit::Delete, terms: Condition::Always.into() }
        } else {
            let edit = self.edit(node, &written, shape);
            // Where things fail, some of the documents that come and go do so by themselves.
            let ttl = Ttl::of(value % 7).filter(|_| !stays && self.scenario.loss > 0.0);
            let terms = Terms { condition: Condition::Always, ttl };
            Input::Write { request, key: written.key.clone(), edit, terms }
        };
        self.note_own(node, &written.key);
        self.nodes[node].inbox.push_back(input);
        self.drive(node);
    }

    /// Names all deletes to each node; those that are due go.
    pub(super) fn sweep(&mut self) {
        for node in 0..self.nodes.len() {
            let deleted = |row: &[u8]| View::parse(row).is_ok_and(|view| view.state == State::Deleted);
            let rows = self.nodes[node].disk.rows.iter().filter(|(_, row)| deleted(row));
            let keys: Vec<Key> = rows.map(|(key, _)| key.clone()).collect();
            if !keys.is_empty() && self.nodes[node].core.is_some() {
                self.nodes[node].inbox.push_back(Input::Expire { keys });
                self.drive(node);
            }
        }
        self.after(SWEEP, Event::Sweep);
    }

    /// Sets, at the first node, how long the deletes of a collection are told that has a policy of its own.
    pub(super) fn set_policy(&mut self) {
        let (request, boot) = (RequestId(self.id()), self.nodes[0].boot);
        self.policy = Some(request);
        let tombstone_ttl = Some(self.scenario.marks.as_secs());
        let policy = Policy { deletion: Deletion::Tombstone, soft_delete_ttl: None, tombstone_ttl };
        let edit = Edit::Put(policy.to_document());
        let input = Input::Write { request, key: key(RESERVED, "tracks"), edit, terms: Condition::Always.into() };
        self.after(Duration::ZERO, Event::Arrive { node: 0, boot, input });
    }

    /// What an application reads at `node`: what is durable.
    pub(super) fn document(&self, node: Node, key: &Key) -> Option<Document> {
        View::parse(self.nodes[node].disk.rows.get(key)?).ok()?.document().ok()?
    }

    /// Deletes every live document at the first node.
    pub(in crate::sim) fn delete_everything(&mut self) -> Result<(), Problem> {
        self.concerns.clear();
        let keys = self.nodes[0].disk.rows.keys().filter(|key| key.collection() != RESERVED);
        let keys: Vec<Key> = keys.cloned().collect();
        for key in keys {
            let request = RequestId(self.id());
            let boot = self.nodes[0].boot;
            let input = Input::Write { request, key, edit: Edit::Delete, terms: Condition::Always.into() };
            self.after(Duration::ZERO, Event::Arrive { node: 0, boot, input });
        }
        self.run_until(self.uptime + Duration::from_secs(1))
    }
}

#[expect(clippy::expect_used, reason = "constants of the simulator, checked by its every run")]
fn key(collection: &str, id: &str) -> Key {
    let collection = Collection::parse(collection).expect("a valid collection");
    Key::new(&collection, id).expect("a valid id")
}
