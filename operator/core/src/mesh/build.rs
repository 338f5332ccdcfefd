//! What should exist for a mesh.
//!
//! Inputs: a validated mesh, the namespaces it serves, and [`Facts`] about the operator and the authority.
//! Outputs: prepared resources. Cannot fail: everything was checked before. What it does not do: apply.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{ValidatedMesh, resource::config_map::config_map};
use crate::{
    names::EndpointId,
    resources::{Prepared, Resources},
};

/// What a node needs to find operator and peers; public, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `https://host:port` of the membership server.
    pub membership_url: String,
    /// PEM of the operator's certificate authorities.
    pub membership_ca: String,
    /// PEM of the mesh's certificate authorities.
    pub trust_bundle: String,
    /// Some peers and where they are; at most 16 are used.
    pub bootstrap: Vec<(EndpointId, SocketAddr)>,
}

/// The objects of `mesh`: one ConfigMap in its own namespace and in each of `served`.
///
/// `served`: names of namespaces that have pods of the mesh; those that the mesh does not admit are the caller's to
/// leave out, since admission looks at labels.
pub fn build(mesh: &ValidatedMesh, served: &BTreeSet<String>, facts: &Facts) -> Resources<Prepared> {
    let mut namespaces: BTreeSet<&str> = served.iter().map(String::as_str).collect();
    namespaces.insert(&mesh.key.namespace);
    Resources::prepared(namespaces.into_iter().map(|namespace| config_map(mesh, namespace, facts)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::validate;

    fn mesh() -> ValidatedMesh {
        let text = "{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {name: harbour, namespace: coast, \
                    uid: 0f9a3c5d-1}, spec: {}}";
        validate(&serde_yaml::from_str(text).unwrap()).unwrap()
    }

    fn facts(peers: u8) -> Facts {
        let address = "192.0.2.7:11204".parse().unwrap();
        Facts {
            membership_url: "https://peat-operator-membership.peat-system.svc:8443".into(),
            membership_ca: "operator authority".into(),
            trust_bundle: "mesh authority".into(),
            bootstrap: (0..peers).map(|n| (EndpointId([n; 32]), address)).collect(),
        }
    }

    #[test]
    fn every_namespace_served_gets_a_config_map_and_the_own_one_always() {
        let served = BTreeSet::from(["inland".to_owned(), "coast".to_owned()]);
        let built = build(&mesh(), &served, &facts(0)).config_maps;
        let names: Vec<_> = built
            .iter()
            .map(|c| (c.metadata.namespace.as_deref().unwrap(), c.metadata.name.as_deref().unwrap()))
            .collect();
        assert_eq!(names, [("coast", "peat-harbour-0f9a3c5d"), ("inland", "peat-harbour-0f9a3c5d")]);
        assert_eq!(build(&mesh(), &BTreeSet::new(), &facts(0)).config_maps.len(), 1);
    }

    #[test]
    fn only_the_config_map_beside_the_mesh_is_owned_by_it() {
        let built = build(&mesh(), &BTreeSet::from(["inland".to_owned()]), &facts(0)).config_maps;
        assert_eq!(built[0].metadata.owner_references.as_ref().unwrap()[0].uid, "0f9a3c5d-1");
        assert_eq!(built[1].metadata.owner_references, None);
    }

    #[test]
    fn a_config_map_names_at_most_sixteen_peers() {
        let built = build(&mesh(), &BTreeSet::new(), &facts(20));
        let bootstrap = &built.config_maps[0].data.as_ref().unwrap()["bootstrap"];
        assert_eq!(bootstrap.lines().count(), 16);
        assert_eq!(bootstrap.lines().next().unwrap(), format!("{}@192.0.2.7:11204", "00".repeat(32)));
    }
}
