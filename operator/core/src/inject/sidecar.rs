//! The sidecar: its container and its volumes.
//!
//! Inputs: a mesh, the pod's overrides, the operator's configuration, and the [`Shape`] that fits the pod.
//! Outputs: Kubernetes objects that the Pod Security level `restricted` accepts, and their hash.
//! What it does not do: change a pod; [`patch`](super::patch) does.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        HTTPGetAction, ObjectFieldSelector, Probe, ProjectedVolumeSource, SeccompProfile, SecurityContext,
        ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use peat_crds::names::{self, annotation, env, port, sidecar};
use sha2::{Digest as _, Sha256};

use super::{InjectConfig, Refusal, fit::Shape};
use crate::mesh::{Sidecar, ValidatedMesh};

/// Size of the volumes for key and socket: a few small files.
const MEMORY_VOLUME: &str = "1Mi";
/// Name of the container port that is probed and scraped.
const ADMIN_PORT: &str = "peat-admin";
/// Name of the container port of the mesh.
const MESH_PORT: &str = "peat-mesh";
/// The node answers 200 here once its API serves and its store is open; it never looks at peers. Alive (`/livez`) it is
/// before that, so the app would start to an API without documents.
const STARTUP_PATH: &str = "/readyz";
/// How often the startup is probed, in seconds: the app starts right after the first success.
const STARTUP_PERIOD: i32 = 1;
/// How many probes may fail: a store that needs checking after a crash may take minutes.
const STARTUP_FAILURES: i32 = 300;

/// What one pod's sidecar is made from: the mesh, with the overrides of the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile<'a> {
    mesh: &'a ValidatedMesh,
    config: &'a InjectConfig,
    image: String,
    log_level: String,
}

impl<'a> Profile<'a> {
    /// Applies the annotations `image` and `log-level`.
    ///
    /// Errors: [`Refusal::BadAnnotation`], for a value that would make the pod invalid or the node exit.
    pub fn new(
        mesh: &'a ValidatedMesh,
        annotations: &BTreeMap<String, String>,
        config: &'a InjectConfig,
    ) -> Result<Self, Refusal> {
        let Sidecar { image, log_level, .. } = &mesh.sidecar;
        let read = |annotation: &'static str, valid: fn(&str) -> bool, write: &'static str| {
            let value = annotations.get(annotation).cloned();
            match value {
                Some(value) if !valid(&value) => {
                    let value = value.chars().take(64).collect();
                    Err(Refusal::BadAnnotation { mesh: mesh.key.clone(), annotation, value, write })
                }
                other => Ok(other),
            }
        };
        let own_image = read(annotation::IMAGE, is_image, "an image reference")?;
        let own_level = read(annotation::LOG_LEVEL, is_log_filter, "error, warn, info, debug or trace")?;
        Ok(Self {
            mesh,
            config,
            image: own_image.or_else(|| image.clone()).unwrap_or_else(|| config.image.clone()),
            log_level: own_level.unwrap_or_else(|| log_level.clone()),
        })
    }

    /// The mesh.
    pub fn mesh(&self) -> &'a ValidatedMesh {
        self.mesh
    }

    /// 16 hexadecimal digits over what is injected by default, for the annotation `peat.mesh/injected`.
    ///
    /// Left out: URL and authorities of the operator, which the ConfigMap supersedes, and the pod's shape. So it can be
    /// computed from the metadata of a pod, and differs when a restart of the pod would change its sidecar.
    pub fn hash(&self) -> String {
        let mut container = self.container(&Shape::default());
        let rotating = [env::MEMBERSHIP_URL, env::MEMBERSHIP_CA];
        container.env.iter_mut().flatten().filter(|e| rotating.contains(&e.name.as_str())).for_each(|e| e.value = None);
        let spec = serde_json::json!({"container": container, "volumes": self.volumes()});
        hex::encode(&Sha256::digest(spec.to_string())[..8])
    }

    /// The container.
    pub fn container(&self, shape: &Shape) -> Container {
        let sidecar = &self.mesh.sidecar;
        Container {
            name: sidecar::CONTAINER.into(),
            image: Some(self.image.clone()),
            image_pull_policy: sidecar.pull_policy.map(|policy| policy.as_str().to_owned()),
            // Makes it a native sidecar: started before, and stopped after, the app; a Job does not wait for it.
            restart_policy: Some("Always".into()),
            env: Some(self.env(shape)),
            ports: ports(shape),
            resources: Some(sidecar.resources.clone()),
            security_context: Some(security_context()),
            startup_probe: (!shape.host_network).then(startup_probe),
            volume_mounts: Some(mounts()),
            ..Container::default()
        }
    }

    fn env(&self, shape: &Shape) -> Vec<EnvVar> {
        let Self { mesh, config, image: _, log_level } = self;
        let socket = format!("unix://{}", sidecar::SOCKET);
        let listen = match shape.host_network {
            true => socket,
            false => format!("tcp://127.0.0.1:{},{socket}", port::API),
        };
        let mesh_port = if shape.ephemeral_mesh_port() { 0 } else { port::MESH };
        let mut vars = vec![
            field(env::POD_NAME, "metadata.name"),
            field(env::POD_NAMESPACE, "metadata.namespace"),
            field(env::POD_UID, "metadata.uid"),
            field(env::POD_IP, "status.podIP"),
            field(env::NODE_NAME, "spec.nodeName"),
            value(env::MESH_UID, &mesh.id),
            value(env::MESH_NAME, &mesh.key.to_string()),
            value(env::MEMBERSHIP_URL, &config.membership_url),
            value(env::MEMBERSHIP_CA, &config.membership_ca),
            value(env::TOKEN_FILE, sidecar::TOKEN_FILE),
            value(env::KEY_DIR, sidecar::KEY_DIR),
            value(env::MESH_DIR, sidecar::MESH_DIR),
            value(env::DATA_DIR, sidecar::DATA_DIR),
            value(env::LISTEN, &listen),
            value(env::IROH_UDP_PORT, &mesh_port.to_string()),
            value(env::LOG_LEVEL, log_level),
        ];
        if !shape.host_network {
            vars.push(value(env::ADMIN_LISTEN, &format!("0.0.0.0:{}", port::NODE_ADMIN)));
        }
        vars.extend(mesh.sidecar.env.iter().cloned());
        vars
    }

    /// The volumes, each with a name of ours.
    pub fn volumes(&self) -> Vec<Volume> {
        let config_map = ConfigMapVolumeSource {
            name: names::mesh_config_map(&self.mesh.key.name, &self.mesh.uid.0),
            default_mode: Some(0o444),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        };
        vec![
            memory(sidecar::VOLUME_KEYS),
            memory(sidecar::VOLUME_RUN),
            Volume {
                name: sidecar::VOLUME_DATA.into(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: None,
                    size_limit: Some(self.mesh.sidecar.storage.clone()),
                }),
                ..Volume::default()
            },
            token(),
            Volume { name: sidecar::VOLUME_MESH.into(), config_map: Some(config_map), ..Volume::default() },
        ]
    }
}

fn is_image(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The alphabet of log directives, as in the schema of the mesh.
fn is_log_filter(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:=,[]{}./-".contains(&b))
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { api_version: Some("v1".into()), field_path: path.into() };
    let source = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value: None, value_from: Some(source) }
}

/// With hostNetwork every declared port would be claimed on the Kubernetes node, so none is.
fn ports(shape: &Shape) -> Option<Vec<ContainerPort>> {
    if shape.host_network {
        return None;
    }
    let port = |name: &str, number: u16, protocol: &str| ContainerPort {
        name: Some(name.into()),
        container_port: number.into(),
        protocol: Some(protocol.into()),
        ..ContainerPort::default()
    };
    let mut ports = vec![port(ADMIN_PORT, port::NODE_ADMIN, "TCP")];
    if !shape.ephemeral_mesh_port() {
        ports.push(port(MESH_PORT, port::MESH, "UDP"));
    }
    Some(ports)
}

/// What the Pod Security level `restricted` asks for, and a root that cannot be written.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(sidecar::UID),
        run_as_non_root: Some(true),
        run_as_user: Some(sidecar::UID),
        seccomp_profile: Some(SeccompProfile { localhost_profile: None, type_: "RuntimeDefault".into() }),
        ..SecurityContext::default()
    }
}

fn startup_probe() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(STARTUP_PATH.into()),
            port: IntOrString::String(ADMIN_PORT.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(STARTUP_PERIOD),
        failure_threshold: Some(STARTUP_FAILURES),
        ..Probe::default()
    }
}

fn mounts() -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only,
        ..VolumeMount::default()
    };
    vec![
        mount(sidecar::VOLUME_KEYS, sidecar::KEY_DIR, None),
        mount(sidecar::VOLUME_RUN, sidecar::RUN_DIR, None),
        mount(sidecar::VOLUME_DATA, sidecar::DATA_DIR, None),
        mount(sidecar::VOLUME_TOKEN, sidecar::TOKEN_DIR, Some(true)),
        mount(sidecar::VOLUME_MESH, sidecar::MESH_DIR, Some(true)),
    ]
}

fn memory(name: &str) -> Volume {
    let source =
        EmptyDirVolumeSource { medium: Some("Memory".into()), size_limit: Some(Quantity(MEMORY_VOLUME.into())) };
    Volume { name: name.into(), empty_dir: Some(source), ..Volume::default() }
}

/// The token by which the operator knows the pod.
///
/// The mode counts where the pod's containers run as different users and there is no fsGroup. Elsewhere the kubelet
/// narrows the file to 0600 and gives it to that one user, or to the group: in each case the sidecar can read it, and
/// no other container mounts it (volumeutil.FsUserFrom and projected.go of kubelet 1.36).
fn token() -> Volume {
    let projection = ServiceAccountTokenProjection {
        audience: Some(names::TOKEN_AUDIENCE.into()),
        expiration_seconds: Some(sidecar::TOKEN_SECONDS),
        path: "token".into(),
    };
    let source = VolumeProjection { service_account_token: Some(projection), ..VolumeProjection::default() };
    let projected = ProjectedVolumeSource { default_mode: Some(0o444), sources: Some(vec![source]) };
    Volume { name: sidecar::VOLUME_TOKEN.into(), projected: Some(projected), ..Volume::default() }
}
