//! The stages of `cargo xtask test`: their order, their names and which test programs belong to each.
//!
//! Input: a stage, or the name of a test program. Output: words and limits. Runs nothing.

use std::time::Duration;

/// One stage, in the order of running: what fails soonest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stage {
    /// rustfmt.
    Format,
    /// Generated files are up to date.
    Generated,
    /// Licences and banned crates.
    Policy,
    /// clippy, warnings denied.
    Lints,
    /// Compiles every test program and both binaries.
    Build,
    /// Unit, property and golden tests of every crate.
    Unit,
    /// Examples in the documentation.
    Documentation,
    /// The seeded simulator of the mesh protocol.
    Simulator,
    /// Node processes started by flags alone.
    Nodes,
    /// A real API server, without nodes.
    ControlPlane,
    /// The chart: rendering, schema, acceptance by a real API server.
    Chart,
    /// Clusters on this machine: side by side, a reboot, a crash, nothing left.
    LocalClusters,
    /// Real pods.
    Pods,
}

impl Stage {
    /// Every stage, in order.
    pub(crate) const ALL: &[Self] = &[
        Self::Format,
        Self::Generated,
        Self::Policy,
        Self::Lints,
        Self::Build,
        Self::Unit,
        Self::Documentation,
        Self::Simulator,
        Self::Nodes,
        Self::ControlPlane,
        Self::Chart,
        Self::LocalClusters,
        Self::Pods,
    ];

    /// The word on the command line, in the summary and in the name of the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Generated => "generated",
            Self::Policy => "policy",
            Self::Lints => "lints",
            Self::Build => "build",
            Self::Unit => "unit",
            Self::Documentation => "documentation",
            Self::Simulator => "simulator",
            Self::Nodes => "nodes",
            Self::ControlPlane => "control-plane",
            Self::Chart => "chart",
            Self::LocalClusters => "local-clusters",
            Self::Pods => "pods",
        }
    }

    /// What the stage shows, for the progress line.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::Format => "rustfmt has nothing to change",
            Self::Generated => "generated files are what the types say",
            Self::Policy => "licences and banned crates",
            Self::Lints => "clippy, warnings denied",
            Self::Build => "every test program and both binaries",
            Self::Unit => "unit, property and golden tests",
            Self::Documentation => "examples in the documentation",
            Self::Simulator => "the mesh protocol under loss, partitions and restarts",
            Self::Nodes => "node processes started by flags alone",
            Self::ControlPlane => "reconcile, admission and membership against a real API server",
            Self::Chart => "rendering, values and acceptance by a real API server",
            Self::LocalClusters => "clusters with a node, side by side, through a reboot and a crash",
            Self::Pods => "real pods on a real kubelet",
        }
    }

    /// After this a stage's program is stopped and counted as failed. Wide: it is there for hangs, not for speed.
    pub(crate) fn deadline(self) -> Duration {
        const MINUTE: u64 = 60;
        match self {
            Self::Format | Self::Generated | Self::Policy => Duration::from_secs(15 * MINUTE),
            // A cold machine compiles everything once for the lints and once for the tests.
            Self::Lints | Self::Build => Duration::from_secs(60 * MINUTE),
            Self::Unit | Self::Documentation | Self::Simulator | Self::Nodes => Duration::from_secs(20 * MINUTE),
            Self::ControlPlane | Self::Chart | Self::LocalClusters | Self::Pods => Duration::from_secs(30 * MINUTE),
        }
    }

    /// The stage that runs the test program `target`: the prefix of its file name is its tier.
    pub(crate) fn of(target: &str) -> Self {
        const TIERS: &[(&str, Stage)] = &[
            ("sim_", Stage::Simulator),
            ("mesh_", Stage::Nodes),
            ("admit_", Stage::ControlPlane),
            ("join_", Stage::ControlPlane),
            ("reconcile_", Stage::ControlPlane),
            ("cluster_", Stage::ControlPlane),
            ("chart_", Stage::Chart),
            ("local_", Stage::LocalClusters),
            ("e2e_", Stage::Pods),
        ];
        TIERS.iter().find(|(prefix, _)| target.starts_with(prefix)).map_or(Self::Unit, |&(_, stage)| stage)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_stage_is_run() {
        assert_eq!(Stage::ALL, Stage::value_variants());
    }

    #[test]
    fn the_prefix_of_a_test_program_is_its_tier() {
        assert_eq!(Stage::of("sim_partitions"), Stage::Simulator);
        assert_eq!(Stage::of("e2e_story"), Stage::Pods);
        assert_eq!(Stage::of("golden_injection"), Stage::Unit);
        assert_eq!(Stage::of("peat_crds"), Stage::Unit);
    }
}
