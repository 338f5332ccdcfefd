//! The whole of an injected pod, as a person can review it: `golden/<case>/request.yaml` in,
//! `golden/<case>/answer.yaml` out.
//!
//! With `PEAT_UPDATE_GOLDEN=1` the answers are written instead of compared; read the diff before you commit it.
//! What it does not do: cover every rule; the tables beside the code do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

use peat_crds::PeatMesh;
use peat_operator_core::{
    inject::{InjectConfig, InjectRequest, inject},
    mesh::{MeshIndex, NamespaceView, validate},
    names::MeshKey,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// One case, as written.
#[derive(Deserialize)]
struct Request {
    namespace: Namespace,
    pod: Value,
}

/// Its namespace.
#[derive(Deserialize)]
struct Namespace {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn meshes(folder: &Path) -> MeshIndex {
    let text = fs::read_to_string(folder.join("meshes.yaml")).unwrap();
    let mut index = MeshIndex::default();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let mesh = PeatMesh::deserialize(document).unwrap();
        let key = MeshKey::new(mesh.metadata.namespace.clone().unwrap(), mesh.metadata.name.clone().unwrap());
        index.insert(key, validate(&mesh));
    }
    index
}

fn answer(request: &Request, meshes: &MeshIndex) -> String {
    let Request { namespace: Namespace { name, labels, annotations }, pod } = request;
    let config = InjectConfig {
        image: "example.test/peat-node:0.1.0".into(),
        membership_url: "https://peat-operator-membership.peat-system.svc:8443".into(),
        membership_ca: "-----BEGIN CERTIFICATE-----\n(operator)\n-----END CERTIFICATE-----\n".into(),
    };
    let injection = inject(&InjectRequest {
        pod: &serde_json::from_value(pod.clone()).unwrap(),
        namespace: NamespaceView { name, labels, annotations },
        meshes,
        config: &config,
    });
    let mut patched = pod.clone();
    if let Some(patch) = injection.patch() {
        json_patch::patch(&mut patched, patch).unwrap();
    }
    let answer = json!({"outcome": injection.outcome(), "warnings": injection.warnings(), "pod": patched});
    serde_yaml::to_string(&answer).unwrap()
}

#[test]
fn every_request_gets_the_committed_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let meshes = meshes(&folder);
    let update = std::env::var_os("PEAT_UPDATE_GOLDEN").is_some();
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 8, "the cases are gone");
    for case in cases {
        let request = serde_yaml::from_str(&fs::read_to_string(case.join("request.yaml")).unwrap()).unwrap();
        let answer = answer(&request, &meshes);
        if update {
            fs::write(case.join("answer.yaml"), &answer).unwrap();
        }
        let committed = fs::read_to_string(case.join("answer.yaml")).unwrap_or_default();
        assert_eq!(committed, answer, "{}: see PEAT_UPDATE_GOLDEN", case.display());
    }
}
