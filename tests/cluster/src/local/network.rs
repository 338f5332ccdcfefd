//! The network namespace of a local cluster and its link to the host.
//!
//! Input: a [`Slot`]. Output: a namespace whose `eth0` is the node's, a route on the host to its pods, forwarding on
//! the host for this one link. The host's global forwarding setting stays as it is, and everything goes when the
//! namespace goes. Does not make the pods' interfaces (CNI does).

use std::path::Path;

use crate::command::{CommandError, Run};
use crate::files::{self, FileError};
use crate::local::slot::Slot;

/// The network could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The `ip` program failed.
    #[error("set up the network of the node")]
    Ip(#[from] CommandError),
    /// Forwarding could not be switched on for the link.
    #[error("forward packets of the link")]
    Forwarding(#[from] FileError),
}

/// Creates the namespace and the link.
pub(crate) async fn create(slot: Slot) -> Result<(), NetworkError> {
    let (netns, link) = (slot.netns(), slot.link());
    let (host, node) = (slot.host_address(), slot.node_address());
    ip(&["netns", "add", &netns]).await?;
    ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &netns]).await?;
    ip(&["address", "add", &format!("{host}/24"), "dev", &link]).await?;
    ip(&["link", "set", &link, "up"]).await?;
    ip(&["-n", &netns, "link", "set", "lo", "up"]).await?;
    ip(&["-n", &netns, "address", "add", &format!("{node}/24"), "dev", "eth0"]).await?;
    ip(&["-n", &netns, "link", "set", "eth0", "up"]).await?;
    ip(&["-n", &netns, "route", "add", "default", "via", &host]).await?;
    ip(&["route", "add", &slot.pod_range(), "via", &node]).await?;
    // Packets that come in by this link may go on to another cluster's; those of other links are none of our business.
    let forwarding = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
    Ok(files::at("write", Path::new(&forwarding), std::fs::write(&forwarding, "1"))?)
}

/// Removes namespace and link, whichever exist. The namespace only goes when no process is left in it.
pub(crate) async fn remove(slot: Slot) -> Result<(), NetworkError> {
    // The link first: that of a namespace that is slow to go would block the next cluster of this slot.
    let link = Path::new("/sys/class/net").join(slot.link());
    if link.exists()
        && let Err(error) = ip(&["link", "delete", &slot.link()]).await
        // It goes by itself, a moment after the last process of its namespace.
        && link.exists()
    {
        return Err(error.into());
    }
    if slot.netns_path().exists() {
        ip(&["netns", "delete", &slot.netns()]).await?;
    }
    Ok(())
}

async fn ip(args: &[&str]) -> Result<(), CommandError> {
    Run::new("ip").args(args).output().await.map(drop)
}
