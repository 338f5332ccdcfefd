//! Policies of collections: set on one node, told by every one, and enforced.

use super::Api;
use super::access::{admin, wait_for_metric};
use super::caller::Caller;
use super::peers::{connect, pair};
use super::process::PATIENCE;
use super::raw::Raw;
use serde_json::{Value, json};
use tokio::time::timeout;

fn config(collection: &str, policy: &str) -> Value {
    json!({"config": {"collection": collection, "deletionPolicy": policy, "softDeleteTtlSecs": "60", "tombstoneTtlSecs": "90"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_told_as_it_was_set_and_nothing_where_none_was() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let get = json!({"collection": "ships"});
        for policy in ["TOMBSTONE", "IMPLICIT_TTL", "IMMUTABLE", "SOFT_DELETE"] {
            let set = config("ships", &format!("DELETION_POLICY_{policy}"));
            caller.ok("SetCollectionConfig", set.clone()).await;
            assert_eq!(caller.ok("GetCollectionConfig", get.clone()).await, set, "{way}");
            assert_eq!(
                caller.ok("ListCollectionConfigs", json!({})).await,
                json!({"configs": [set["config"]]}),
                "{way}"
            );
        }
        assert_eq!(caller.ok("GetCollectionConfig", json!({"collection": "beacons"})).await, json!({}), "{way}");
        caller.ok("SetCollectionConfig", json!({"config": {"collection": "ships"}})).await;
        let unset = json!({"config": {"collection": "ships", "deletionPolicy": "DELETION_POLICY_SOFT_DELETE"}});
        assert_eq!(caller.ok("GetCollectionConfig", get).await, unset, "{way}: replaced whole, 0 is SOFT_DELETE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_is_listed_and_told_as_it_was_set_also_after_a_kill() {
    let mut api = Api::start(&[]).await;
    let kind = "DELETION_POLICY_TOMBSTONE";
    let set = [("boats", "86400"), ("ships", "60")]
        .map(|(name, secs)| json!({"collection": name, "deletionPolicy": kind, "tombstoneTtlSecs": secs}));
    for (way, mut caller) in Caller::all(&api).await {
        for config in &set {
            caller.ok("SetCollectionConfig", json!({"config": config})).await;
            let get = json!({"collection": config["collection"]});
            assert_eq!(caller.ok("GetCollectionConfig", get).await, json!({"config": config}), "{way}");
        }
        assert_eq!(caller.ok("ListCollectionConfigs", json!({})).await, json!({"configs": set}), "{way}");
    }
    api.node.kill();
    api.node.start(&[]).await;
    // The port is another one now, the socket is not.
    let mut raw = Raw::unix(&api).await;
    for config in &set {
        let told = raw.call("GetCollectionConfig", &json!({"collection": config["collection"]})).await;
        assert_eq!(told, (200, json!({"config": config})));
    }
    assert_eq!(raw.call("ListCollectionConfigs", &json!({})).await, (200, json!({"configs": set})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_collection_refuses_deletes_and_takes_edits() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let put = |n: u32| json!({"collection": "logs", "docId": "a", "jsonData": json!({"n": n}).to_string()});
        let at = json!({"collection": "logs", "docId": "a"});
        caller.ok("PutDocument", put(1)).await;
        caller.ok("SetCollectionConfig", config("logs", "DELETION_POLICY_IMMUTABLE")).await;
        let refused = caller.call("DeleteDocument", at.clone()).await.unwrap_err();
        assert_eq!(refused.code, "failed_precondition", "{way}");
        assert!(refused.message.contains("logs is IMMUTABLE"), "{way}: {}", refused.message);
        caller.ok("PutDocument", put(2)).await;
        assert_eq!(caller.ok("GetDocument", at.clone()).await["jsonData"], r#"{"n":2}"#, "{way}");
        caller.ok("SetCollectionConfig", config("logs", "DELETION_POLICY_TOMBSTONE")).await;
        caller.ok("DeleteDocument", at).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_under_implicit_ttl_goes_by_itself_and_the_others_stay() {
    let api = Api::start(&[]).await;
    let (_, mut caller) = Caller::all(&api).await.swap_remove(0);
    for collection in ["flares", "ships"] {
        caller.ok("PutDocument", json!({"collection": collection, "docId": "a", "jsonData": "{}"})).await;
    }
    let policy =
        json!({"collection": "flares", "deletionPolicy": "DELETION_POLICY_IMPLICIT_TTL", "softDeleteTtlSecs": "1"});
    caller.ok("SetCollectionConfig", json!({"config": policy})).await;
    let gone = async {
        while caller.ok("ListDocuments", json!({"collection": "flares"})).await != json!({}) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(caller.ok("ListDocuments", json!({"collection": "ships"})).await, json!({"docIds": ["a"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_set_on_one_node_is_enforced_on_another() {
    let (a, b) = pair().await;
    connect(&a, &b).await;
    b.node.put("logs", "a", r#"{"n":1}"#).await;
    let (mut on_a, mut on_b) = (Raw::tcp(&a).await, Raw::tcp(&b).await);
    let set = config("logs", "DELETION_POLICY_IMMUTABLE");
    assert_eq!(on_a.call("SetCollectionConfig", &set).await.0, 200);
    let told = async { while on_b.call("GetCollectionConfig", &json!({"collection": "logs"})).await.1 != set {} };
    timeout(PATIENCE, told).await.unwrap();
    let (status, refused) = on_b.call("DeleteDocument", &json!({"collection": "logs", "docId": "a"})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("failed_precondition")), "{refused}");
    b.node.put("logs", "a", r#"{"n":2}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_told_for_the_time_of_its_policy_and_leaves_nothing_to_be_told() {
    let (mut flags, metrics) = admin();
    flags.extend(["--gc-interval-secs", "1"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let api = Api::start(&flags).await;
    let (_, mut caller) = Caller::all(&api).await.swap_remove(0);
    for (collection, kind, life) in
        [("flares", "TOMBSTONE", "tombstoneTtlSecs"), ("buoys", "SOFT_DELETE", "softDeleteTtlSecs")]
    {
        let kind = format!("DELETION_POLICY_{kind}");
        let policy = json!({"collection": collection, "deletionPolicy": kind, life: "1"});
        caller.ok("SetCollectionConfig", json!({"config": policy})).await;
    }
    for collection in ["flares", "buoys", "ships"] {
        caller.ok("PutDocument", json!({"collection": collection, "docId": "a", "jsonData": "{}"})).await;
        caller.ok("DeleteDocument", json!({"collection": collection, "docId": "a"})).await;
    }
    // The policies, and the delete that is told for seven days.
    wait_for_metric(metrics, "peat_node_rows 3").await;
    for collection in ["flares", "buoys"] {
        let put = json!({"collection": collection, "docId": "a", "jsonData": "{\"n\":1}"});
        caller.ok("PutDocument", put).await;
        let read = caller.ok("GetDocument", json!({"collection": collection, "docId": "a"})).await;
        assert_eq!(read["jsonData"], r#"{"n":1}"#);
    }
}
