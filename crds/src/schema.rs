//! Pieces of schema that the derive cannot express.
//!
//! Purpose: short OpenAPI fragments for Kubernetes quantities, and the CEL rules that are used more than once.
//! Inputs: the generator of schemars (unused, the fragments are self-contained). Outputs: structural schemas.
//! What it does not do: describe fields; their doc comments do.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

use crate::names;

/// A resource quantity. The upstream fragment repeats 40 lines of prose at every use.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$",
        "maxLength": 32,
    })
}

/// A map from resource name to quantity, bounded so that CEL rules over it have a known cost.
pub(crate) fn quantities(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": quantity(generator),
    })
}

/// Environment variables the injector owns cannot be set through the mesh: they say who the node is.
pub(crate) fn env_is_not_ours() -> Rule {
    let ours = names::env::INJECTED.map(|name| format!("'{name}'")).join(", ");
    Rule::new(format!("self.all(e, !(e.name in [{ours}]))")).message(
        "this variable is set by the injector; use the field for it (spec.sidecar.logLevel for PEAT_NODE_LOG_LEVEL), \
         or leave it out",
    )
}

/// A request above its limit would make every injected pod invalid.
pub(crate) fn requests_within_limits() -> Rule {
    Rule::new(
        "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || \
         quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
    )
    .message("a request is above its limit; write requests that are at most the limits of the same name")
}

/// A duration between two bounds, both in Go's notation.
pub(crate) fn duration_between(least: &str, most: &str, example: &str) -> Rule {
    Rule::new(format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')")).message(
        format!("write a duration from {least} to {most} in hours, minutes and seconds, such as {example}").as_str(),
    )
}

/// Lets an object be written without `spec`, for a kind whose every field has a default: the API server fills them in.
///
/// The derive makes `spec` required, which a person who wants nothing but the defaults meets as a refusal.
pub(crate) fn spec_may_be_left_out(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    const SPEC: &str = "spec";
    for version in &mut definition.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        schema.required = schema.required.take().map(|names| names.into_iter().filter(|name| name != SPEC).collect());
        schema.required.take_if(|names: &mut Vec<String>| names.is_empty());
        if let Some(spec) = schema.properties.as_mut().and_then(|properties| properties.get_mut(SPEC)) {
            spec.default = Some(JSON(json!({})));
        }
    }
    definition
}

/// Takes `nullable` off every field.
///
/// The derive puts it on each `Option`. With it the API server keeps a null, and CEL's `has()` calls that present, so
/// `podRef: null` would pass for a `podRef`; without it a null is dropped before any rule looks.
pub(crate) fn without_nulls(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            forbid_null(schema);
        }
    }
    definition
}

fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(forbid_null);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => forbid_null(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forbid_null),
        None => {}
    }
    match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(value)) => forbid_null(value),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => {}
    }
}
