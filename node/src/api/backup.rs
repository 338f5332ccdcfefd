//! `Backup`: the store of this moment, as the bytes of a file.
//!
//! Inputs: a call. Outputs: the file in pieces; see [`crate::store::backup`] for what is in it. It is read as the
//! caller takes it. What it does not do: write a file, or tell whether all of it arrived: the file itself does.

use super::service::Sidecar;
use super::status::IntoStatus as _;
use connectrpc::ConnectError;
use futures::stream::{self, BoxStream, StreamExt as _};
use peat_proto::sidecar::peat::node::v1 as proto;

/// What a caller of `Backup` gets.
pub(super) type Pieces = BoxStream<'static, Result<proto::BackupPiece, ConnectError>>;

impl Sidecar {
    pub(super) async fn pieces(&self) -> Result<Pieces, ConnectError> {
        let pieces = self.handle.backup().await.map_err(|error| error.into_status())?;
        let pieces = pieces.map(|piece| match piece {
            Ok(data) => Ok(proto::BackupPiece { data, ..Default::default() }),
            Err(error) => Err(error.into_status()),
        });
        let stopping = self.stopping.clone();
        let ended = stopping.clone();
        let farewell = stream::once(std::future::ready(()))
            .filter(move |()| std::future::ready(ended.is_cancelled()))
            .map(|()| Err(ConnectError::unavailable("the node is shutting down")));
        Ok(pieces.take_until(stopping.cancelled_owned()).chain(farewell).boxed())
    }
}
