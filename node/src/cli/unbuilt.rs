//! Flags of other nodes with this API, for what this version does not have.
//!
//! Purpose: whoever changes over to this node keeps the command line. They are not in the help. Inputs: none of its
//! own. Outputs: texts, by what they are for. What it does not do: say what becomes of them; see `config::unbuilt`.

use clap::Args;

/// A group of flags that take a value, and of switches, which may do without: what counts is whether there are any.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($flag:ident),* } switches { $($switch:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Args)]
        #[group(skip)]
        #[allow(missing_docs, reason = "the names say it all")]
        pub struct $name {
            $(#[arg(long, hide = true)]
            pub $flag: Option<String>,)*
            $(#[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
            pub $switch: Option<String>,)*
        }

        impl $name {
            /// What was given of them.
            pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
                [$(self.$flag.as_deref(),)* $(self.$switch.as_deref(),)*].into_iter().flatten()
            }
        }
    };
}

flags! {
    /// Files that go with documents.
    Attachments {
        attachment_root, attachment_max_file_bytes, attachment_max_bundle_bytes, attachment_max_files_per_bundle,
        attachment_max_node_list_len, attachment_max_concurrent_distributions, attachment_default_priority,
        attachment_discovery_grace_secs, attachment_handle_retention_secs, attachment_max_known_bundles,
        attachment_inbox, attachment_inbox_poll_secs, attachment_outbox_poll_secs, blob_stall_timeout_secs
    } switches { attachment_queue_when_full, attachment_outbox_watch }
}

flags! {
    /// What reports the state of an agent beside the node.
    Watcher { agent_addr, agent_poll_interval, agent_tls_cert, agent_tls_key, agent_tls_ca } switches {}
}

flags! {
    /// A bridge to NATS.
    Bridge { nats_url, nats_mapping, nats_shutdown_timeout_secs } switches {}
}

flags! {
    /// How peers that nobody names are found; of no use without one of the ways.
    Discovery {
        discovery_service, discovery_interval, discovery_interval_secs, discovery_namespace, discovery_label_selector,
        discovery_annotation_prefix
    } switches {}
}

/// All of them.
#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "the names say it all")]
pub struct Unbuilt {
    #[command(flatten)]
    pub attachments: Attachments,
    #[command(flatten)]
    pub watcher: Watcher,
    #[command(flatten)]
    pub bridge: Bridge,
    #[command(flatten)]
    pub discovery: Discovery,
    #[arg(long, hide = true)]
    pub discovery_mode: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_kubernetes_discovery: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_mdns: Option<String>,
    #[arg(long, hide = true)]
    pub allocator_stats_interval_secs: Option<String>,
}
