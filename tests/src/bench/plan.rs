//! What to measure, with what, and how much of it.
//!
//! Inputs: flags; outputs: a [`Plan`]. What it does not do: measure.

use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;

/// A subject that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// How soon a node takes documents, and its memory when idle; etcd's beside it.
    Start,
    /// Durable puts at 1 and 64 in flight; fdatasync, Automerge and etcd beside them.
    Puts,
    /// One hop and bursts between two nodes; a QUIC ping-pong beside them.
    Hop,
    /// One document edited ten thousand times.
    Edits,
    /// Many documents: memory, start, list, first sync, catch-up.
    Volume,
    /// The same work by two nodes and by other stores that replicate: automerge-repo and iroh-docs.
    Peers,
    /// The operator's webhook at 200 reviews a second, and the operator's memory.
    Webhook,
    /// Real pods: from created to the first synced document, and a sidecar's memory. Needs root.
    Pods,
}

impl Group {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Puts => "puts",
            Self::Hop => "hop",
            Self::Edits => "edits",
            Self::Volume => "volume",
            Self::Peers => "peers",
            Self::Webhook => "webhook",
            Self::Pods => "pods",
        }
    }

    /// What it shows, for the progress line.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Start => "start and memory of an idle node",
            Self::Puts => "durable puts, next to fdatasync, Automerge and etcd",
            Self::Hop => "one hop and bursts, next to a QUIC ping-pong",
            Self::Edits => "one document, edited again and again",
            Self::Volume => "many documents: memory, start, list, first sync, catch-up",
            Self::Peers => "other stores that replicate, at the same work",
            Self::Webhook => "a real operator process under admission reviews",
            Self::Pods => "a real cluster: pod created to first synced document",
        }
    }
}

/// How much to do.
#[derive(Debug, Clone, Serialize)]
pub struct Sizes {
    /// Puts at 64 in flight; a fifth of them at 1.
    pub puts: usize,
    /// Single hops for each kind of document.
    pub hops: usize,
    /// Documents of each burst.
    pub bursts: Vec<usize>,
    /// Edits of one document.
    pub edits: usize,
    /// Documents of the group `volume`.
    pub documents: usize,
    /// Seconds of admission reviews.
    pub review_seconds: u32,
    /// Pods that are timed, one after the other.
    pub pods: usize,
}

/// Everything a measurement needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `peat-node`.
    pub node: PathBuf,
    /// `peat-operator`.
    pub operator: PathBuf,
    /// Folder with the images of both as `peat-node.tar` and `peat-operator.tar`, for real pods.
    pub images: PathBuf,
    /// Folder for stores, on the disk that is measured.
    pub folder: PathBuf,
    /// How much.
    pub sizes: Sizes,
    /// Leave real pods out.
    pub quick: bool,
}
