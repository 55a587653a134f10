//! Service accounts: whether their owners agree, and their tokens, which are requested for one login each.

use std::{collections::BTreeMap, fs};

use http::header::{CONNECTION, HeaderValue};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Resource,
    api::{PostParams, Request},
    config::AuthInfo,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::Deserialize;
use serde_json::json;

use super::{Cluster, ClusterError, ReadFault, is_labelled, version, within_deadline};
use crate::{
    auth::ServiceAccountRef,
    names::ObjectName,
    references::{
        Lookup, Object, TokenAnswer,
        jwt::{self, Claims},
    },
};

impl Cluster {
    /// Reads the metadata of a ServiceAccount: there is nothing else of interest.
    pub(super) async fn read_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Lookup, ReadFault> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        Ok(match accounts.get_metadata_opt(name).await? {
            None => Lookup::Missing,
            Some(account) if is_labelled(&account.metadata) => Lookup::Found(Object {
                version: version(&account.metadata),
                labelled: true,
                data: BTreeMap::new(),
            }),
            Some(_) => Lookup::NotLabelled,
        })
    }

    /// Requests a token. The request is made by hand, as that of a Secret: the token must stay in no buffer and in no log.
    async fn create_token(
        &self,
        namespace: &str,
        account: &ServiceAccountRef,
    ) -> Result<SecretString, ReadFault> {
        #[derive(Deserialize)]
        struct Made {
            status: MadeStatus,
        }
        #[derive(Deserialize)]
        struct MadeStatus {
            token: String,
        }
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": account.audiences, "expirationSeconds": account.expiration_seconds},
        });
        let accounts = Request::new(ServiceAccount::url_path(&(), Some(namespace)));
        let params = PostParams::default();
        let request =
            accounts.create_subresource("token", &account.name, &params, body.to_string().into_bytes());
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let text = Zeroizing::new(self.client.request_text(request).await?);
        let made: Made = serde_json::from_str(&text).map_err(|_| ReadFault::Unreadable)?;
        Ok(SecretString::from(made.status.token))
    }

    /// Requests a token for a login, unless it would be for the API server, too.
    pub(super) async fn issue_token(
        &self,
        namespace: &str,
        account: &ServiceAccountRef,
    ) -> Result<TokenAnswer, ClusterError> {
        let refused = |made: Option<&Claims>| {
            let audience = jwt::of_api_server(&account.audiences, &self.own_audiences, made)?;
            Some(TokenAnswer::AudienceOfApiServer(audience.to_owned()))
        };
        if let Some(refused) = refused(None) {
            return Ok(refused);
        }
        match within_deadline(self.create_token(namespace, account)).await? {
            Ok(token) => {
                let made = Claims::read(token.expose_secret());
                Ok(refused(made.as_ref()).unwrap_or(TokenAnswer::Issued(token)))
            }
            Err(ReadFault::Refused(kube::Error::Api(status))) if status.code == 403 => {
                Ok(TokenAnswer::Forbidden)
            }
            Err(ReadFault::Refused(kube::Error::Api(status))) if status.code == 404 => {
                Ok(TokenAnswer::Missing)
            }
            Err(fault) => Err(fault.of(ObjectName::service_account(&account.name), namespace)),
        }
    }
}

/// The audiences of the token that we use ourselves, which are those of the API server.
pub(super) fn own_audiences(auth: &AuthInfo) -> Vec<String> {
    let token = match (&auth.token, &auth.token_file) {
        (Some(token), _) => Some(Zeroizing::new(token.expose_secret().to_owned())),
        (None, Some(file)) => fs::read_to_string(file).ok().map(Zeroizing::new),
        (None, None) => None,
    };
    let claims = token.and_then(|token| Claims::read(token.trim()));
    claims.map(|claims| claims.audiences).unwrap_or_default()
}

impl ReadFault {
    /// The error about an object of a namespace.
    pub(super) fn of(self, object: ObjectName, namespace: &str) -> ClusterError {
        let namespace = namespace.to_owned();
        match self {
            Self::Refused(source) => ClusterError::Read { object, namespace, source },
            Self::Unreadable => ClusterError::Unreadable { object, namespace },
        }
    }
}
