//! Applications of the simulated world: they read what is durable, write, and remember what was acknowledged.

use super::{Event, Node, World, Written};
use crate::docs::Document;
use crate::docs::row::View;
use crate::event::{Condition, Edit, Input, Reply, RequestError};
use crate::ids::{Collection, Key, RequestId};
use rand::Rng;
use std::time::Duration;

impl World {
    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Reply, RequestError>) {
        self.acknowledged += usize::from(answer.is_ok());
        if let (Some(written), Ok(Reply::Written(_))) = (self.pending.remove(&request), answer) {
            self.kept.push(written);
        }
    }

    /// One write of an application, of four kinds; the first three must survive once acknowledged.
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
        let (kind, shared) = (self.rng.random_range(0..5), self.rng.random_range(0..6));
        let (key, leaf) = match kind {
            0 => (key("single", &format!("doc-{value}")), "only".to_owned()),
            1 | 2 => (key("shared", &format!("doc-{shared}")), format!("leaf-{value}")),
            3 => (key("tracks", &format!("own-{value}")), "only".to_owned()),
            _ => (key("tracks", &format!("doc-{shared}")), "last".to_owned()),
        };
        if kind < 4 {
            self.pending.insert(request, Written { key: key.clone(), leaf: leaf.clone(), value });
        }
        let input = if kind == 4 && self.rng.random_bool(0.3) {
            Input::Write { request, key, edit: Edit::Delete, condition: Condition::Always }
        } else {
            let mut members = self.document(node, &key).map(Document::into_map).unwrap_or_default();
            members.insert(leaf, value.into());
            let edit = Edit::Put(Document::from_map(members));
            Input::Write { request, key, edit, condition: Condition::Always }
        };
        self.nodes[node].inbox.push_back(input);
        self.drive(node);
    }

    /// What an application reads at `node`: what is durable.
    fn document(&self, node: Node, key: &Key) -> Option<Document> {
        View::parse(self.nodes[node].disk.rows.get(key)?).ok()?.document().ok()?
    }

    /// Deletes every live document at the first node.
    pub(in crate::sim) fn delete_everything(&mut self) {
        let keys: Vec<Key> = self.nodes[0].disk.rows.keys().cloned().collect();
        for key in keys {
            let request = RequestId(self.id());
            let boot = self.nodes[0].boot;
            let input = Input::Write { request, key, edit: Edit::Delete, condition: Condition::Always };
            self.after(Duration::ZERO, Event::Arrive { node: 0, boot, input });
        }
        self.run_until(self.uptime + Duration::from_secs(1));
    }
}

#[expect(clippy::expect_used, reason = "constants of the simulator, checked by its every run")]
fn key(collection: &str, id: &str) -> Key {
    let collection = Collection::parse(collection).expect("a valid collection");
    Key::new(&collection, id).expect("a valid id")
}
