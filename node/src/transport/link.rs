//! One authenticated connection: a task that writes frames, and one that reads them.
//!
//! Purpose: carry frames in order on the stream of the handshake, each behind its 32-bit big-endian length. Inputs: a
//! queue of frames from the driver. Outputs: frames, and reports of what has left, to the driver.
//! What it does not do: read into frames; hold more than the constants below.

use crate::driver::Message;
use bytes::{Bytes, BytesMut};
use iroh::endpoint::{RecvStream, SendStream};
use peat_node_core::event::Input;
use peat_node_core::ids::{ConnId, PeerId};
use peat_node_core::sync::frame::LONGEST;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Frames that wait for one connection's writer. The core gives at most a window of bytes before it hears of `Sent`, so
/// this is reached only by a window full of the smallest frames; a connection that exceeds it is closed and catches up
/// when it is made again.
pub(super) const QUEUE: usize = 4096;

/// Bytes of received frames that wait for the driver, over all connections, and of long ones that are read: room for
/// several readers while one frame of the greatest length waits. A reader that finds no room stops reading, which stops
/// its peer.
const INBOUND_BYTES: usize = 4 * LONGEST;

/// Most frames are smaller, and are read without asking: each connection reads one at a time. For a longer one there
/// must be room before its bytes come, so that only longer ones wait for a peer that sends one slowly.
const SMALL: usize = 128 * 1024;

/// Frames are written together up to this many bytes.
const GROUP_BYTES: usize = 64 * 1024;

/// A buffer of this size turns many small frames into one read.
const READ_BUFFER: usize = 64 * 1024;

/// Why a link ended from our side.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the stream ended")]
    Stream,
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    #[error("the driver has ended")]
    Driver,
}

/// Memory for what is received, over all connections.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    /// For frames that wait for the driver.
    waiting: Arc<Semaphore>,
    /// For those over [`SMALL`] while they are read.
    large: Arc<Semaphore>,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(INBOUND_BYTES));
        Self { waiting: room(), large: room() }
    }
}

impl Rooms {
    async fn take(room: &Arc<Semaphore>, bytes: u32) -> Result<OwnedSemaphorePermit, LinkError> {
        // At least one, so that empty frames cannot be sent for free.
        Arc::clone(room).acquire_many_owned(bytes.max(1)).await.map_err(|_| LinkError::Driver)
    }
}

/// Which connection, for the reports to the driver.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) peer: PeerId,
    pub(super) messages: mpsc::Sender<Message>,
}

impl Link {
    /// Writes what `queue` brings until it is dropped or the stream fails.
    pub(super) async fn write(&self, mut send: SendStream, mut queue: mpsc::Receiver<Bytes>) -> Result<(), LinkError> {
        while let Some(first) = queue.recv().await {
            let mut bytes = first.len();
            let mut group = vec![prefix(&first), first];
            while bytes < GROUP_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.len();
                group.extend([prefix(&next), next]);
            }
            send.write_all_chunks(&mut group).await.map_err(|_| LinkError::Stream)?;
            self.report(Input::Sent { conn: self.conn, peer: self.peer, bytes }).await?;
        }
        // The queue was dropped: this node leaves, or the connection was replaced. All that was written still arrives.
        let _ = send.finish();
        let _ = send.stopped().await;
        Ok(())
    }

    /// Reads frames until the stream ends. A length over the limit is refused before anything is allocated for it.
    pub(super) async fn read(&self, recv: RecvStream, rooms: Rooms) -> Result<(), LinkError> {
        let mut recv = BufReader::with_capacity(READ_BUFFER, recv);
        loop {
            let length = recv.read_u32().await.map_err(|_| LinkError::Stream)?;
            let bytes = length as usize;
            if bytes > LONGEST {
                return Err(LinkError::TooLong(bytes));
            }
            let large = if bytes > SMALL { Some(Rooms::take(&rooms.large, length).await?) } else { None };
            let mut frame = BytesMut::zeroed(bytes);
            recv.read_exact(&mut frame).await.map_err(|_| LinkError::Stream)?;
            let room = Rooms::take(&rooms.waiting, length).await?;
            drop(large);
            let input = Input::Frame { conn: self.conn, peer: self.peer, frame: frame.freeze() };
            self.messages.send(Message::Frame { input, room }).await.map_err(|_| LinkError::Driver)?;
        }
    }

    async fn report(&self, input: Input) -> Result<(), LinkError> {
        self.messages.send(Message::Event(input)).await.map_err(|_| LinkError::Driver)
    }
}

/// The core never makes a frame over [`LONGEST`], so its length fits.
fn prefix(frame: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes())
}
