//! Generated code of the Peat protocol buffers, one module per package.
//!
//! Purpose: the wire types of `peat.sidecar.v1` and `peat.node.v1` (feature `sidecar`: connectrpc and buffa) and of
//! `peat.membership.v1` (feature `membership`: tonic and prost). The `.proto` files under `peat/` are the source.
//! What it does not do: give the messages meaning; callers convert them at their edge.
#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction
)]

/// `peat.sidecar.v1` and `peat.node.v1`: applications to their node, over gRPC, gRPC-Web and Connect.
#[cfg(feature = "sidecar")]
pub mod sidecar {
    connectrpc::include_generated!();

    /// The encoded `FileDescriptorSet`, for gRPC reflection.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sidecar.bin"));
}

/// `peat.membership.v1`: nodes to the operator, over gRPC.
#[cfg(feature = "membership")]
pub mod membership {
    tonic::include_proto!("peat.membership.v1");
}
