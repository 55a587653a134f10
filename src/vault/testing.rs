//! Values for the tables of the readers.

use super::answer::Answer;
use crate::{
    auth::{AppRoleLogin, Method, RoleId, SecretKeyRef},
    names::MountPath,
};

/// An AppRole at the mount `approle`.
pub(crate) fn app_role() -> Method {
    Method::AppRole(AppRoleLogin {
        mount: MountPath::parse("approle").expect("valid"),
        role_id: RoleId::Value("role".to_owned()),
        secret_id: Some(SecretKeyRef { name: "vault".to_owned(), key: "secret".to_owned() }),
        wrapped: false,
    })
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        location: None,
        certificate_end: None,
        body: body.as_bytes().to_vec().into(),
    }
}
