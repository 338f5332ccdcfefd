//! Faults of the simulated world: crashes, restarts, partitions, and their end.

use super::links::Cut;
use super::queues::CACHE;
use super::{Event, Node, SimNode, World};
use crate::docs::Kinds;
use crate::event::{Input, Source};
use crate::ids::{ConnId, PeerId};
use crate::node::{Config, MeshNode};
use crate::shelf::Stored;
use crate::sim::now;
use rand::Rng;
use std::time::Duration;

/// How long a connection lives over which one side hears nothing. The node's own limit is seven seconds; a partition
/// lasts hardly longer here, and nodes that try in vain to meet again are to be seen too.
const SILENCE: Duration = Duration::from_secs(5);

impl World {
    /// Divides the nodes by chance for `length`: nothing passes between the two sides, or nothing of what one of them
    /// says.
    pub(super) fn partition(&mut self, length: Duration) {
        for side in &mut self.side {
            *side = self.rng.random_range(0..2);
        }
        if self.chance.random_bool(self.scenario.one_way) {
            self.cut = Cut::From(self.chance.random_range(0..2));
            self.after(SILENCE, Event::Silence);
        } else {
            self.cut = Cut::Both;
            self.close_what_is_cut();
        }
        self.after(length, Event::Rejoin);
    }

    pub(super) fn crash(&mut self, node: Node) {
        let Some(mut core) = self.nodes[node].core.take() else { return };
        self.nodes[node].known_time = Some(core.known_time(now(self.uptime, self.nodes[node].skew)));
        self.nodes[node].inbox.clear();
        self.nodes[node].writing = false;
        self.in_flight.forget(node);
        // Whatever the disk has, the next process sees.
        self.show_late(node);
        let of_node = |(_, (a, b)): &(&ConnId, &(Node, Node))| *a == node || *b == node;
        let lost: Vec<ConnId> = self.conns.iter().filter(of_node).map(|(conn, _)| *conn).collect();
        lost.into_iter().for_each(|conn| self.close(conn));
        let down = Duration::from_millis(self.rng.random_range(100..10_000));
        self.after(down, Event::Boot { node });
    }

    pub(super) fn boot(&mut self, node: Node) {
        if self.nodes[node].core.is_some() {
            return;
        }
        let (actor, seed) = (self.rng.random(), self.rng.random());
        let peers: Vec<PeerId> = self.nodes[node].peers.iter().map(|&peer| self.nodes[peer].me).collect();
        let wall = now(self.uptime, self.nodes[node].skew).wall;
        let SimNode { me, boot, core, known_time, disk, inbox, rights, .. } = &mut self.nodes[node];
        *boot += 1;
        let (tombstone_ttl, history) = (self.scenario.marks, self.scenario.history);
        let config = Config {
            me: *me,
            actor,
            seed,
            sync_active: true,
            cache_bytes: CACHE,
            tombstone_ttl,
            known_time: *known_time,
            history,
            rights: rights.clone(),
            kinds: Kinds::default(),
        };
        let mut fresh = MeshNode::new(config);
        let rows = disk.rows.iter().filter_map(|(key, row)| Stored::read(key.clone(), row).ok()).collect::<Vec<_>>();
        debug_assert_eq!(rows.len(), disk.rows.len(), "the simulated disk damages nothing");
        fresh.restore(rows, wall);
        *core = Some(fresh);
        let wants =
            peers.into_iter().map(|peer| Input::Want { source: Source::Flag, peer, addresses: vec!["sim:1".into()] });
        inbox.extend(wants);
        self.drive(node);
    }

    /// Ends all faults; what was planned and has not happened does not.
    pub(in crate::sim) fn heal(&mut self) {
        self.side.fill(0);
        self.mend_disks();
        self.queue.retain(|_, event| {
            !matches!(event, Event::Crash { .. } | Event::Partition { .. } | Event::Write { .. } | Event::File { .. })
        });
    }

    /// Crashes all nodes at once; they come back one by one.
    pub(in crate::sim) fn restart_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.crash(node));
    }
}
