//! The DNS server of a local cluster: CoreDNS as a Deployment behind the usual Service address.
//!
//! Input: nothing. Output: manifests. It serves the cluster's own names only and listens on a port that needs no
//! privilege. Does not forward questions to the outside, so tests cannot come to depend on it.

use crate::local::images::COREDNS;
use crate::local::node::DNS_SERVICE;

/// The manifests, to be applied with kubectl.
pub(crate) fn manifests() -> String {
    include_str!("coredns.yaml").replace("{image}", COREDNS).replace("{address}", DNS_SERVICE)
}
