//! `peat-node backup` and `peat-node restore`.
//!
//! Inputs: a running node and the name of a file; or a backup and an empty data folder. Outputs: the file, or the
//! store; what is in it as lines, and an error where the store had damaged entries that the file does not have. A file
//! has its name only when it is whole, sound and on disk. What it does not do: back up the node's key, which is as good
//! as the node; restore while a node runs on the folder.

use super::ClientError;
use super::api::{Client, broken};
use super::output::Printer;
use crate::cli::{ApiArgs, Format, RestoreArgs};
use crate::config::DEFAULT_DATA_DIR;
use crate::store::backup::{self, Counts};
use crate::store::sync;
use connectrpc::ConnectError;
use peat_proto::sidecar::peat::node::v1 as proto;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(super) async fn backup(file: &Path, api: &ApiArgs) -> Result<(), ClientError> {
    let failed = |source| ClientError::Output { path: file.to_owned(), source };
    let unfinished = Unfinished::beside(file).map_err(failed)?;
    fetch(&unfinished, api, failed).await?;
    let counts = backup::verify(&unfinished.0)?;
    fs::rename(&unfinished.0, file).and_then(|()| sync::parent(&absolute(file)?)).map_err(failed)?;
    print(api.output, counts)?;
    match counts.left_out {
        0 => Ok(()),
        left_out => Err(ClientError::LeftOut(left_out)),
    }
}

pub(super) fn restore(args: &RestoreArgs) -> Result<(), ClientError> {
    let given = args.data_dir.as_deref().filter(|text| !text.is_empty());
    let data_dir = PathBuf::from(given.unwrap_or(DEFAULT_DATA_DIR));
    let counts = backup::restore(&args.file, &data_dir)?;
    print(args.output, counts)
}

fn print(output: Format, Counts { rows, history, left_out }: Counts) -> Result<(), ClientError> {
    let fields = [("rows", json!(rows)), ("historyRecords", json!(history)), ("leftOut", json!(left_out))];
    Printer::new(output).fields(&fields)?;
    Ok(())
}

/// Takes the whole stream into the file, and the file to the disk.
async fn fetch(
    unfinished: &Unfinished,
    api: &ApiArgs,
    failed: impl Fn(io::Error) -> ClientError,
) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let begun = tokio::time::timeout(client.timeout, client.node.backup(proto::BackupRequest::default())).await;
    let mut pieces = begun.map_err(|_| ConnectError::unavailable("the node did not answer in time"))??;
    let mut out = BufWriter::new(unfinished.open().map_err(&failed)?);
    while let Some(piece) = pieces.message().await.map_err(|error| broken(error, pieces.trailers().is_some()))? {
        out.write_all(piece.data()).map_err(&failed)?;
    }
    let out = out.into_inner().map_err(|error| failed(error.into_error()))?;
    out.sync_all().map_err(failed)
}

fn absolute(file: &Path) -> io::Result<PathBuf> {
    std::path::absolute(file)
}

/// A file that goes with the value, unless it was renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// In the folder of `file`, so that a rename is enough.
    fn beside(file: &Path) -> io::Result<Self> {
        let mut name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        Ok(Self(file.with_file_name(name)))
    }

    /// Readable by its owner only: it has every document.
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
