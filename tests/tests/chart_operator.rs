//! The chart `peat-operator`, rendered by real helm and installed into a real API server without nodes.
//!
//! Shows: rendering is repeatable and carries no secrets, wrong values are refused, every object is accepted, the
//! operator's rights are the least that it needs, an upgrade keeps what the operator wrote, and an uninstall leaves the
//! definitions only. Does not run the operator or its clean-up job; the suites with real pods do.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, authorization::v1::SubjectAccessReview,
    core::v1::Namespace,
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use peat_cluster::{Cluster, TestNamespace, wait_for};
use serde_json::{Value, json};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/peat-operator");
const RELEASE: &str = "harbour";
/// What helm names the objects of [`RELEASE`].
const NAME: &str = "harbour-peat-operator";
const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");
/// Every optional part switched on.
const EVERYTHING: &[&str] = &[
    "--set=replicas=3,networkPolicy.enabled=true,priorityClassName=system-cluster-critical,logFormat=text",
    "--set=membership.url=https://peat.example.org:8443,membership.extraNames={peat.example.org}",
    "--set=serviceAccount.name=pilot,test.namespace=kube-public",
    "--set=imagePullSecrets[0].name=registry,webhook.excludedNamespaces={quiet},nodeSelector.disk=fast",
    "--set-json=tolerations=[{\"key\":\"edge\",\"operator\":\"Exists\"}]",
];

async fn render(cluster: &Cluster, namespace: &str, flags: &[&str]) -> Result<String> {
    let args = ["template", RELEASE, CHART, "--namespace", namespace, "--include-crds"];
    Ok(cluster.helm(args.iter().chain(flags)).await?)
}

fn documents(manifests: &str) -> Result<Vec<Value>> {
    use serde::Deserialize as _;
    let documents = serde_yaml::Deserializer::from_str(manifests).map(Value::deserialize);
    let parsed: Vec<Value> = documents.collect::<Result<_, _>>().context("parse the rendered manifests")?;
    Ok(parsed.into_iter().filter(|document| !document.is_null()).collect())
}

#[tokio::test]
async fn two_renderings_are_equal() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    for flags in [&[], EVERYTHING] {
        assert_eq!(render(cluster, "peat-system", flags).await?, render(cluster, "peat-system", flags).await?);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_secret_is_rendered() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let manifests = render(cluster, "peat-system", EVERYTHING).await?;
    for word in ["caBundle", "PRIVATE KEY", "CERTIFICATE"] {
        assert!(!manifests.contains(word), "{word} is rendered");
    }
    assert!(documents(&manifests)?.iter().all(|document| document["kind"] != "Secret"));
    Ok(())
}

#[tokio::test]
async fn lint_has_nothing_to_say() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    cluster.helm(["lint", "--strict", CHART]).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_refused_by_its_name() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let wrong = [
        ("--set=replica=2", "replica"),
        ("--set=replicas=many", "replicas"),
        ("--set=image.pullPolicy=Sometimes", "pullPolicy"),
        ("--set=membership.url=http://plain.example.org", "membership"),
        ("--set=crds.kep=false", "kep"),
        ("--set=serviceMonitor.interval=often", "interval"),
        ("--set=test.namespace=No_Where", "namespace"),
    ];
    for (flag, word) in wrong {
        let refusal =
            render(cluster, "peat-system", &[flag]).await.err().with_context(|| format!("{flag} is accepted"))?;
        assert!(format!("{refusal:#}").contains(word), "{flag}: {refusal:#}");
    }
    Ok(())
}

#[tokio::test]
async fn every_object_is_accepted_by_the_api_server() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let namespace = cluster.namespace("chart").await?;
    // The pod of `helm test` wants its account, which a dry run does not make.
    let account = format!("{NAME}-check");
    cluster.kubectl(["-n", namespace.name(), "create", "serviceaccount", &account]).await?;
    for flags in [&[], EVERYTHING] {
        let manifests = render(cluster, namespace.name(), flags).await?;
        let path = std::env::temp_dir().join(format!("{}.yaml", namespace.name()));
        std::fs::write(&path, &manifests)?;
        let file = path.display().to_string();
        let accepted =
            cluster.kubectl(["apply", "--dry-run=server", "--validate=strict", "-o=name", "-f", &file]).await;
        std::fs::remove_file(&path)?;
        assert_eq!(accepted?.lines().count(), documents(&manifests)?.len());
    }
    Ok(())
}

/// The definitions of the Prometheus operator are not ours to install, so the monitor is off and only rendered here.
#[tokio::test]
async fn a_service_monitor_is_rendered_on_demand_and_finds_the_metrics() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let kind = |document: &&Value, kind: &str| document["kind"] == kind;
    let plain = documents(&render(cluster, "peat-system", &[]).await?)?;
    assert!(!plain.iter().any(|document| kind(&document, "ServiceMonitor")));
    let flags =
        ["--set=serviceMonitor.enabled=true,serviceMonitor.interval=30s,serviceMonitor.labels.release=prometheus"];
    let rendered = documents(&render(cluster, "peat-system", &flags).await?)?;
    let monitor = rendered.iter().find(|document| kind(document, "ServiceMonitor")).context("no monitor")?;
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "30s");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().context("no selector")?;
    let selected = |service: &&Value| wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value);
    let services: Vec<&Value> = rendered.iter().filter(|d| kind(d, "Service")).filter(selected).collect();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
    Ok(())
}

#[tokio::test]
async fn every_mark_of_one_mesh_for_all_pods_is_on_the_webhooks() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    let manifests = documents(&render(cluster, "peat-system", &[]).await?)?;
    let configuration = manifests.iter().find(|document| document["kind"] == "MutatingWebhookConfiguration");
    let webhooks = configuration.and_then(|found| found["webhooks"].as_array()).context("no webhook is rendered")?;
    assert_eq!(webhooks.len(), 2);
    for webhook in webhooks {
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["timeoutSeconds"], 3);
        assert_eq!(webhook["matchConditions"].as_array().map(Vec::len), Some(1), "{webhook}");
        let excluded = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
        assert_eq!(excluded, &json!(["kube-system", "peat-system"]));
    }
    Ok(())
}

/// One test, because the release has objects of the whole cluster, such as the definitions.
#[tokio::test]
async fn a_release_installs_upgrades_and_uninstalls_cleanly() -> Result<()> {
    let cluster = Cluster::envtest(peat_cluster::EnvtestOptions::default()).await?;
    let namespace = cluster.labelled_namespace("release", &[RESTRICTED]).await?;
    let notes = cluster.helm(["install", RELEASE, CHART, "--namespace", namespace.name()]).await?;
    the_mesh_of_the_notes_is_accepted(&cluster, &namespace, &notes).await?;
    the_pods_fit_a_restricted_namespace(&cluster, &namespace).await?;
    the_rights_are_the_least(&cluster, &namespace).await?;
    an_upgrade_keeps_the_bundle_of_the_operator(&cluster, &namespace).await?;
    // No kubelet runs the clean-up job here.
    cluster.helm(["uninstall", RELEASE, "--no-hooks", "--namespace", namespace.name()]).await?;
    only_definitions_are_left(&cluster, &namespace).await?;
    cluster.helm(["install", RELEASE, CHART, "--set=crds.keep=false", "--namespace", namespace.name()]).await?;
    cluster.helm(["uninstall", RELEASE, "--no-hooks", "--namespace", namespace.name()]).await?;
    wait_for(Duration::from_secs(30), "the end of the definitions", async || match definitions(&cluster).await {
        Ok(left) if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await?;
    Ok(namespace.delete().await?)
}

/// What a newcomer copies from the notes works as it stands.
async fn the_mesh_of_the_notes_is_accepted(cluster: &Cluster, namespace: &TestNamespace, notes: &str) -> Result<()> {
    let (_, from) = notes.split_once("<<EOF\n").context("no mesh in the notes")?;
    let (mesh, _) = from.split_once("\nEOF\n").context("no end of the mesh in the notes")?;
    let path = std::env::temp_dir().join(format!("{}-mesh.yaml", namespace.name()));
    std::fs::write(&path, mesh)?;
    let file = path.display().to_string();
    // The definitions were installed a moment ago, and are served a moment later.
    let accepted = wait_for(Duration::from_secs(30), "the mesh to be accepted", async || {
        cluster.kubectl(["apply", "--dry-run=server", "--validate=strict", "-o=name", "-f", &file]).await
    });
    let accepted = accepted.await;
    std::fs::remove_file(&path)?;
    ensure!(accepted?.trim() == "peatmesh.peat.mesh/my-mesh");
    Ok(())
}

/// Pod Security is decided on pods, not on the Deployment and Job that make them.
async fn the_pods_fit_a_restricted_namespace(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    let manifests = documents(&render(cluster, namespace.name(), &[]).await?)?;
    let spec = |owner: &Value| match owner["kind"].as_str() {
        // Of `helm test`.
        Some("Pod") => owner["spec"].clone(),
        _ => owner["spec"]["template"]["spec"].clone(),
    };
    let mut seen = BTreeMap::new();
    for owner in manifests.iter().filter(|owner| spec(owner).is_object()) {
        let kind = owner["kind"].as_str().context("no kind")?;
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": kind.to_lowercase(), "namespace": namespace.name() } });
        pod["spec"] = spec(owner);
        // The accounts of the hooks exist only while they run.
        pod["spec"]["serviceAccountName"] = json!("default");
        let path = std::env::temp_dir().join(format!("{}-{kind}.json", namespace.name()));
        std::fs::write(&path, pod.to_string())?;
        let accepted = cluster.kubectl(["create", "--dry-run=server", "-f", &path.display().to_string()]).await;
        std::fs::remove_file(&path)?;
        seen.insert(kind.to_owned(), accepted?);
    }
    ensure!(seen.keys().eq(["Deployment", "Job", "Pod"]), "{seen:?}");
    Ok(())
}

async fn the_rights_are_the_least(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    let own = Some(namespace.name());
    let other = Some("default");
    // Verb, group, resource with subresource, name, namespace; and whether it is granted.
    type Question<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>, bool);
    let questions: [Question<'_>; 21] = [
        ("get", "", "secrets", "", own, true),
        ("update", "", "secrets", "", own, true),
        ("patch", "", "secrets", "", own, false),
        ("get", "", "secrets", "", other, false),
        ("watch", "", "nodes", "", None, true),
        ("get", "", "nodes", "", None, false),
        ("patch", "", "nodes", "", None, false),
        ("get", "", "namespaces", "", None, false),
        ("create", "", "events", "", other, false),
        ("create", "events.k8s.io", "events", "", other, true),
        ("patch", "peat.mesh", "peatpeers", "", other, false),
        ("list", "", "configmaps", "", None, false),
        ("patch", "", "configmaps", "", other, true),
        ("patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", NAME, None, true),
        ("patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "another", None, false),
        ("create", "authentication.k8s.io", "tokenreviews", "", None, true),
        ("patch", "peat.mesh", "peatpeers/status", "", other, true),
        ("patch", "peat.mesh", "peatmeshes", "", other, false),
        ("patch", "", "pods", "", other, false),
        ("create", "", "pods/exec", "", other, false),
        ("get", "apps", "deployments", "", other, false),
    ];
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client().await?);
    for (verb, group, resource, name, place, expected) in questions {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = serde_json::from_value(json!({ "spec": {
            "user": format!("system:serviceaccount:{}:{NAME}", namespace.name()),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": place,
            },
        }}))?;
        let answer = reviews.create(&PostParams::default(), &review).await?.status.context("no answer")?;
        ensure!(answer.allowed == expected, "{verb} {group}/{resource}/{subresource} {name} in {place:?}: {answer:?}");
    }
    Ok(())
}

async fn an_upgrade_keeps_the_bundle_of_the_operator(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client().await?);
    // The API server checks that a bundle is made of certificates.
    let pem = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?.cert.pem();
    let pem = base64::engine::general_purpose::STANDARD.encode(pem);
    let bundle = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": pem } });
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "webhooks": [bundle("pod.inject.peat.mesh"), bundle("namespace.inject.peat.mesh")],
    });
    api.patch(NAME, &PatchParams::apply("another-manager"), &Patch::Apply(patch)).await?;
    let flags = ["upgrade", RELEASE, CHART, "--set=logLevel=debug", "--namespace", namespace.name()];
    cluster.helm(flags).await?;
    let upgraded = api.get(NAME).await?;
    for webhook in upgraded.webhooks.unwrap_or_default() {
        ensure!(
            webhook.client_config.ca_bundle.is_some_and(|bundle| !bundle.0.is_empty()),
            "{} lost its bundle",
            webhook.name
        );
    }
    Ok(())
}

async fn only_definitions_are_left(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    ensure!(definitions(cluster).await?.len() == 2);
    let ours = "app.kubernetes.io/part-of=peat";
    let kinds = "deployments,services,serviceaccounts,roles,rolebindings,secrets,jobs";
    let left = cluster.kubectl(["get", kinds, "-l", ours, "-o=name", "-n", namespace.name()]).await?;
    let kinds = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations";
    let wide = cluster.kubectl(["get", kinds, "-l", ours, "-o=name"]).await?;
    ensure!(left.trim().is_empty() && wide.trim().is_empty(), "left: {left}{wide}");
    Api::<Namespace>::all(cluster.client().await?).get(namespace.name()).await?;
    Ok(())
}

async fn definitions(cluster: &Cluster) -> Result<Vec<String>> {
    let names = cluster.kubectl(["get", "customresourcedefinitions", "-o=name"]).await?;
    Ok(names.lines().filter(|name| name.ends_with(".peat.mesh")).map(str::to_owned).collect())
}
