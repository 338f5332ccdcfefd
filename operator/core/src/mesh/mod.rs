//! One mesh: from the PeatMesh as written to what should exist and what to say about it.
//!
//! Steps: [`validate`](fn@validate) (raw object -> [`ValidatedMesh`]), [`build`](fn@build) (-> prepared resources),
//! [`status`](fn@status) (applied resources and counts -> status). [`MeshIndex`] holds the meshes of a cluster.
//! What it does not do: read or write objects.

mod build;
mod index;
pub mod resource;
pub mod status;
mod validate;

pub use build::{Facts, build};
pub use index::{MeshIndex, NamespaceView};
pub use status::status;
pub use validate::{Namespaces, Sidecar, ValidateError, ValidatedMesh, validate};
