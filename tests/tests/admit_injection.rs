//! Injection as a user meets it: pods created through a real API server that asks a real webhook.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use peat_cluster::{Cluster, wait_for};
use peat_crds::names::{annotation, label};
use peat_crds::{PeatMesh, names};
use peat_operator::webhook::{Target, webhook_configuration};
use peat_tests::envtest::operator::{NAMESPACE, SIDECAR_IMAGE, apply, metric};
use peat_tests::envtest::pods::{asking, is_injected, pod, sidecar};
use peat_tests::envtest::{Harness, PATIENCE, condition, uid};
use serde_json::{Value, json};

const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

#[tokio::test]
async fn a_pod_that_names_a_mesh_gets_the_sidecar_first_and_a_restricted_namespace_accepts_it() -> Result<()> {
    let harness = Harness::labelled("inject", &[RESTRICTED]).await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let created = harness.create_pod(&asking("ferry", "harbour")).await?;
    assert_eq!(created.warnings, Vec::<String>::new());
    let container = sidecar(&created.pod).context("a sidecar")?;
    assert_eq!(container.restart_policy.as_deref(), Some("Always"));
    assert_eq!(container.image.as_deref(), Some(SIDECAR_IMAGE));
    let env = |name: &str| {
        container
            .env
            .iter()
            .flatten()
            .find(|var| var.name == name)
            .and_then(|var| var.value.clone())
            .unwrap_or_default()
    };
    assert_eq!(env(names::env::MESH_UID), uid(&mesh));
    assert_eq!(env(names::env::MEMBERSHIP_URL), harness.operator.membership_url);
    assert!(env(names::env::MEMBERSHIP_CA).starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(created.pod.labels().get(label::MESH_UID), Some(&uid(&mesh)));
    assert!(created.pod.annotations().contains_key(annotation::INJECTED));
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_created_right_after_its_mesh_is_injected() -> Result<()> {
    let harness = Harness::start("inject").await?;
    for n in 0..5 {
        harness.create_mesh(&format!("mesh-{n}"), json!({})).await?;
        let created = harness.create_pod(&asking(&format!("pod-{n}"), &format!("mesh-{n}"))).await?;
        assert!(is_injected(&created.pod), "{:?}", created.warnings);
    }
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn image_and_log_level_of_the_pod_win_over_those_of_the_mesh() -> Result<()> {
    let harness = Harness::start("inject").await?;
    harness.mesh("harbour", json!({ "sidecar": { "image": "mesh.example/node:2", "logLevel": "warn" } })).await?;
    let plain = harness.create_pod(&asking("plain", "harbour")).await?.pod;
    assert_eq!(sidecar(&plain).and_then(|c| c.image.as_deref()), Some("mesh.example/node:2"));
    let own = json!({ annotation::INJECT: "harbour", annotation::IMAGE: "own.example/node:3", annotation::LOG_LEVEL: "debug" });
    let own = harness.create_pod(&pod("own", own)).await?.pod;
    let container = sidecar(&own).context("a sidecar")?;
    assert_eq!(container.image.as_deref(), Some("own.example/node:3"));
    let level = container.env.iter().flatten().find(|var| var.name == names::env::LOG_LEVEL);
    assert_eq!(level.and_then(|var| var.value.as_deref()), Some("debug"));
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn true_means_the_only_mesh_and_false_means_no() -> Result<()> {
    let harness = Harness::start("inject").await?;
    let none = harness.create_pod(&asking("too-early", "true")).await?;
    assert!(!is_injected(&none.pod));
    assert!(none.warnings[0].contains("no Peat sidecar"), "{:?}", none.warnings);
    harness.mesh("harbour", json!({})).await?;
    assert!(is_injected(&harness.create_pod(&asking("only", "true")).await?.pod));
    let refused = harness.create_pod(&asking("no", "false")).await?;
    assert!(!is_injected(&refused.pod) && refused.warnings.is_empty());
    harness.mesh("second", json!({})).await?;
    let ambiguous = harness.create_pod(&asking("which", "true")).await?;
    assert!(!is_injected(&ambiguous.pod));
    assert!(ambiguous.warnings[0].contains("harbour or second"), "{:?}", ambiguous.warnings);
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_mesh_of_another_namespace_serves_only_namespaces_that_it_admits() -> Result<()> {
    let home = Harness::start("home").await?;
    let away = Harness::labelled("away", &[("team", "pilots")]).await?;
    home.mesh("closed", json!({})).await?;
    let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "pilots" } } });
    home.mesh("open", json!({ "injection": { "allowedNamespaces": selector } })).await?;
    let open = away.create_pod(&asking("open", &format!("{}/open", home.namespace.name()))).await?;
    assert!(is_injected(&open.pod), "{:?}", open.warnings);
    let closed = away.create_pod(&asking("closed", &format!("{}/closed", home.namespace.name()))).await?;
    assert!(!is_injected(&closed.pod));
    assert!(closed.warnings[0].contains("allowedNamespaces"), "{:?}", closed.warnings);
    home.namespace.delete().await?;
    away.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn who_cannot_be_served_is_warned_and_says_why_on_the_pod() -> Result<()> {
    let harness = Harness::start("inject").await?;
    harness.mesh("harbour", json!({})).await?;
    let with = |name: &str, container: Value| {
        let mut pod = asking(name, "harbour");
        pod["spec"]["containers"].as_array_mut().into_iter().for_each(|all| all.push(container.clone()));
        pod
    };
    let taken = with("container", json!({ "name": "peat-node", "image": "i" }));
    let port = with("port", json!({ "name": "web", "image": "i", "ports": [{ "containerPort": 11205 }] }));
    for (pod, says) in [
        (asking("unknown", "lighthouse"), "lighthouse"),
        (asking("nonsense", "a b c"), "peat.mesh/inject"),
        (taken, "peat-node"),
        (port, "11205"),
    ] {
        let created = harness.create_pod(&pod).await?;
        assert!(!is_injected(&created.pod), "{says}");
        assert_eq!(created.warnings.len(), 1, "{:?}", created.warnings);
        assert!(created.warnings[0].contains(says), "{:?}", created.warnings);
        assert!(created.pod.annotations().contains_key(annotation::STATUS), "{says}");
    }
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_labelled_namespace_asks_for_its_silent_pods_and_the_pod_has_the_last_word() -> Result<()> {
    let harness = Harness::labelled("default-on", &[(label::INJECT, label::INJECT_ENABLED)]).await?;
    harness.mesh("harbour", json!({})).await?;
    let silent = harness.create_pod(&pod("silent", json!({}))).await?;
    assert!(is_injected(&silent.pod), "{:?}", silent.warnings);
    assert!(!is_injected(&harness.create_pod(&asking("out", "false")).await?.pod));
    harness.mesh("second", json!({})).await?;
    let namespaces: Api<Namespace> = Api::all(harness.client.clone());
    let names_it = json!({ "metadata": { "annotations": { annotation::INJECT: "second" } } });
    namespaces.patch(harness.namespace.name(), &PatchParams::default(), &Patch::Merge(names_it)).await?;
    let second = harness.api::<PeatMesh>().get("second").await?;
    // The webhook follows the namespace by a watch, so the first pod may still be judged by the old annotation.
    let mut attempt = 0;
    wait_for(PATIENCE, "the namespace's annotation to count", async || {
        attempt += 1;
        let created =
            harness.create_pod(&pod(&format!("later-{attempt}"), json!({}))).await.map_err(|e| e.to_string())?;
        let mesh = created.pod.labels().get(label::MESH_UID).cloned();
        if mesh == Some(uid(&second)) { Ok(()) } else { Err(format!("{mesh:?} {:?}", created.warnings)) }
    })
    .await?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_does_not_ask_is_never_sent_to_the_webhook() -> Result<()> {
    let harness = Harness::start("silent").await?;
    harness.mesh("harbour", json!({})).await?;
    let reviews = async || -> Result<f64> {
        let (_, text) = harness.operator.get("/metrics").await?;
        let lines =
            text.lines().filter(|line| line.starts_with("peat_operator_admissions_total{outcome=\"not_asked\""));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    };
    let before = reviews().await?;
    for name in ["one", "two", "three"] {
        assert!(!is_injected(&harness.create_pod(&pod(name, json!({}))).await?.pod));
    }
    assert_eq!(reviews().await?, before);
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn an_injected_pod_that_is_created_again_is_left_as_it_is() -> Result<()> {
    let harness = Harness::start("inject").await?;
    harness.mesh("harbour", json!({})).await?;
    let first = harness.create_pod(&asking("ferry", "harbour")).await?.pod;
    let mut again = serde_json::to_value(&first)?;
    for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        again["metadata"].as_object_mut().into_iter().for_each(|meta| drop(meta.remove(key)));
    }
    again["metadata"]["name"] = json!("ferry-copy");
    again["status"] = Value::Null;
    let second = harness.create_pod(&again).await?.pod;
    let names = |pod: &Pod| -> Vec<String> {
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).map(|c| c.name.clone()).collect()
    };
    assert_eq!(names(&second), names(&first));
    let volumes = |pod: &Pod| -> BTreeSet<String> {
        pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).map(|v| v.name.clone()).collect()
    };
    assert!(volumes(&second).is_superset(&BTreeSet::from(["peat-keys".to_owned(), "peat-token".to_owned()])));
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_dead_webhook_blocks_annotated_pods_and_no_others() -> Result<()> {
    let harness = Harness::labelled("dead", &[("webhook", "dead")]).await?;
    // A port that was free a moment ago and is nobody's: the webhook of an operator that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut dead = webhook_configuration("peat-dead", NAMESPACE, &Target::Url(format!("https://127.0.0.1:{port}")));
    for webhook in dead.webhooks.iter_mut().flatten() {
        let selector = webhook.namespace_selector.get_or_insert_default();
        selector.match_labels.get_or_insert_default().insert("webhook".into(), "dead".into());
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(harness.client.clone());
    apply(&configurations, "peat-dead", &dead).await?;
    // The API server needs a moment to heed a new configuration.
    let mut attempt = 0;
    let error = wait_for(PATIENCE, "the dead webhook to be asked", async || {
        attempt += 1;
        match harness.create_pod(&asking(&format!("asks-{attempt}"), "harbour")).await {
            Ok(_) => Err("the pod was created"),
            Err(error) => Ok(error.to_string()),
        }
    })
    .await?;
    assert!(error.contains("failed calling webhook") && error.contains("pod.inject.peat.mesh"), "{error}");
    assert!(!is_injected(&harness.create_pod(&pod("silent", json!({}))).await?.pod));
    assert!(!is_injected(&harness.create_pod(&asking("out", "false")).await?.pod));
    configurations.delete("peat-dead", &DeleteParams::default()).await?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn the_chart_registers_what_these_tests_register() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/peat-operator");
    let args = ["template", "peat", chart, "--namespace", "quay", "--show-only", "templates/webhook.yaml"];
    let rendered: MutatingWebhookConfiguration = serde_yaml::from_str(&cluster.helm(args).await?)?;
    let name = rendered.name_any();
    let service = Target::Service { name: format!("{name}-webhook"), namespace: "quay".to_owned() };
    assert_eq!(rendered.webhooks, webhook_configuration(&name, "quay", &service).webhooks);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_missed_its_sidecar_is_counted_and_its_owner_hears_of_it() -> Result<()> {
    let harness = Harness::start("missed").await?;
    let mut template = asking("unused", "harbour");
    template["metadata"].as_object_mut().into_iter().for_each(|meta| drop(meta.remove("name")));
    template["metadata"]["labels"] = json!({ "app": "ferry" });
    // Clashes with the sidecar, so that the webhook lets it pass without one.
    template["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 11205 }]);
    harness.mesh("harbour", json!({})).await?;
    let set: ReplicaSet = harness
        .create(&json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "ferry" },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "ferry" } },
                "template": { "metadata": template["metadata"], "spec": template["spec"] },
            },
        }))
        .await?;
    let events: Api<Event> = harness.api();
    let selector = ListParams::default().fields("reason=PeatNotInjected");
    let event = wait_for(PATIENCE, "an event on the ReplicaSet", async || {
        let found = events.list(&selector).await.map_err(|error| error.to_string())?;
        let about = |event: &&Event| event.regarding.as_ref().and_then(|r| r.uid.clone()) == set.meta().uid;
        found.iter().find(about).cloned().ok_or_else(|| format!("{} events", found.items.len()))
    })
    .await?;
    assert!(event.note.as_deref().unwrap_or_default().contains("11205"), "{:?}", event.note);
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let meshes = harness.api::<PeatMesh>();
    wait_for(PATIENCE, "the mesh to count both pods", async || {
        let mesh = meshes.get("harbour").await.map_err(|error| error.to_string())?;
        let pods = mesh.status.as_ref().and_then(|status| status.pods).unwrap_or_default();
        if (pods.matched, pods.missing, condition(&mesh, "PodsInjected")) == (2, 2, Some("False")) {
            return Ok(());
        }
        Err(format!("{pods:?}"))
    })
    .await?;
    let (_, text) = harness.operator.get("/metrics").await?;
    assert!(metric(&text, "peat_operator_pods_not_served_total{reason=\"refused\"}")? >= 2.0);
    harness.namespace.delete().await?;
    Ok(())
}
