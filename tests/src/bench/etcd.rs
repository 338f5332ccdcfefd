//! etcd as a peer: its own process on the same disk, and a client of its key-value service.
//!
//! Inputs: the binary that clusters here use; outputs: a process that ends with the value, and durable puts over gRPC.
//! The messages are the fields that are needed of `etcdserverpb` (etcd's `api/etcdserverpb/rpc.proto`). What it does
//! not do: tune etcd.

use super::process::{Process, free_ports};
use anyhow::{Context as _, Result};
use http::uri::PathAndQuery;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(bool, tag = "9")]
    count_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

/// A running etcd with one member.
#[derive(Debug)]
pub(super) struct Etcd {
    process: Process,
    url: String,
    /// From the start of the process until the first answer.
    pub(super) started_in: Duration,
    /// Dropped after the process is gone.
    _data: TempDir,
}

impl Etcd {
    /// Starts one with an empty store in `folder`, and with the defaults of every flag that is not an address.
    pub(super) async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let data = tempfile::tempdir_in(folder)?;
        let [client, peer] = free_ports::<2>()?.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(binary);
        command.args(["--name=bench", "--log-level=warn"]).arg("--data-dir").arg(data.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("bench={peer}")]);
        let mut process = Process::start("etcd", &mut command)?;
        let connection = connect(&client)?;
        let ((), started_in) = process.until(async || count(&connection).await.ok().map(drop)).await?;
        Ok(Self { process, url: client, started_in, _data: data })
    }

    /// A client with a connection of its own.
    pub(super) fn client(&self) -> Result<Channel> {
        connect(&self.url)
    }

    /// Processor time it has used.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        self.process.processor_time()
    }

    /// Resident memory in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        self.process.resident()
    }
}

fn connect(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect_lazy())
}

/// Writes a value; it is durable when this returns.
pub(super) async fn put(connection: &Channel, key: &str, value: &str) -> Result<()> {
    let request = PutRequest { key: key.into(), value: value.into() };
    let put: PutResponse = call(connection, "/etcdserverpb.KV/Put", request).await?;
    let PutResponse {} = put;
    Ok(())
}

/// How many keys there are.
pub(super) async fn count(connection: &Channel) -> Result<i64> {
    // One zero byte in both fields: every key.
    let request = RangeRequest { key: vec![0], range_end: vec![0], count_only: true };
    let found: RangeResponse = call(connection, "/etcdserverpb.KV/Range", request).await?;
    Ok(found.count)
}

async fn call<Q, A>(connection: &Channel, path: &'static str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(connection.clone());
    grpc.ready().await.context("reach etcd")?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
    Ok(answer.with_context(|| format!("call {path}"))?.into_inner())
}
