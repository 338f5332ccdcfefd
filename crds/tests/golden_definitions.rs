//! The committed definitions are the ones that the types describe, and have the shape that users rely on.
//!
//! Inputs: `crds/yaml`, the types. What it does not do: evaluate CEL; a real API server does, in the suite for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

fn committed(plural: &str) -> CustomResourceDefinition {
    let path = format!("{}/yaml/{plural}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn definition(plural: &str) -> Value {
    let definition = peat_crds::all().into_iter().find(|d| d.spec.names.plural == plural).unwrap();
    serde_json::to_value(definition).unwrap()
}

fn schema(plural: &str, pointer: &str) -> Value {
    let definition = definition(plural);
    let path = format!("/spec/versions/0/schema/openAPIV3Schema{pointer}");
    definition.pointer(&path).unwrap_or_else(|| panic!("no {path}")).clone()
}

#[test]
fn the_committed_yaml_equals_the_types() {
    for definition in peat_crds::all() {
        let plural = &definition.spec.names.plural;
        assert_eq!(committed(plural), definition, "run `cargo xtask generate` and commit crds/yaml/{plural}.yaml");
    }
}

#[test]
fn every_field_is_described() {
    fn walk(path: &str, schema: &Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let generated = ["", ".spec", ".status"].contains(&path.as_str()) || path.contains(".conditions");
            assert!(generated || property["description"].is_string(), "{path} has no description");
            walk(&path, property);
            walk(&format!("{path}[]"), &property["items"]);
        }
    }
    for plural in ["peatmeshes", "peatpeers"] {
        walk("", &schema(plural, ""));
    }
}

#[test]
fn no_number_has_a_format_that_kubernetes_does_not_know() {
    let text = serde_json::to_string(&peat_crds::all()).unwrap();
    assert!(!text.contains("\"uint"), "the API server warns about unsigned formats");
}

#[test]
fn a_mesh_without_a_spec_field_gets_the_documented_defaults() {
    let spec = "/properties/spec/properties";
    assert_eq!(schema("peatmeshes", &format!("{spec}/discovery/properties/bootstrapPeers/default")), 16);
    assert_eq!(schema("peatmeshes", &format!("{spec}/identity/properties/certificateTTL/default")), "24h");
    assert_eq!(schema("peatmeshes", &format!("{spec}/identity/properties/expiryGrace/default")), "168h");
    assert_eq!(
        schema("peatmeshes", &format!("{spec}/injection/properties/allowedNamespaces/properties/from/default")),
        "Same"
    );
    let parsed: peat_crds::PeatMeshSpec = serde_json::from_str("{}").unwrap();
    assert_eq!(parsed, peat_crds::PeatMeshSpec::default());
    assert!(parsed.sidecar.resources.limits.contains_key("memory"));
}

#[test]
fn a_mesh_needs_no_spec_and_a_peer_does() {
    assert_eq!(schema("peatmeshes", "/properties/spec/default"), serde_json::json!({}));
    let required = |plural: &str| schema(plural, "")["required"].clone();
    assert_eq!((required("peatmeshes"), required("peatpeers")), (Value::Null, serde_json::json!(["spec"])));
}

#[test]
fn the_endpoint_id_is_guarded_on_the_root_so_that_removing_the_status_is_seen() {
    let rules = schema("peatpeers", "/x-kubernetes-validations");
    let rule = rules[0]["rule"].as_str().unwrap();
    assert!(rule.contains("has(self.status)") && rule.contains("oldSelf.status.endpointID"), "{rule}");
}

#[test]
fn every_rule_says_what_to_write_instead() {
    fn walk(schema: &Value) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(message.len() > 20, "{rule}");
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(walk),
            Value::Array(items) => items.iter().for_each(walk),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    walk(&serde_json::to_value(peat_crds::all()).unwrap());
}

#[test]
fn what_an_injector_sets_cannot_be_set_through_the_mesh() {
    let rules = schema("peatmeshes", "/properties/spec/properties/sidecar/properties/env/x-kubernetes-validations");
    let rule = rules[0]["rule"].as_str().unwrap();
    for name in peat_crds::names::env::INJECTED {
        assert!(rule.contains(&format!("'{name}'")), "{name}");
    }
}
