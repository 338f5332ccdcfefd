//! Service account tokens: from the API server, and, where time would be too slow, signed with its key.
//!
//! Inputs: pods. Outputs: tokens as a kubelet would project them. What it does not do: forge what the API server would
//! not accept as its own; an expired token carries its real signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::PostParams;
use peat_crds::names::{TOKEN_AUDIENCE, sidecar::TOKEN_SECONDS};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use super::{Harness, uid};

impl Harness {
    /// The token that the kubelet would project into the sidecar of `pod`.
    pub async fn token(&self, pod: &Pod) -> Result<String> {
        self.token_for(Some(pod), TOKEN_AUDIENCE).await
    }

    /// A token of the default ServiceAccount, bound to `pod` or to nothing.
    pub async fn token_for(&self, pod: Option<&Pod>, audience: &str) -> Result<String> {
        let bound = pod.map(|pod| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            uid: pod.uid(),
        });
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                bound_object_ref: bound,
                expiration_seconds: Some(TOKEN_SECONDS),
            }),
            ..TokenRequest::default()
        };
        let accounts = self.api::<ServiceAccount>();
        let answer = accounts.create_token_request("default", &PostParams::default(), &request).await?;
        answer.status.and_then(|status| status.token).context("a token")
    }

    /// A token like [`Self::token`] whose life ended an hour ago, signed with the API server's own key: the shortest
    /// life that it would issue itself is ten minutes.
    pub async fn expired_token(&self, pod: &Pod) -> Result<String> {
        let account = self.api::<ServiceAccount>().get("default").await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let ended = now - Duration::from_secs(3600);
        let begun = ended - Duration::from_secs(3600);
        let namespace = self.namespace.name();
        let claims = json!({
            "aud": [TOKEN_AUDIENCE],
            "exp": ended.as_secs(),
            "iat": begun.as_secs(),
            "nbf": begun.as_secs(),
            "iss": "https://kubernetes.default.svc",
            "sub": format!("system:serviceaccount:{namespace}:default"),
            "kubernetes.io": {
                "namespace": namespace,
                "pod": { "name": pod.name_any(), "uid": uid(pod) },
                "serviceaccount": { "name": "default", "uid": uid(&account) },
            },
        });
        self.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims)
    }

    /// A JSON web token with the API server's signature.
    fn sign(&self, header: &serde_json::Value, claims: &serde_json::Value) -> Result<String> {
        let path = self.cluster.kubeconfig().with_file_name("pki").join("sa.key");
        let pem = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let der = rcgen::KeyPair::from_pem(&pem)?.serialize_der();
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = key.sign(&random, signed.as_bytes()).map_err(|_| anyhow::anyhow!("sign a token"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn encode(part: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}
