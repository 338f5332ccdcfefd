//! Listeners of the API: bind, accept within a cap, stop.
//!
//! Purpose: one accept loop for every kind of stream. Inputs: addresses. Outputs: connections, each in a task of its
//! own. What it does not do: speak TLS or HTTP; [`super::access`] and [`super::connection`] do.
//!
//! A Unix socket is made with its parent folders; only a socket that nobody serves is removed to make room, never a
//! file; and our own is unlinked at the end.

use super::access::{Door, Entry};
use super::connection::{self, Serving};
use crate::config::{ApiConfig, Listen};
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections that the kernel holds while none is accepted; it refuses more.
const BACKLOG: u32 = 1024;

/// Pause after an accept that failed, such as for want of file descriptors, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refused the address.
    #[error("listen on {listen}")]
    Bind {
        /// What was asked for.
        listen: Listen,
        /// Why.
        source: io::Error,
    },
    /// A file is in the way, and it may be somebody's.
    #[error("listen on unix://{}: the path exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process serves there.
    #[error("listen on unix://{}: another process listens there", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
}

/// A bound listener.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Bound {
    /// Binds; for TCP port 0 the system chooses.
    pub(super) fn bind(listen: &Listen, config: &ApiConfig) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { listen: listen.clone(), source };
        match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Self::Tcp).map_err(failed),
            Listen::Unix(path) => {
                make_room(path, failed)?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode)).map_err(failed)?;
                let file = SocketFile::of(path).map_err(failed)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(_, file) => Ok(Listen::Unix(file.path.clone())),
        }
    }

    /// Serves until the API stops, then until the running calls have ended.
    pub(super) async fn serve(self, door: Door, serving: Serving) {
        match self {
            Self::Tcp(listener) => accept(listener, door, serving).await,
            Self::Unix(listener, file) => {
                accept(listener, door, serving).await;
                drop(file);
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Inherited by accepted sockets: an HTTP/1.1 stream has no pings of its own.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn make_room(path: &Path, failed: impl Fn(io::Error) -> ListenError) -> Result<(), ListenError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(&failed)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => Err(ListenError::NotASocket { path: path.to_owned() }),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(ListenError::InUse { path: path.to_owned() })
        }
        Ok(_) => fs::remove_file(path).map_err(failed),
    }
}

/// A socket file of ours: removed when dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), device_and_inode: device_and_inode(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if device_and_inode(&self.path).is_ok_and(|now| now == self.device_and_inode) {
            // Nobody is left to tell; the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// A source of streams.
trait Accept: Send + 'static {
    type Stream: Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Lets one stream in and serves it until it ends.
    fn attend(stream: Self::Stream, entry: Entry, serving: Serving) -> impl Future<Output = ()> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn attend(stream: TcpStream, entry: Entry, serving: Serving) {
        match entry {
            Entry::Plain(visitor) => connection::serve(stream, visitor, serving).await,
            Entry::Tls(turn) => {
                if let Some((stream, visitor)) = turn.enter(stream).await {
                    connection::serve(stream, visitor, serving).await;
                }
            }
        }
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }

    async fn attend(stream: UnixStream, entry: Entry, serving: Serving) {
        // A socket has no other.
        if let Entry::Plain(visitor) = entry {
            connection::serve(stream, visitor, serving).await;
        }
    }
}

async fn accept<L: Accept>(listener: L, door: Door, serving: Serving) {
    let room = Arc::new(Semaphore::new(serving.config.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            listener.accept().await.map(|stream| (stream, permit))
        };
        let accepted = tokio::select! {
            biased;
            () = serving.stopping.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let attended = L::attend(stream, door.open(), serving.clone());
                connections.spawn(async move {
                    attended.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an API connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RawArgs;
    use crate::config::Config;

    fn config() -> ApiConfig {
        Config::try_from(RawArgs { socket_mode: Some("0640".into()), ..RawArgs::default() }).unwrap().api
    }

    fn bind(path: &Path) -> Result<Bound, ListenError> {
        Bound::bind(&Listen::Unix(path.to_owned()), &config())
    }

    #[tokio::test]
    async fn a_socket_is_made_with_its_folders_and_mode_and_leaves_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/peat/peat.sock");
        let bound = bind(&path).unwrap();
        let file = fs::metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o640);
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_serves_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peat.sock");
        // The standard listener does not unlink: it leaves what a killed process leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(ListenError::InUse { .. })));
        drop(bound);
        fs::write(&path, "somebody's").unwrap();
        assert!(matches!(bind(&path), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    }

    #[tokio::test]
    async fn a_successor_keeps_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peat.sock");
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
