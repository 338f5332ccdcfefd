//! Files of rights in the simulated world: every node has its own, and they change while it runs.
//!
//! Purpose: neighbours that see each other's rights late, differently, or not at all, under all faults. Inputs: chance
//! of its own seed, so that a run without files is what it was; outputs: files, and the first [`Problem`] with what was
//! told or is held. What it does not do: files that keep policies from anybody: marks of deletes would live differently
//! long.

use super::{Event, Node, SimNode, World};
use crate::docs::row::{Have, State, View};
use crate::event::{Input, Output, Outputs};
use crate::ids::{Key, PeerId};
use crate::policy::RESERVED;
use crate::rights::Rights;
use crate::sim::check::Problem;
use crate::sync::flow::Flow;
use crate::sync::frame::Frame;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// What applications write to.
const COLLECTIONS: [&str; 4] = ["single", "shared", "tracks", "notes"];

/// What files did and must not have done.
#[derive(Debug)]
pub(super) struct Files {
    rng: ChaCha8Rng,
    /// Whether there are any.
    are_there: bool,
    /// Collections that could ever have come to a node.
    could: BTreeSet<(Node, &'static str)>,
    /// Documents that were written at a node.
    own: BTreeSet<(Node, Key)>,
    leaked: Option<Problem>,
}

impl Files {
    pub(super) fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(!seed);
        Self { rng, are_there: false, could: BTreeSet::new(), own: BTreeSet::new(), leaked: None }
    }
}

impl World {
    /// Gives each node a file, and lets so many change while things fail.
    pub(super) fn hand_out_files(&mut self, changes: usize, trouble: std::time::Duration) {
        if changes == 0 {
            return;
        }
        self.files.are_there = true;
        // Either one file for all, or one for each, or some of both.
        let common = self.file();
        let differing = [0.0, 0.3, 1.0][self.files.rng.random_range(0..3)];
        for node in 0..self.nodes.len() {
            let own = self.files.rng.random_bool(differing);
            self.nodes[node].rights = if own { self.file() } else { common.clone() };
        }
        self.note_what_could_flow();
        for _ in 0..changes {
            let at = self.files.rng.random_range(std::time::Duration::ZERO..trouble);
            let node = self.files.rng.random_range(0..self.nodes.len());
            self.at(at, Event::File { node });
        }
    }

    /// The file of a node changes.
    pub(super) fn change_file(&mut self, node: Node) {
        let rights = self.file();
        self.set_file(node, rights);
        self.note_what_could_flow();
    }

    /// Takes all files away.
    pub(in crate::sim) fn remove_files(&mut self) {
        self.files.are_there = false;
        (0..self.nodes.len()).for_each(|node| self.set_file(node, Rights::default()));
    }

    fn set_file(&mut self, node: Node, rights: Rights) {
        let SimNode { core, inbox, rights: file, .. } = &mut self.nodes[node];
        file.clone_from(&rights);
        if core.is_some() {
            inbox.push_back(Input::Rights(rights));
            self.drive(node);
        }
    }

    #[expect(clippy::expect_used, reason = "a text of the simulator, checked by its every run")]
    fn file(&mut self) -> Rights {
        let mut text = format!("{RESERVED} both *\n");
        for collection in COLLECTIONS.into_iter().chain(["*"]) {
            for right in ["read", "write"] {
                match self.files.rng.random_range(0..10) {
                    0 => text += &format!("{collection} {right} nobody\n"),
                    1..4 => {
                        let some: Vec<PeerId> = self.nodes.iter().map(|node| node.me).collect();
                        let some = some.into_iter().filter(|_| self.files.rng.random_bool(0.5));
                        text.extend(some.map(|peer| format!("{collection} {right} {peer}\n")));
                    }
                    4..7 => text += &format!("{collection} {right} *\n"),
                    // No line: the rest decides.
                    _ => {}
                }
            }
        }
        Rights::parse(&text).expect("a file of rights")
    }

    fn flow(&self, a: Node, b: Node) -> Flow {
        let [one, other] = [&self.nodes[a], &self.nodes[b]];
        Flow::new(one.rights.grants(&other.me), other.rights.grants(&one.me))
    }

    fn note_what_could_flow(&mut self) {
        for (a, b) in (0..self.nodes.len()).flat_map(|a| (0..self.nodes.len()).map(move |b| (a, b))) {
            let (here, there) = (self.nodes[a].rights.grants(&self.nodes[b].me), &self.nodes[b].rights);
            let there = there.grants(&self.nodes[a].me);
            let flows = COLLECTIONS.into_iter().filter(|name| here.of(name).read && there.of(name).write);
            self.files.could.extend(flows.filter(|_| a != b).map(|name| (b, name)));
        }
    }

    /// An application writes at a node.
    pub(super) fn note_own(&mut self, node: Node, key: &Key) {
        if self.files.are_there {
            self.files.own.insert((node, key.clone()));
        }
    }

    /// Looks at what a node is about to tell.
    pub(super) fn watch(&mut self, node: Node, outputs: &Outputs) {
        if !self.files.are_there || self.files.leaked.is_some() {
            return;
        }
        for output in &outputs.sends {
            let Output::Send { peer, frame, .. } = output else { continue };
            let Ok(frame) = Frame::decode(frame.clone()) else { continue };
            let grants = self.nodes[node].rights.grants(peer);
            let (told, asked) = named(&frame);
            let leak = told.into_iter().find(|key| !grants.of(key.collection()).read);
            let leak = leak.or_else(|| asked.into_iter().find(|key| !grants.of(key.collection()).write));
            if let Some(key) = leak {
                let (node, key) = (self.nodes[node].me, format!("{key:?}"));
                self.files.leaked = Some(Problem::Leak { node, peer: *peer, key });
            }
        }
    }

    /// Nothing was told that may not be read, and nothing is held that could not have come.
    pub(in crate::sim) fn leak(&self) -> Option<Problem> {
        let held = self.nodes.iter().enumerate().find_map(|(node, SimNode { me, disk, .. })| {
            let foreign = disk.rows.keys().filter(|key| key.collection() != RESERVED);
            let mut foreign = foreign.filter(|key| !self.files.own.contains(&(node, (*key).clone())));
            let could = |name: &str| self.files.could.iter().any(|(to, what)| *to == node && *what == name);
            let key = foreign.find(|key| !could(key.collection()))?;
            Some(Problem::Held { node: *me, key: format!("{key:?}") })
        });
        self.files.leaked.clone().or(held)
    }

    /// The first two connected nodes of which one has not what it is to have from the other.
    pub(in crate::sim) fn unsettled(&mut self) -> Option<Problem> {
        let pairs: BTreeSet<(Node, Node)> = self.conns.values().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
        pairs.into_iter().find_map(|(a, b)| self.lacks(a, b))
    }

    /// What `b` lacks of what `a` tells it.
    fn lacks(&mut self, a: Node, b: Node) -> Option<Problem> {
        let flow = self.flow(a, b);
        let (other, node) = (self.nodes[a].me, self.nodes[b].me);
        let rows = self.nodes[a].disk.rows.clone();
        let told = rows.iter().filter(|(key, _)| flow.sends(key));
        for (key, view) in told.filter_map(|(key, row)| Some((key, View::parse(row).ok()?))) {
            let there = self.nodes[b].disk.rows.get(key).and_then(|row| View::parse(row).ok());
            let version = |view: &View<'_>| (view.state != State::Collected).then_some(view.version);
            let (ours, theirs) = (version(&view), there.as_ref().and_then(version));
            let states = (view.state, there.map(|there| there.state));
            let is_enough = match flow.shares(key) {
                true => ours == theirs,
                false => ours.is_none() || ours == theirs || self.covers(b, key, &view.have),
            };
            if !is_enough {
                let key = format!("{key:?} ({states:?}, shared: {})", flow.shares(key));
                return Some(Problem::Unsettled { node, other, key });
            }
        }
        let (waits_for, what) = self.nodes[a].core.as_ref()?.unconfirmed()?;
        Some(Problem::Unconfirmed { node: other, other: waits_for, what })
    }

    /// Whether a node has all of `theirs`, in whatever way.
    fn covers(&mut self, node: Node, key: &Key, theirs: &Have) -> bool {
        let SimNode { core: Some(core), disk, .. } = &mut self.nodes[node] else { return false };
        if core.covers(key, theirs, disk, &Outputs::default()).unwrap_or(false) {
            return true;
        }
        let Some(view) = disk.rows.get(key).and_then(|row| View::parse(row).ok()) else { return false };
        match (&view.have, theirs) {
            // Deleted here after its last edit there; what was put since then need not have seen that edit, where only
            // a short row of the delete was left. Or of a higher generation.
            (Have::Full { life, .. }, Have::Full { life: theirs, .. }) => {
                let outlives = life.generation > theirs.generation && life.edited >= theirs.edited;
                life.tombstone >= theirs.tombstone && (outlives || life.tombstone >= theirs.edited)
            }
            (ours, theirs) => ours.newest() >= theirs.newest(),
        }
    }
}

/// Documents that a frame tells of, and those that it asks for or confirms.
fn named(frame: &Frame) -> (Vec<&Key>, Vec<&Key>) {
    match frame {
        Frame::Docs(docs) => (docs.iter().map(|(key, _, _)| key).collect(), Vec::new()),
        Frame::Keys { after, upto, rows, .. } => {
            (rows.iter().map(|(key, _)| key).chain(after).chain(upto).collect(), Vec::new())
        }
        Frame::Announce(rows) | Frame::Collected(rows) => (rows.iter().map(|(key, _)| key).collect(), Vec::new()),
        Frame::Confirm(questions) => (questions.iter().map(|(key, _, _)| key).collect(), Vec::new()),
        Frame::Want(keys) => (Vec::new(), keys.iter().map(|(key, _)| key).collect()),
        Frame::Confirmed(answers) => (Vec::new(), answers.iter().map(|(key, _)| key).collect()),
        Frame::Root(_) | Frame::Children(_) | Frame::Push(_) | Frame::Grants(_) => (Vec::new(), Vec::new()),
        Frame::Part(..) | Frame::Heard(_) | Frame::Ask(_) | Frame::Answer(_) => (Vec::new(), Vec::new()),
    }
}
