//! Tables of what becomes of a pod: every value of the annotation, every refusal, and the guarantees of [`inject`].
//!
//! Inputs: minimal YAML through the real validate step. The full shape of a sidecar is in the golden files.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{census::Finding, *};
use crate::mesh::validate;

/// Three namespaces of meshes: `coast` has one for all, `inland` two of its own, `swamp` one that is not valid.
fn meshes() -> MeshIndex {
    let mut index = MeshIndex::default();
    for (namespace, name, spec) in [
        ("coast", "harbour", "{injection: {allowedNamespaces: {from: All}}}"),
        ("inland", "north", "{}"),
        ("inland", "south", "{sidecar: {image: 'mesh/image:1', logLevel: warn, env: [{name: PEAT_NODE_X, value: y}]}}"),
        ("swamp", "mud", "{discovery: {bootstrapPeers: 99}}"),
        ("hills", "closed", "{injection: {allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}}}"),
    ] {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {{name: {name}, namespace: {namespace}, \
             uid: {name}-0000-uid}}, spec: {spec}}}"
        );
        let mesh = serde_yaml::from_str(&text).unwrap();
        index.insert(MeshKey::new(namespace, name), validate(&mesh));
    }
    index
}

fn config() -> InjectConfig {
    InjectConfig {
        image: "operator/image:1".into(),
        membership_url: "https://membership.test:8443".into(),
        membership_ca: "PEM".into(),
    }
}

/// A namespace as the tests write it: name, labels, annotations.
type Namespace<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(value: &Value) -> Pod {
    serde_json::from_value(value.clone()).unwrap()
}

fn run_in(namespace: Namespace<'_>, value: &Value) -> Injection {
    let (name, labels, annotations) = (namespace.0, map(namespace.1), map(namespace.2));
    let namespace = NamespaceView { name, labels: &labels, annotations: &annotations };
    inject(&InjectRequest { pod: &pod(value), namespace, meshes: &meshes(), config: &config() })
}

fn asking(annotation: &str) -> Value {
    json!({
        "metadata": {"name": "ferry", "annotations": {"peat.mesh/inject": annotation}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}

fn patched(value: &Value, injection: &Injection) -> Value {
    let mut patched = value.clone();
    if let Some(patch) = injection.patch() {
        json_patch::patch(&mut patched, patch).unwrap();
    }
    patched
}

fn mesh_of(injection: &Injection) -> String {
    match injection {
        Injection::Inject { mesh, .. } => mesh.to_string(),
        Injection::Skip(_) | Injection::Refuse { .. } => injection.outcome().to_owned(),
    }
}

#[test]
fn every_value_of_the_annotation_means_one_thing() {
    for (namespace, value, outcome) in [
        ("coast", "harbour", "coast/harbour"),
        ("coast", "coast/harbour", "coast/harbour"),
        ("coast", "true", "coast/harbour"),
        ("coast", " harbour ", "coast/harbour"),
        ("coast", "false", "opted_out"),
        ("city", "coast/harbour", "coast/harbour"),
        ("inland", "north", "inland/north"),
        ("inland", "true", "ambiguous_mesh"),
        ("city", "true", "no_mesh"),
        ("city", "harbour", "unknown_mesh"),
        ("city", "inland/north", "namespace_not_admitted"),
        ("city", "hills/closed", "namespace_not_admitted"),
        ("swamp", "mud", "invalid_mesh"),
        ("swamp", "true", "invalid_mesh"),
        ("coast", "", "bad_value"),
        ("coast", "True", "bad_value"),
        ("coast", "a/b/c", "bad_value"),
        ("coast", "/harbour", "bad_value"),
        ("coast", "coast/", "bad_value"),
        ("coast", "ha rbour", "bad_value"),
    ] {
        assert_eq!(mesh_of(&run_in((namespace, &[], &[]), &asking(value))), outcome, "{value:?} in {namespace}");
    }
}

#[test]
fn a_namespace_asks_by_label_names_by_annotation_and_loses_to_the_pod() {
    let enabled: &[(&str, &str)] = &[("peat.mesh/inject", "enabled")];
    let plain = json!({"metadata": {"name": "ferry"}, "spec": {"containers": []}});
    for (namespace, pod, outcome) in [
        (("coast", &[][..], &[][..]), &plain, "not_asked"),
        (("coast", &[("peat.mesh/inject", "true")][..], &[][..]), &plain, "not_asked"),
        (("coast", &[][..], &[("peat.mesh/inject", "harbour")][..]), &plain, "not_asked"),
        (("coast", enabled, &[][..]), &plain, "coast/harbour"),
        (("city", enabled, &[("peat.mesh/inject", "coast/harbour")][..]), &plain, "coast/harbour"),
        (("coast", enabled, &[("peat.mesh/inject", "false")][..]), &plain, "opted_out"),
        (("inland", enabled, &[("peat.mesh/inject", "north")][..]), &asking("south"), "inland/south"),
        (("inland", enabled, &[("peat.mesh/inject", "north")][..]), &asking("true"), "inland/north"),
        (("inland", &[][..], &[("peat.mesh/inject", "north")][..]), &asking("true"), "inland/north"),
        (("coast", enabled, &[][..]), &asking("false"), "opted_out"),
    ] {
        assert_eq!(mesh_of(&run_in(namespace, pod)), outcome, "{namespace:?}");
    }
}

#[test]
fn every_refusal_says_what_to_write_instead() {
    let with = |spec: Value| {
        let mut pod = asking("harbour");
        pod["spec"] = spec;
        pod
    };
    let annotated = |key: &str, value: &str| {
        let mut pod = asking("harbour");
        pod["metadata"]["annotations"][key] = value.into();
        pod
    };
    let port = |number: u16| json!({"containers": [{"name": "app", "ports": [{"containerPort": number}]}]});
    let mount =
        |volume: &str| json!({"containers": [{"name": "app", "volumeMounts": [{"name": volume, "mountPath": "/x"}]}]});
    for (namespace, pod, outcome, advice) in [
        ("coast", asking("a/b/c"), "bad_value", "write peat.mesh/inject: <mesh>"),
        ("city", asking("harbour"), "unknown_mesh", "write peat.mesh/inject: coast/harbour"),
        ("inland", asking("nroth"), "unknown_mesh", "create it, or write peat.mesh/inject: north or south"),
        ("city", asking("x"), "unknown_mesh", "create it, or remove"),
        ("city", asking("true"), "no_mesh", "create one, or write"),
        ("inland", asking("true"), "ambiguous_mesh", "write one of them as peat.mesh/inject: north or south"),
        ("city", asking("inland/north"), "namespace_not_admitted", "spec.injection.allowedNamespaces"),
        ("swamp", asking("mud"), "invalid_mesh", "condition Accepted"),
        ("coast", with(json!({"containers": [{"name": "peat-node"}]})), "container_taken", "rename it"),
        (
            "coast",
            with(json!({"containers": [], "initContainers": [{"name": "peat-node"}]})),
            "container_taken",
            "rename it",
        ),
        ("coast", with(json!({"containers": [], "volumes": [{"name": "peat-run"}]})), "volume_taken", "rename it"),
        ("coast", with(mount("peat-keys")), "private_volume", "remove that volumeMount"),
        ("coast", with(mount("peat-token")), "private_volume", "remove that volumeMount"),
        ("coast", with(mount("peat-data")), "private_volume", "remove that volumeMount"),
        ("coast", with(port(50051)), "port_taken", "API: give that container another port"),
        ("coast", with(port(11205)), "port_taken", "health and metrics: give that container another port"),
        ("coast", with(json!({"containers": [], "os": {"name": "windows"}})), "windows", "Linux only"),
        ("coast", annotated("kubernetes.io/config.mirror", "x"), "static_pod", "remove peat.mesh/inject"),
        ("coast", annotated("peat.mesh/image", "two words"), "bad_annotation", "write an image reference"),
        ("coast", annotated("peat.mesh/image", ""), "bad_annotation", "write an image reference"),
        ("coast", annotated("peat.mesh/log-level", "loud!"), "bad_annotation", "debug or trace"),
    ] {
        let injection = run_in((namespace, &[], &[]), &pod);
        assert_eq!(injection.outcome(), outcome, "{pod}");
        let warnings = injection.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains(advice), "{}", warnings[0]);
        assert!(warnings[0].starts_with("no Peat sidecar: ") && warnings[0].chars().count() <= 256);
        let after = patched(&pod, &injection);
        let noted = after["metadata"]["annotations"]["peat.mesh/status"].as_str().unwrap();
        assert!(warnings[0].ends_with(noted));
        assert_eq!(after["spec"], pod["spec"], "a refused pod keeps its spec");
        assert_eq!(run_in((namespace, &[], &[]), &after).patch(), None, "asked again, there is nothing to change");
    }
}

#[test]
fn a_warning_with_the_longest_names_is_cut_to_what_is_passed_on() {
    let name = "a".repeat(253);
    let warning = run_in(("city", &[], &[]), &asking(&format!("coast/{name}"))).warnings().remove(0);
    assert_eq!(warning.chars().count(), 256);
}

#[test]
fn a_pod_that_opts_out_or_does_not_ask_is_left_unchanged() {
    let plain = json!({"metadata": {"name": "ferry"}, "spec": {"containers": []}});
    for pod in [asking("false"), plain] {
        let injection = run_in(("coast", &[], &[]), &pod);
        assert_eq!((injection.patch(), injection.warnings().len()), (None, 0));
    }
}

#[test]
fn injecting_twice_is_injecting_once() {
    for pod in [asking("harbour"), asking("coast/harbour")] {
        let once = patched(&pod, &run_in(("coast", &[], &[]), &pod));
        let again = run_in(("coast", &[], &[]), &once);
        assert_eq!(again, Injection::Skip(Skip::AlreadyInjected));
    }
}

#[test]
fn a_pod_copied_from_an_injected_one_keeps_its_sidecar_even_when_the_mesh_is_gone() {
    let once = patched(&asking("harbour"), &run_in(("coast", &[], &[]), &asking("harbour")));
    assert_eq!(run_in(("city", &[], &[]), &once), Injection::Skip(Skip::AlreadyInjected));
}

#[test]
fn an_annotation_alone_does_not_pass_for_a_sidecar() {
    let mut pod = asking("harbour");
    pod["metadata"]["annotations"]["peat.mesh/injected"] = "0123456789abcdef".into();
    assert_eq!(run_in(("coast", &[], &[]), &pod).outcome(), "injected");
    pod["spec"]["initContainers"] = json!([{"name": "peat-node", "restartPolicy": "Always"}]);
    assert_eq!(run_in(("coast", &[], &[]), &pod).outcome(), "container_taken");
}

#[test]
fn what_else_is_in_the_pod_stays_where_it_is() {
    let pod = json!({
        "metadata": {"annotations": {"peat.mesh/inject": "harbour", "a": "b", "peat.mesh/status": "old"}, "labels": {"c": "d"}},
        "spec": {
            "initContainers": [{"name": "setup", "image": "i", "fieldOfTheFuture": {"x": 1}}],
            "containers": [{"name": "app", "image": "i", "anotherOne": true}],
            "volumes": [{"name": "own", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 7,
        },
    });
    let mut after = patched(&pod, &run_in(("coast", &[], &[]), &pod));
    let init = after["spec"]["initContainers"].as_array_mut().unwrap();
    assert_eq!(init.remove(0)["name"], "peat-node");
    after["spec"]["volumes"].as_array_mut().unwrap().truncate(1);
    assert_eq!(after["spec"], pod["spec"]);
    assert_eq!(after["metadata"]["labels"], json!({"c": "d", "peat.mesh/mesh-uid": "harbour-0000-uid"}));
    let annotations = after["metadata"]["annotations"].as_object().unwrap();
    assert!(annotations.contains_key("peat.mesh/injected") && !annotations.contains_key("peat.mesh/status"));
    assert_eq!(annotations["a"], "b");
}

#[test]
fn the_pod_beats_the_mesh_and_the_mesh_beats_the_operator() {
    let image = |namespace: &str, pod: &Value| {
        let after = patched(pod, &run_in((namespace, &[], &[]), pod));
        after["spec"]["initContainers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image("coast", &asking("harbour")), "operator/image:1");
    assert_eq!(image("inland", &asking("south")), "mesh/image:1");
    let mut own = asking("south");
    own["metadata"]["annotations"]["peat.mesh/image"] = "own/image:1".into();
    assert_eq!(image("inland", &own), "own/image:1");
}

#[test]
fn the_environment_has_every_name_of_the_table_once_and_then_the_mesh_s_own() {
    let pod = asking("south");
    let after = patched(&pod, &run_in(("inland", &[], &[]), &pod));
    let env = after["spec"]["initContainers"][0]["env"].as_array().unwrap();
    let names: Vec<&str> = env.iter().map(|e| e["name"].as_str().unwrap()).collect();
    for name in peat_crds::names::env::INJECTED {
        assert_eq!(names.iter().filter(|n| **n == name).count(), 1, "{name}");
    }
    assert_eq!(names.len(), peat_crds::names::env::INJECTED.len() + 1);
    assert_eq!(names.last(), Some(&"PEAT_NODE_X"));
}

#[test]
fn a_declared_udp_port_moves_the_sidecar_to_another_and_says_so() {
    let mut pod = asking("harbour");
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 11204, "protocol": "UDP"}]);
    let injection = run_in(("coast", &[], &[]), &pod);
    assert_eq!(injection.outcome(), "injected");
    assert!(injection.warnings()[0].contains("container app declares 11204/UDP"), "{:?}", injection.warnings());
    let sidecar = patched(&pod, &injection)["spec"]["initContainers"][0].clone();
    let port = sidecar["env"].as_array().unwrap().iter().find(|e| e["name"] == "PEAT_NODE_IROH_UDP_PORT").unwrap();
    assert_eq!(port["value"], "0");
    // The same number over TCP clashes with nothing.
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 11204}]);
    assert!(run_in(("coast", &[], &[]), &pod).warnings().is_empty());
}

#[test]
fn with_host_network_nothing_listens_on_a_fixed_port() {
    let mut pod = asking("harbour");
    pod["spec"]["hostNetwork"] = true.into();
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 50051}, {"containerPort": 11205}]);
    let injection = run_in(("coast", &[], &[]), &pod);
    assert_eq!((injection.outcome(), injection.warnings().len()), ("injected", 1));
    assert!(injection.warnings()[0].chars().count() <= 256);
    let sidecar = patched(&pod, &injection)["spec"]["initContainers"][0].clone();
    assert!(sidecar["ports"].is_null() && sidecar["startupProbe"].is_null());
    let text = sidecar["env"].to_string();
    assert!(!text.contains("tcp://") && !text.contains("ADMIN_LISTEN") && text.contains("unix:///run/peat/peat.sock"));
}

#[test]
fn what_is_injected_meets_pod_security_restricted() {
    let pod = asking("harbour");
    let after = patched(&pod, &run_in(("coast", &[], &[]), &pod));
    let context = &after["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(
        *context,
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsGroup": 65532,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    for volume in after["spec"]["volumes"].as_array().unwrap() {
        let kinds: Vec<&String> = volume.as_object().unwrap().keys().filter(|k| *k != "name").collect();
        assert!(kinds.iter().all(|k| ["emptyDir", "projected", "configMap"].contains(&k.as_str())), "{kinds:?}");
    }
}

#[test]
fn the_hash_follows_what_a_restart_would_change_and_nothing_else() {
    let index = meshes();
    let hash = |mesh: &str, annotations: &[(&str, &str)], config: &InjectConfig| {
        let mesh = index.find(&MeshKey::new("inland", mesh)).unwrap().as_ref().unwrap();
        Profile::new(mesh, &map(annotations), config).unwrap().hash()
    };
    let base = hash("north", &[], &config());
    assert_eq!(base.len(), 16);
    assert_eq!(base, hash("north", &[("unrelated", "x")], &config()));
    let rotated = InjectConfig { membership_ca: "NEW".into(), membership_url: "https://new:1".into(), ..config() };
    assert_eq!(base, hash("north", &[], &rotated));
    assert_ne!(base, hash("north", &[("peat.mesh/log-level", "debug")], &config()));
    assert_ne!(base, hash("north", &[], &InjectConfig { image: "operator/image:2".into(), ..config() }));
    assert_ne!(base, hash("south", &[], &config()));
}

/// What the census says about a pod of `namespace`, from its metadata alone.
fn examined(namespace: &str, value: &Value, config: &InjectConfig) -> Finding {
    let (labels, annotations) = (BTreeMap::new(), BTreeMap::new());
    let namespace = NamespaceView { name: namespace, labels: &labels, annotations: &annotations };
    census::examine(&pod(value).metadata, namespace, &meshes(), config)
}

#[test]
fn the_census_counts_pods_by_the_rules_of_the_injector() {
    let injected = patched(&asking("harbour"), &run_in(("coast", &[], &[]), &asking("harbour")));
    let newer = InjectConfig { image: "operator/image:2".into(), ..config() };
    let mut going = injected.clone();
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let harbour = MeshKey::new("coast", "harbour");
    assert_eq!(examined("coast", &injected, &config()), Finding::Injected(harbour.clone()));
    assert_eq!(examined("coast", &injected, &newer), Finding::Outdated(harbour.clone()));
    assert_eq!(examined("coast", &going, &config()), Finding::Ignored);
    assert_eq!(examined("coast", &asking("false"), &config()), Finding::Ignored);

    let mut counts = BTreeMap::new();
    for (namespace, pod, config) in [
        ("coast", &injected, &config()),
        ("coast", &injected, &newer),
        ("coast", &asking("harbour"), &config()),
        ("city", &asking("true"), &config()),
        ("city", &asking("inland/north"), &config()),
    ] {
        census::count(&mut counts, &examined(namespace, pod, config));
    }
    let of = |key: &MeshKey| (counts[key].matched, counts[key].injected, counts[key].missing, counts[key].outdated);
    assert_eq!(of(&harbour), (3, 2, 1, 1));
    assert_eq!(of(&MeshKey::new("inland", "north")), (1, 0, 1, 0));
    assert_eq!(counts.len(), 2, "a pod that means no single mesh is counted by none");
}

#[test]
fn a_pod_without_sidecar_is_told_why() {
    let message = |pod: &Value| {
        let finding = examined("coast", pod, &config());
        let Finding::Missing { reason, message, .. } = finding else { panic!("{finding:?}") };
        (reason, message)
    };
    let (reason, text) = message(&asking("harbour"));
    assert_eq!(reason, "restart_needed");
    assert!(text.contains("recreate it"), "{text}");
    let mut refused = asking("harbour");
    refused["spec"]["volumes"] = json!([{"name": "peat-run"}]);
    let refused = patched(&refused, &run_in(("coast", &[], &[]), &refused));
    let (reason, text) = message(&refused);
    assert_eq!(reason, "refused");
    assert!(text.contains("rename it"), "{text}");
}
