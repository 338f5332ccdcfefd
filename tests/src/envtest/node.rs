//! The node's side of `Membership.Join`, as the protocol says it: a real key, a real stream, no documents.
//!
//! Inputs: the operator's URL and CA, a pod, a token. Outputs: what the operator answers. Every step can be taken
//! alone, so that tests can take it wrongly. What it does not do: retry, or hide a refusal.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::Api;
use peat_cluster::wait_for;
use peat_crds::{PeatMesh, names};
use peat_operator_core::identity::join_message;
use peat_proto::membership::join_request::Message as Request;
use peat_proto::membership::join_response::Message as Response;
use peat_proto::membership::membership_client::MembershipClient;
use peat_proto::membership::{Hello, JoinRequest, JoinResponse, Joined, Proof};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Status, Streaming};

use super::{Harness, PATIENCE, uid};

/// A node: its key, its pod and how it reaches the operator.
pub struct Node {
    seed: [u8; 32],
    key: Ed25519KeyPair,
    /// `ValidatedMesh::id` of its mesh.
    pub mesh: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Token of its pod.
    pub token: String,
    /// Where it says it can be reached.
    pub addresses: Vec<String>,
    channel: Channel,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("pod_uid", &self.pod_uid).finish_non_exhaustive()
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Conversation {
    /// Towards the operator.
    pub requests: mpsc::Sender<JoinRequest>,
    responses: Streaming<JoinResponse>,
}

/// A stream on which the operator said `Joined`.
#[derive(Debug)]
pub struct Membership {
    /// The stream.
    pub conversation: Conversation,
    /// What it said.
    pub joined: Joined,
}

impl Harness {
    /// The operator's CA as nodes learn it: from the ConfigMap of their mesh.
    pub async fn membership_ca(&self, mesh: &PeatMesh) -> Result<String> {
        let namespace = mesh.namespace().context("a namespace")?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        let name = names::mesh_config_map(&mesh.name_any(), &uid(mesh));
        let found = wait_for(PATIENCE, "the ConfigMap of the mesh", async || maps.get(&name).await).await?;
        found.data.and_then(|data| data.get(names::config_map::CA).cloned()).context("ca.crt")
    }

    /// A node with a fresh key in `pod`, which has the address `ip`.
    pub async fn node(&self, mesh: &PeatMesh, pod: &Pod, ip: std::net::IpAddr) -> Result<Node> {
        let ca = self.membership_ca(mesh).await?;
        let seed = fresh_seed()?;
        Ok(Node {
            seed,
            key: key_from(&seed)?,
            mesh: mesh.spec.mesh_id.clone().unwrap_or_else(|| uid(mesh)),
            pod_uid: uid(pod),
            token: self.token(pod).await?,
            addresses: vec![std::net::SocketAddr::from((ip, names::port::MESH)).to_string()],
            channel: channel(&self.operator.membership_url, &ca)?,
        })
    }

    /// Creates a pod of `mesh`, gives it an IP, and joins.
    pub async fn joined(&self, name: &str, mesh: &PeatMesh) -> Result<(Pod, Node, Membership)> {
        let (pod, ip) = self.member(name, &mesh.name_any()).await?;
        let node = self.node(mesh, &pod, ip).await?;
        let membership = node.join_patiently().await?;
        Ok((pod, node, membership))
    }
}

/// A new Ed25519 key.
pub fn fresh_key() -> Result<Ed25519KeyPair> {
    key_from(&fresh_seed()?)
}

fn fresh_seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| anyhow::anyhow!("random bytes"))?;
    Ok(seed)
}

fn key_from(seed: &[u8; 32]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| anyhow::anyhow!("make a key: {error}"))
}

fn channel(url: &str, ca: &str) -> Result<Channel> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    Ok(Endpoint::from_shared(url.to_owned())?.tls_config(tls)?.connect_lazy())
}

impl Node {
    /// Its public key.
    pub fn endpoint(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    /// Its public key as statuses show it.
    pub fn endpoint_id(&self) -> String {
        hex::encode(self.endpoint())
    }

    /// Takes another key, as after a reboot that emptied the memory volume.
    pub fn lose_key(&mut self) -> Result<()> {
        self.seed = fresh_seed()?;
        self.key = key_from(&self.seed)?;
        Ok(())
    }

    /// Takes the key of another node, as from a copied volume.
    pub fn share_key(&mut self, other: &Self) -> Result<()> {
        self.seed = other.seed;
        self.key = key_from(&self.seed)?;
        Ok(())
    }

    /// The hello it would say.
    pub fn hello(&self) -> Hello {
        Hello {
            mesh_uid: self.mesh.clone(),
            token: self.token.clone(),
            pod_uid: self.pod_uid.clone(),
            endpoint_id: self.endpoint(),
            node_version: "0.0.0-test".to_owned(),
            protocol_min: 1,
            protocol_max: 1,
        }
    }

    /// The proof for a challenge.
    pub fn proof(&self, nonce: &[u8; 32]) -> Proof {
        let message = join_message(nonce, self.token.as_bytes(), &self.mesh, &self.pod_uid);
        Proof {
            signature: self.key.sign(&message).as_ref().to_vec(),
            addresses: self.addresses.clone(),
            relay_url: String::new(),
        }
    }

    /// Opens a stream and says nothing yet.
    pub async fn open(&self) -> Result<Conversation, Status> {
        let (requests, receiver) = mpsc::channel(8);
        let mut client = MembershipClient::new(self.channel.clone());
        let responses = client.join(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Conversation { requests, responses })
    }

    /// Opens a stream, says hello, and returns the challenge.
    pub async fn challenged(&self) -> Result<(Conversation, [u8; 32]), Status> {
        let mut conversation = self.open().await?;
        conversation.say(Request::Hello(self.hello())).await;
        match conversation.hear().await? {
            Response::Challenge(challenge) => {
                let nonce = challenge.nonce.try_into().map_err(|_| Status::internal("a nonce of 32 bytes"))?;
                Ok((conversation, nonce))
            }
            other => Err(Status::internal(format!("expected a challenge, got {other:?}"))),
        }
    }

    /// The whole handshake, once.
    pub async fn join(&self) -> Result<Membership, Status> {
        let (conversation, nonce) = self.challenged().await?;
        conversation.say(Request::Proof(self.proof(&nonce))).await;
        conversation.joined().await
    }

    /// The handshake, again while the operator says that trying again may help: its caches may be a moment behind.
    pub async fn join_patiently(&self) -> Result<Membership> {
        wait_for(PATIENCE, "the operator to let the node in", async || match self.join().await {
            Ok(membership) => Ok(Ok(membership)),
            Err(status) if status.code() == tonic::Code::Unavailable => Err(status.to_string()),
            Err(status) => Ok(Err(status)),
        })
        .await?
        .map_err(Into::into)
    }
}

impl Conversation {
    /// Sends a message; one that the operator no longer reads is lost, and the next [`Self::hear`] says why.
    pub async fn say(&self, message: Request) {
        let _ = self.requests.send(JoinRequest { message: Some(message) }).await;
    }

    /// The next message, or the status with which the operator ended the stream.
    pub async fn hear(&mut self) -> Result<Response, Status> {
        let received = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let received = received.map_err(|_| Status::deadline_exceeded("the operator says nothing"))??;
        received.and_then(|response| response.message).ok_or_else(|| Status::ok("the operator closed the stream"))
    }

    /// The next message, which must be `Joined`.
    pub async fn joined(mut self) -> Result<Membership, Status> {
        match self.hear().await? {
            Response::Joined(joined) => Ok(Membership { conversation: self, joined }),
            other => Err(Status::internal(format!("expected joined, got {other:?}"))),
        }
    }

    /// Messages until one for which `wanted` gives a value, at most for `limit`.
    pub async fn until<T>(&mut self, limit: Duration, mut wanted: impl FnMut(&Response) -> Option<T>) -> Result<T> {
        let search = async {
            loop {
                if let Some(found) = wanted(&self.hear().await?) {
                    return Ok::<_, anyhow::Error>(found);
                }
            }
        };
        match tokio::time::timeout(limit, search).await {
            Ok(found) => found,
            Err(_) => bail!("the operator did not send it within {limit:?}"),
        }
    }
}
