//! How to change a pod, as JSON Patch (RFC 6902).
//!
//! Inputs: the pod, to know which maps and lists it has, and what to add. Outputs: operations that add and never
//! replace a list, so that what other admission plugins put there, fields unknown to us included, stays. What it does
//! not do: apply the patch; the API server does.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, jsonptr::PointerBuf};
use k8s_openapi::api::core::v1::Pod;
use peat_crds::names::{annotation, label};
use serde_json::{Value, json};

use super::{fit::Shape, sidecar::Profile};

/// Puts the sidecar first among the init containers, adds its volumes, and marks the pod.
pub(super) fn inject(pod: &Pod, profile: &Profile<'_>, shape: &Shape) -> Patch {
    let mut ops = annotate(pod, annotation::INJECTED, &profile.hash()).0;
    // A copied pod may carry the reason why an earlier one was refused.
    if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(annotation::STATUS)) {
        ops.push(remove(&["metadata", "annotations", annotation::STATUS]));
    }
    if pod.metadata.labels.is_none() {
        ops.push(add(&["metadata", "labels"], json!({})));
    }
    ops.push(add(&["metadata", "labels", label::MESH_UID], json!(profile.mesh().uid.0)));
    let spec = pod.spec.as_ref();
    if spec.is_none_or(|s| s.init_containers.is_none()) {
        ops.push(add(&["spec", "initContainers"], json!([])));
    }
    ops.push(add(&["spec", "initContainers", "0"], json!(profile.container(shape))));
    if spec.is_none_or(|s| s.volumes.is_none()) {
        ops.push(add(&["spec", "volumes"], json!([])));
    }
    ops.extend(profile.volumes().into_iter().map(|volume| add(&["spec", "volumes", "-"], json!(volume))));
    Patch(ops)
}

/// Sets an annotation; empty when it is so already.
pub(super) fn annotate(pod: &Pod, key: &str, value: &str) -> Patch {
    let mut ops = Vec::new();
    match &pod.metadata.annotations {
        Some(annotations) if annotations.get(key).is_some_and(|v| v == value) => return Patch(ops),
        Some(_) => {}
        None => ops.push(add(&["metadata", "annotations"], json!({}))),
    }
    ops.push(add(&["metadata", "annotations", key], json!(value)));
    Patch(ops)
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path.iter().copied()) })
}
