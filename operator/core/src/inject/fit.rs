//! Whether the sidecar can work in a pod, and in which shape.
//!
//! Inputs: the pod. Outputs: a [`Shape`], or the [`Refusal`] that says what stands in the way.
//! What it does not do: know meshes; the key is for the message.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use peat_crds::names::{annotation, env, port, sidecar};

use super::{Refusal, refusal::shortened};
use crate::names::MeshKey;

/// Volumes that we add.
const OURS: [&str; 5] =
    [sidecar::VOLUME_KEYS, sidecar::VOLUME_RUN, sidecar::VOLUME_DATA, sidecar::VOLUME_TOKEN, sidecar::VOLUME_MESH];
/// Of these, the ones that no other container may mount: key, token, and a store that has one writer.
const PRIVATE: [&str; 3] = [sidecar::VOLUME_KEYS, sidecar::VOLUME_TOKEN, sidecar::VOLUME_DATA];
/// Annotation of the API server's copy of a pod that a kubelet made from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How the sidecar is to listen in this pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// The pod shares the network of its Kubernetes node, where fixed ports would clash between pods.
    pub host_network: bool,
    /// A container declares the mesh's UDP port; the sidecar takes an ephemeral one.
    pub mesh_port_taken_by: Option<String>,
}

impl Shape {
    /// Whether the mesh's UDP port is an ephemeral one.
    pub fn ephemeral_mesh_port(&self) -> bool {
        self.host_network || self.mesh_port_taken_by.is_some()
    }

    /// What is not as the pod's author may expect.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.host_network {
            warnings.push(format!(
                "with hostNetwork the Peat API is only at unix://{}, without startupProbe and metrics: mount volume {} at \
                 {} in your container",
                sidecar::SOCKET,
                sidecar::VOLUME_RUN,
                sidecar::RUN_DIR
            ));
        }
        if let Some(container) = self.mesh_port_taken_by.as_ref().filter(|_| !self.host_network) {
            warnings.push(format!(
                "container {container} declares {}/UDP, so the Peat sidecar takes an ephemeral port: allow it in \
                 NetworkPolicies, or give that container another port",
                port::MESH
            ));
        }
        warnings.into_iter().map(shortened).collect()
    }
}

/// Whether the pod has a sidecar of ours: the annotation, and a container that carries a mesh identity.
pub fn is_injected(pod: &Pod) -> bool {
    let annotated = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(annotation::INJECTED));
    let ours = |container: &Container| {
        container.name == sidecar::CONTAINER
            && container.restart_policy.as_deref() == Some("Always")
            && container.env.iter().flatten().any(|e| e.name == env::MESH_UID)
    };
    annotated && pod.spec.as_ref().is_some_and(|spec| spec.init_containers.iter().flatten().any(ours))
}

/// Checks that the sidecar of `mesh` can work in `pod`.
///
/// Errors: the first thing in the way, in the order in which an author would meet them.
pub(super) fn fit(pod: &Pod, mesh: &MeshKey) -> Result<Shape, Refusal> {
    if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
        return Err(Refusal::StaticPod { mesh: mesh.clone() });
    }
    let Some(spec) = &pod.spec else {
        return Ok(Shape::default());
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err(Refusal::Windows { mesh: mesh.clone() });
    }
    if containers(spec).any(|c| c.name == sidecar::CONTAINER) {
        return Err(Refusal::ContainerTaken { mesh: mesh.clone() });
    }
    check_volumes(spec, mesh)?;
    let host_network = spec.host_network.unwrap_or_default();
    if !host_network {
        check_port(spec, mesh, port::API, "API")?;
        check_port(spec, mesh, port::NODE_ADMIN, "health and metrics")?;
    }
    Ok(Shape { host_network, mesh_port_taken_by: declares(spec, port::MESH, "UDP") })
}

fn check_volumes(spec: &PodSpec, mesh: &MeshKey) -> Result<(), Refusal> {
    if let Some(volume) = spec.volumes.iter().flatten().find(|v| OURS.contains(&v.name.as_str())) {
        return Err(Refusal::VolumeTaken { mesh: mesh.clone(), volume: volume.name.clone() });
    }
    for container in containers(spec) {
        if let Some(mount) = container.volume_mounts.iter().flatten().find(|m| PRIVATE.contains(&m.name.as_str())) {
            let (container, volume) = (container.name.clone(), mount.name.clone());
            return Err(Refusal::PrivateVolume { mesh: mesh.clone(), container, volume });
        }
    }
    Ok(())
}

fn check_port(spec: &PodSpec, mesh: &MeshKey, port: u16, purpose: &'static str) -> Result<(), Refusal> {
    match declares(spec, port, "TCP") {
        None => Ok(()),
        Some(container) => Err(Refusal::PortTaken { mesh: mesh.clone(), container, port, purpose }),
    }
}

/// The first container that declares the port.
fn declares(spec: &PodSpec, port: u16, protocol: &str) -> Option<String> {
    let declared = |container: &&Container| {
        container
            .ports
            .iter()
            .flatten()
            .any(|p| p.container_port == i32::from(port) && p.protocol.as_deref().unwrap_or("TCP") == protocol)
    };
    containers(spec).find(declared).map(|container| container.name.clone())
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}
