//! What to say about a mesh.
//!
//! Inputs: the outcome of validation, what was applied, the state of authority and webhook, and counts. Outputs: the
//! status to write, equal to the old one when nothing changed. What it does not do: count; see
//! [`inject::census`](crate::inject::census).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use peat_crds::mesh::status::{
    AuthorityCertificate, AuthorityStatus, MeshSummary, PeatMeshStatus, PeerCounts, PodCounts,
};

use super::{ValidateError, ValidatedMesh};
use crate::{
    conditions::{self, Holds, Verdict},
    resources::{Applied, Resources},
};

/// Types of the conditions of a mesh.
pub mod condition {
    /// The spec can be used.
    pub const ACCEPTED: &str = "Accepted";
    /// The mesh has a certificate authority.
    pub const AUTHORITY_READY: &str = "AuthorityReady";
    /// Pods that ask are sent to a webhook that answers.
    pub const INJECTION_READY: &str = "InjectionReady";
    /// Every pod that asks has the sidecar.
    pub const PODS_INJECTED: &str = "PodsInjected";
    /// New pods can join.
    pub const READY: &str = "Ready";
}

/// Where the certificate authority of a mesh stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityState {
    /// Not made yet.
    Pending,
    /// In use. The signing certificate first; at most 4.
    Ready(Vec<AuthorityCertificate>),
    /// It could not be made or read.
    Failed {
        /// CamelCase, from a fixed set.
        reason: &'static str,
        /// Why, and what to do.
        why: String,
        /// What the status showed before. It is kept: a mesh that had an authority must not silently get another one.
        shown: Vec<AuthorityCertificate>,
    },
}

/// Where injection stands, for the whole operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InjectionState {
    /// The API server has not been given the webhook's authority yet.
    Pending,
    /// Pods that ask are sent to us.
    Ready,
    /// The webhook configuration is missing or cannot be written; the text says why.
    Failed(String),
}

/// What was seen of a mesh that is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The certificate authority.
    pub authority: AuthorityState,
    /// Injection.
    pub injection: InjectionState,
    /// Pods that ask for this mesh.
    pub pods: PodCounts,
    /// Peers of this mesh.
    pub peers: PeerCounts,
    /// The image that new sidecars get.
    pub sidecar_image: String,
}

/// The status of a valid mesh.
///
/// `applied`: what was applied for it, `None` while it is paused. `old`: the conditions as read.
/// Returns a status equal to the old one, times included, when nothing changed, so that the caller need not write.
pub fn status(
    mesh: &ValidatedMesh,
    applied: Option<&Resources<Applied>>,
    observed: Observed,
    old: &[Condition],
    now: &Time,
) -> PeatMeshStatus {
    let Observed { authority, injection, pods, peers, sidecar_image } = observed;
    let accepted = accepted(mesh, applied);
    let verdicts =
        with_ready(vec![accepted, authority_ready(&authority), injection_ready(&injection), pods_injected(pods)]);
    let summary = summary(&verdicts, pods, peers);
    PeatMeshStatus {
        observed_generation: mesh.generation,
        conditions: conditions::merge(old, verdicts, mesh.generation, now),
        mesh_id: Some(mesh.id.clone()),
        pods: Some(pods),
        peers: Some(peers),
        authority: match authority {
            AuthorityState::Ready(certificates) | AuthorityState::Failed { shown: certificates, .. } => {
                Some(AuthorityStatus { certificates }).filter(|authority| !authority.certificates.is_empty())
            }
            AuthorityState::Pending => None,
        },
        sidecar_image: Some(sidecar_image),
        summary: Some(summary),
    }
}

/// The status of a mesh that cannot be used: says why, and nothing about what is not known. Its authority is still its
/// own.
///
/// `old`: the status as read.
pub fn rejected(
    error: &ValidateError,
    generation: Option<i64>,
    old: Option<&PeatMeshStatus>,
    now: &Time,
) -> PeatMeshStatus {
    let conditions = old.map_or(&[][..], |status| status.conditions.as_slice());
    let verdicts = with_ready(vec![Verdict::no(condition::ACCEPTED, error.category(), error.to_string())]);
    let ready = error.category().to_owned();
    PeatMeshStatus {
        observed_generation: generation,
        conditions: conditions::merge(conditions, verdicts, generation, now),
        authority: old.and_then(|status| status.authority.clone()),
        summary: Some(MeshSummary { ready, pods: "-".into(), peers: "-".into(), message: error.to_string() }),
        ..PeatMeshStatus::default()
    }
}

/// The status of a mesh whose operator is uninstalled: nobody serves it, and its authority is not to be missed.
///
/// `generation`: of the spec as read. `old`: the status as read.
pub fn unserved(generation: Option<i64>, old: Option<&PeatMeshStatus>, now: &Time) -> PeatMeshStatus {
    let message = "the Peat operator was uninstalled: pods that ask get no sidecar until one is installed";
    let verdict = Verdict::no(condition::READY, "NoOperator", message);
    let conditions = old.map_or(&[][..], |status| status.conditions.as_slice());
    PeatMeshStatus {
        observed_generation: generation,
        summary: Some(MeshSummary {
            ready: verdict.reason.into(),
            pods: "-".into(),
            peers: "-".into(),
            message: message.into(),
        }),
        conditions: conditions::merge(conditions, vec![verdict], generation, now),
        mesh_id: old.and_then(|status| status.mesh_id.clone()),
        ..PeatMeshStatus::default()
    }
}

fn accepted(mesh: &ValidatedMesh, applied: Option<&Resources<Applied>>) -> Verdict {
    match applied {
        None if mesh.paused => {
            Verdict::yes(condition::ACCEPTED, "Paused", "spec.paused is true: nothing is written for this mesh")
        }
        None => Verdict::yes(condition::ACCEPTED, "Valid", "nothing applied yet"),
        Some(Resources { config_maps, stage: _ }) => {
            Verdict::yes(condition::ACCEPTED, "Valid", format!("served in {} namespace(s)", config_maps.len()))
        }
    }
}

fn authority_ready(state: &AuthorityState) -> Verdict {
    match state {
        AuthorityState::Pending => {
            Verdict::no(condition::AUTHORITY_READY, "AuthorityPending", "the certificate authority is being made")
        }
        AuthorityState::Ready(_) => Verdict::yes(condition::AUTHORITY_READY, "Issued", ""),
        AuthorityState::Failed { reason, why, shown: _ } => {
            Verdict::no(condition::AUTHORITY_READY, reason, why.clone())
        }
    }
}

fn injection_ready(state: &InjectionState) -> Verdict {
    match state {
        InjectionState::Pending => {
            Verdict::no(condition::INJECTION_READY, "WebhookPending", "the webhook is not registered yet")
        }
        InjectionState::Ready => Verdict::yes(condition::INJECTION_READY, "WebhookRegistered", ""),
        InjectionState::Failed(why) => Verdict::no(condition::INJECTION_READY, "WebhookFailed", why.clone()),
    }
}

fn pods_injected(pods: PodCounts) -> Verdict {
    let PodCounts { matched, injected: _, missing, outdated } = pods;
    if missing > 0 {
        let message = format!(
            "{missing} of {matched} pods have no sidecar; see their annotation peat.mesh/status, and restart those that \
             are older than the mesh"
        );
        return Verdict::no(condition::PODS_INJECTED, "PodsMissing", message);
    }
    if matched == 0 {
        return Verdict::yes(condition::PODS_INJECTED, "NoPods", "no pod asks for this mesh yet");
    }
    let message = match outdated {
        0 => String::new(),
        _ => format!("{outdated} of {matched} pods have an earlier sidecar; their next restart brings them up to date"),
    };
    Verdict::yes(condition::PODS_INJECTED, "AllInjected", message)
}

/// Adds `Ready`: true when everything but `PodsInjected` holds. A pod that cannot be injected is that pod's trouble;
/// new pods still can join, and the pod column shows it.
fn with_ready(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let in_the_way = verdicts.iter().find(|v| v.kind != condition::PODS_INJECTED && v.holds != Holds::Yes);
    let ready = match in_the_way {
        Some(v) => Verdict::no(condition::READY, v.reason, v.message.clone()),
        None => Verdict::yes(condition::READY, "Ready", "new pods can join"),
    };
    verdicts.push(ready);
    verdicts
}

fn summary(verdicts: &[Verdict], pods: PodCounts, peers: PeerCounts) -> MeshSummary {
    let first = |holds: fn(&Verdict) -> bool| verdicts.iter().find(|v| holds(v));
    let ready = first(|v| v.kind == condition::READY);
    MeshSummary {
        ready: ready.map_or_else(String::new, |v| match v.holds {
            Holds::Yes => v.holds.as_str().to_owned(),
            Holds::No | Holds::Unknown => v.reason.to_owned(),
        }),
        pods: format!("{}/{}", pods.injected, pods.matched),
        peers: format!("{}/{}", peers.registered, peers.known),
        message: first(|v| v.holds != Holds::Yes).map_or_else(String::new, |v| v.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mesh::{Facts, build, validate};

    fn mesh(spec: &str) -> ValidatedMesh {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {{name: harbour, namespace: coast, \
             uid: 0f9a3c5d-1, generation: 7}}, spec: {spec}}}"
        );
        validate(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    fn applied(mesh: &ValidatedMesh) -> Resources<Applied> {
        let facts = Facts {
            membership_url: String::new(),
            membership_ca: String::new(),
            trust_bundle: String::new(),
            bootstrap: vec![],
        };
        Resources::applied(build(mesh, &BTreeSet::new(), &facts).config_maps)
    }

    fn healthy() -> Observed {
        Observed {
            authority: AuthorityState::Ready(vec![AuthorityCertificate::default()]),
            injection: InjectionState::Ready,
            pods: PodCounts { matched: 3, injected: 3, missing: 0, outdated: 0 },
            peers: PeerCounts { known: 3, registered: 2 },
            sidecar_image: "peat-node:test".into(),
        }
    }

    fn at(second: i64) -> Time {
        serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into()).unwrap()
    }

    fn of(observed: Observed) -> PeatMeshStatus {
        let mesh = mesh("{}");
        status(&mesh, Some(&applied(&mesh)), observed, &[], &at(1))
    }

    fn reason(status: &PeatMeshStatus, kind: &str) -> (String, String) {
        let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    #[test]
    fn a_healthy_mesh_is_ready_and_its_columns_say_so() {
        let status = of(healthy());
        let kinds: Vec<_> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(kinds, ["Accepted", "AuthorityReady", "InjectionReady", "PodsInjected", "Ready"]);
        assert!(status.conditions.iter().all(|c| c.status == "True" && c.observed_generation == Some(7)));
        let summary = status.summary.unwrap();
        assert_eq!((summary.ready.as_str(), summary.pods.as_str(), summary.peers.as_str()), ("True", "3/3", "2/3"));
        assert_eq!(summary.message, "");
        assert_eq!(status.mesh_id.as_deref(), Some("0f9a3c5d-1"));
    }

    #[test]
    fn the_first_thing_in_the_way_is_the_reason_of_ready() {
        let status = of(Observed {
            authority: AuthorityState::Failed {
                reason: "AuthorityFailed",
                why: "cannot write Secret".into(),
                shown: vec![],
            },
            injection: InjectionState::Pending,
            ..healthy()
        });
        assert_eq!(reason(&status, "Ready"), ("False".into(), "AuthorityFailed".into()));
        assert_eq!(status.summary.unwrap().message, "cannot write Secret");
        assert_eq!(status.authority, None);
    }

    #[test]
    fn a_missing_sidecar_is_said_but_leaves_the_mesh_ready() {
        let pods = PodCounts { matched: 3, injected: 2, missing: 1, outdated: 0 };
        let status = of(Observed { pods, ..healthy() });
        assert_eq!(reason(&status, "PodsInjected"), ("False".into(), "PodsMissing".into()));
        assert_eq!(reason(&status, "Ready").0, "True");
        let summary = status.summary.unwrap();
        assert_eq!((summary.ready.as_str(), summary.pods.as_str()), ("True", "2/3"));
        assert!(summary.message.contains("1 of 3 pods"), "{}", summary.message);
    }

    #[test]
    fn an_unchanged_mesh_gets_an_equal_status_later() {
        let mesh = mesh("{}");
        let first = status(&mesh, Some(&applied(&mesh)), healthy(), &[], &at(1));
        let second = status(&mesh, Some(&applied(&mesh)), healthy(), &first.conditions, &at(2));
        assert_eq!(first, second);
    }

    #[test]
    fn a_paused_mesh_says_that_it_is() {
        let mesh = mesh("{paused: true}");
        let status = status(&mesh, None, healthy(), &[], &at(1));
        assert_eq!(reason(&status, "Accepted"), ("True".into(), "Paused".into()));
    }

    #[test]
    fn what_is_known_of_an_authority_outlives_every_failure() {
        let shown = vec![AuthorityCertificate { public_key: "ab".into(), ..AuthorityCertificate::default() }];
        let lost = AuthorityState::Failed { reason: "AuthorityLost", why: "gone".into(), shown: shown.clone() };
        let status = of(Observed { authority: lost, ..healthy() });
        assert_eq!(reason(&status, "Ready"), ("False".into(), "AuthorityLost".into()));
        assert_eq!(status.authority.as_ref().unwrap().certificates, shown);
        let rejected = rejected(&ValidateError::BootstrapPeers(0), None, Some(&status), &at(2));
        assert_eq!(rejected.authority, status.authority);
    }

    #[test]
    fn a_mesh_without_an_operator_says_so_and_nothing_else() {
        let old = of(healthy());
        let status = unserved(Some(7), Some(&old), &at(2));
        assert_eq!(status.conditions.len(), 1);
        assert_eq!(reason(&status, "Ready"), ("False".into(), "NoOperator".into()));
        assert_eq!((status.authority, status.mesh_id), (None, old.mesh_id));
        assert_eq!(status.summary.unwrap().ready, "NoOperator");
    }

    #[test]
    fn a_rejected_mesh_says_what_to_write() {
        let error = ValidateError::BootstrapPeers(99);
        let status = rejected(&error, Some(2), None, &at(1));
        assert_eq!(reason(&status, "Ready"), ("False".into(), "InvalidBootstrapPeers".into()));
        assert!(status.summary.unwrap().message.contains("write 1 to 16"));
    }
}
