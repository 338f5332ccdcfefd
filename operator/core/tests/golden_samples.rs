//! The samples do what they say: the mesh and the peer are valid, and the pods of the Deployment join.
//!
//! Inputs: `config/samples`. What it does not do: apply them; the suite with a real API server does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use peat_crds::{PeatMesh, PeatPeer};
use peat_operator_core::{
    inject::{InjectConfig, InjectRequest, Injection, inject},
    mesh::{MeshIndex, NamespaceView, validate},
    names::MeshKey,
    peer,
};
use serde::de::DeserializeOwned;

fn sample<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/samples").join(name);
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The sample mesh, as if it had been applied to the namespace `default`.
fn mesh() -> PeatMesh {
    let mut mesh: PeatMesh = sample("peatmesh.yaml");
    mesh.metadata.namespace = Some("default".into());
    mesh.metadata.uid = Some("0f9a3c5d-1111-4222-8333-444455556666".into());
    mesh
}

#[test]
fn the_sample_mesh_is_valid_and_shows_the_defaults() {
    let mesh = mesh();
    assert!(validate(&mesh).is_ok());
    let mut defaults = mesh.spec.clone();
    defaults.injection = peat_crds::PeatMeshSpec::default().injection;
    assert_eq!(defaults, peat_crds::PeatMeshSpec::default());
}

#[test]
fn the_sample_peer_belongs_to_the_sample_mesh() {
    let mut record: PeatPeer = sample("peatpeer-external.yaml");
    record.metadata.namespace = Some("default".into());
    let record = peer::validate(&record).unwrap();
    let mesh = validate(&mesh()).unwrap();
    assert!(record.belongs_to(&mesh.key, &mesh.uid));
    assert!(record.peer.is_some());
}

#[test]
fn the_pods_of_the_sample_deployment_join_the_sample_mesh() {
    let deployment: Deployment = sample("deployment.yaml");
    let template = deployment.spec.unwrap().template;
    let pod = Pod { metadata: template.metadata.unwrap(), spec: template.spec, status: None };
    let mut meshes = MeshIndex::default();
    let key = MeshKey::new("default", "harbour");
    meshes.insert(key.clone(), validate(&mesh()));
    let (labels, annotations) = (BTreeMap::new(), BTreeMap::new());
    let injection = inject(&InjectRequest {
        pod: &pod,
        namespace: NamespaceView { name: "default", labels: &labels, annotations: &annotations },
        meshes: &meshes,
        config: &InjectConfig { image: "image".into(), membership_url: String::new(), membership_ca: String::new() },
    });
    assert!(injection.warnings().is_empty());
    assert!(matches!(injection, Injection::Inject { mesh, .. } if mesh == key));
}
