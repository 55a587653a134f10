//! From the objects that a connection names to its credentials, and from a changed object to its connections.
//!
//! Pure: reading an object is [`References::read`], which somebody else implements. Values are held in types that
//! wipe themselves and do not print.

pub mod anchors;
pub mod certificate;
pub mod dependents;
pub mod fingerprints;
pub mod gateway;
pub mod jwt;
pub mod ledger;
pub mod resolve;
pub mod slips;
pub mod tls;
mod versions;

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, ready},
};

use secrecy::{SecretString, zeroize::Zeroizing};

pub use self::versions::{Version, Versions};
use crate::{auth::ServiceAccountRef, names::ObjectName};

/// Reads the objects that connections name.
pub trait References: Sync {
    /// The source itself failed, so that nothing is known about the object.
    type Error: Send;

    /// Reads one object of a namespace. The values of a Secret without our label are never read.
    fn read(
        &self,
        namespace: &str,
        object: &ObjectName,
    ) -> impl Future<Output = Result<Lookup, Self::Error>> + Send;

    /// Requests a token of a ServiceAccount, for one login. A source that is no cluster has none.
    fn request_token(
        &self,
        _namespace: &str,
        _account: &ServiceAccountRef,
    ) -> impl Future<Output = Result<TokenAnswer, Self::Error>> + Send {
        ready(Ok(TokenAnswer::Missing))
    }
}

/// What a request for a token gave.
#[derive(Debug)]
pub enum TokenAnswer {
    /// The token.
    Issued(SecretString),
    /// The ServiceAccount is not there.
    Missing,
    /// Kubernetes does not let us request tokens for it.
    Forbidden,
    /// One of the audiences is of the API server: this one.
    AudienceOfApiServer(String),
}

/// What reading one object gave. A copy wipes itself as the original does.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It is there and may be used.
    Found(Object),
    /// It is there, but lacks the label that a Secret must carry.
    NotLabelled,
    /// It is not there.
    Missing,
    /// Kubernetes does not let us read it.
    Forbidden,
}

/// An object that was read.
#[derive(Clone)]
pub struct Object {
    /// Which state of the object this is.
    pub version: Version,
    /// Whether it carries our label, so that our watch tells of its changes.
    pub labelled: bool,
    /// Its values by key.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

// === impl Object ===

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        f.debug_struct("Object").field("version", &self.version).field("keys", &keys).finish_non_exhaustive()
    }
}

// === impl Lookup ===

impl Lookup {
    /// The state of the object, if it may be used.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Found(object) => Some(&object.version),
            Self::NotLabelled | Self::Missing | Self::Forbidden => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_prints_its_keys_and_no_value() {
        let version = Version { uid: "u".into(), resource_version: "1".to_owned() };
        let data = BTreeMap::from([("token".to_owned(), b"canary".to_vec().into())]);
        let text = format!("{:?}", Lookup::Found(Object { version, labelled: true, data }));
        assert!(text.contains("token"), "{text}");
        assert!(!text.contains("canary") && !text.contains("99, 97"), "{text}");
    }
}
