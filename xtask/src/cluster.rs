//! `cargo xtask cluster up|down|status`: a cluster to work with by hand.
//!
//! Inputs: a name and a flavour. Outputs: progress on standard error, and on standard output how to use what is up.
//! Does not install Peat (`demo` does).

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::{Subcommand, ValueEnum};
use peat_cluster::{ClusterId, DEFAULT_NAME, Flavor, Status, publish_kubeconfig};

/// Which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name; clusters of different names run side by side.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Brings it up, or finds it when it is up.
    Up {
        #[command(flatten)]
        named: Named,
        /// How it is made.
        #[arg(long, value_enum, default_value_t = FlavorArg::Local)]
        flavor: FlavorArg,
    },
    /// Takes it down with all that belongs to it, also what a crashed run left.
    Down {
        #[command(flatten)]
        named: Named,
    },
    /// Says whether it is up.
    Status {
        #[command(flatten)]
        named: Named,
    },
}

/// The flavours as words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FlavorArg {
    /// etcd, API server and controllers; no nodes, no root.
    Envtest,
    /// One node with real pods on this machine; needs root on Linux.
    Local,
    /// Nodes in containers; needs kind and a Docker engine.
    Kind,
}

impl From<FlavorArg> for Flavor {
    fn from(flavor: FlavorArg) -> Self {
        match flavor {
            FlavorArg::Envtest => Self::Envtest,
            FlavorArg::Local => Self::Local,
            FlavorArg::Kind => Self::Kind,
        }
    }
}

/// Does what the command line says.
pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { named: Named { name }, flavor } => up(&ClusterId::new(&name)?, flavor.into()).await,
        Command::Down { named: Named { name } } => Ok(ClusterId::new(&name)?.down().await?),
        Command::Status { named: Named { name } } => status(&ClusterId::new(&name)?),
    }
}

async fn up(id: &ClusterId, flavor: Flavor) -> Result<()> {
    tokio::select! {
        up = id.up(flavor) => drop(up.context("the cluster did not come up; what there is stays until `cluster down`")?),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listen for interrupts")?;
            eprintln!("interrupted: taking down what there is");
            id.down().await?;
            anyhow::bail!("interrupted");
        }
    }
    let kubeconfig = if id.name() == DEFAULT_NAME { publish_kubeconfig(id)? } else { id.kubeconfig() };
    let name = id.name();
    writeln!(
        std::io::stdout(),
        "The cluster {name} is up. To work with it:\n\n  export KUBECONFIG={}\n  kubectl get pods --all-namespaces\n\n\
         To take it down: cargo xtask cluster down --name {name}",
        kubeconfig.display()
    )?;
    Ok(())
}

fn status(id: &ClusterId) -> Result<()> {
    let text = match id.status()? {
        Status::Down => "down".to_owned(),
        Status::Broken => "broken: `cluster up` starts anew, `cluster down` clears it away".to_owned(),
        Status::Up { flavor, server } => {
            format!("up ({flavor}), API server {server}, kubeconfig {}", id.kubeconfig().display())
        }
    };
    writeln!(std::io::stdout(), "{}: {text}", id.name())?;
    Ok(())
}
