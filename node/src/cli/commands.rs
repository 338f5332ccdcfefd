//! The subcommands: a node for people and scripts, without meaning.
//!
//! Inputs: arguments. Outputs: texts that [`crate::client`] acts on. What it does not do: judge values.

use super::Secret;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Everything but running the node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read and write documents of a running node
    #[command(subcommand)]
    Doc(DocCommand),
    /// Print the stored documents as lines of JSON: collection, docId, document
    Export {
        /// Only this collection; may be given often
        #[arg(long, short, value_name = "NAME")]
        collection: Vec<String>,
        /// Which node
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Write the documents of an export; exit code 1 if a line fails, each is told by its number
    Import {
        /// Lines of JSON: collection, docId, document; `-` reads standard input
        #[arg(default_value = "-")]
        file: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show where a running node stands, and its peers
    Status(ApiArgs),
    /// Show the live peers of a running node
    Peers(ApiArgs),
    /// Wait until some peer has stored everything that a running node has; exit code 1 if `--timeout` comes first
    Drain(ApiArgs),
    /// Change what a running node logs, until it ends
    LogLevel {
        /// As `--log-level` of the node
        level: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Make the node's key before its first start, and print its endpoint id; fails if there is one
    Keygen(KeyArgs),
    /// Print the node's endpoint id; makes the key if there is none
    Id(KeyArgs),
    /// Print the endpoint id that a node has with `--identity derived`; talks to nobody and writes nothing
    DeriveId {
        /// Key of the mesh: 32 bytes in base64
        #[arg(long, value_name = "BASE64", env = "PEAT_NODE_SHARED_KEY", hide_env_values = true)]
        shared_key: Secret,
        /// Name of the node, as its `--node-id`
        #[arg(long, value_name = "NAME", env = "PEAT_NODE_NODE_ID", hide_env_values = true)]
        node_id: String,
    },
    /// Write all documents of a running node, with their histories, to a file; without the node's key
    Backup {
        /// The file; replaced when the backup is complete
        file: PathBuf,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print the documents of stores that were set aside because of damage, as lines of JSON; what was found and what
    /// not, on standard error
    Salvage(SalvageArgs),
    /// Make a store of a backup, in an empty data folder, before a node starts on it
    Restore(RestoreArgs),
}

/// Which node a client talks to, and how it prints.
#[derive(Debug, Clone, Args)]
pub struct ApiArgs {
    /// The node's API: `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH` [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URL", env = "PEAT_NODE_API", hide_env_values = true)]
    pub api: Option<String>,
    /// Certificates, PEM, of the authorities that vouch for the node; `https://` needs it
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_API_CA", hide_env_values = true)]
    pub api_ca: Option<String>,
    /// Certificate to show to the node, PEM
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_API_CERT", hide_env_values = true)]
    pub api_cert: Option<String>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// File of tokens, the first of which is shown to the node
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_API_TOKEN_FILE", hide_env_values = true)]
    pub api_token_file: Option<String>,
    /// How results are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
    /// Seconds to wait for an answer (a watch only waits for its beginning)
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
}

/// `peat-node restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// What `peat-node backup` wrote
    pub file: PathBuf,
    /// Folder of the store: empty, or not there [default: /data/peat-node]
    #[arg(long, value_name = "DIR", env = "PEAT_NODE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<String>,
    /// How results are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
}

/// `peat-node salvage`.
#[derive(Debug, Clone, Args)]
pub struct SalvageArgs {
    /// Folder of the store [default: /data/peat-node]
    #[arg(long, value_name = "DIR", env = "PEAT_NODE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<String>,
    /// As `--store-key-file` of the node, if the store was encrypted
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_STORE_KEY_FILE", hide_env_values = true)]
    pub store_key_file: Option<String>,
    /// As `--encryption-key-file` of the node; without it, what was put under that key is printed as ciphertext
    #[arg(long, value_name = "FILE", env = "PEAT_NODE_ENCRYPTION_KEY_FILE", hide_env_values = true)]
    pub encryption_key_file: Option<String>,
    /// Print also documents whose checksum is wrong, if their text is JSON nevertheless: look at them before use
    #[arg(long)]
    pub damaged: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON value for each line.
    Json,
}

/// `peat-node doc`.
#[derive(Debug, Subcommand)]
pub enum DocCommand {
    /// Write a document; it is durable when this returns
    Put {
        /// Collection
        collection: String,
        /// Document id
        id: String,
        /// A JSON object; `-` reads standard input, `@FILE` a file
        json: String,
        /// Wait until so many peers, or the peer with this endpoint id, have stored it too; may be given often. Exit
        /// code 1 if `--timeout` comes first; the document is written nevertheless
        #[arg(long, value_name = "COUNT|ID")]
        stored_by: Vec<String>,
        /// Seconds after which it goes by itself, on every node, unless it is written again; 0: the policy of its
        /// collection decides
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        ttl: u64,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print a document; exit code 1 if there is none
    Get {
        /// Collection
        collection: String,
        /// Document id
        id: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print the ids of a collection, ascending
    List {
        /// Collection
        collection: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print how many documents a collection has, and a digest by which two nodes are compared
    Digest {
        /// Collection
        collection: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Delete a document, here and on every peer; fine if there is none
    Delete {
        /// Collection
        collection: String,
        /// Document id
        id: String,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print what is stored, then every change, until interrupted
    Watch {
        /// Only this collection; may be given often
        #[arg(long, short, value_name = "NAME")]
        collection: Vec<String>,
        /// Only documents whose top-level field has this value (JSON, else taken as a string); all given must hold
        #[arg(long, value_name = "FIELD=VALUE")]
        query_eq: Vec<String>,
        /// Which node, and how to print
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Where the key is.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Folder of the node's data [default: /data/peat-node]
    #[arg(long, value_name = "DIR", env = "PEAT_NODE_DATA_DIR")]
    pub data_dir: Option<String>,
    /// Folder of the node's key [default: the data folder]
    #[arg(long, value_name = "DIR", env = "PEAT_NODE_KEY_DIR")]
    pub key_dir: Option<String>,
}
