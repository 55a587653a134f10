//! Why Vault gives no login, whatever the method.

/// Why Vault gives no login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// The credential is wrong.
    InvalidCredentials,
    /// Denied, for a reason that Vault does not tell.
    Denied,
    /// Denied without a reason where the cause may be the server's own, so that it is tried again.
    Unverified,
    /// The role does not exist.
    RoleNotFound,
    /// The role is for another kind of login.
    RoleTypeMismatch,
    /// The role is not for this identity.
    NotAuthorized,
    /// The token is not for an audience that the role expects.
    AudienceMismatch,
    /// The token is out of its time.
    Expired,
    /// The token is none that a key of the server verifies.
    NotAccepted,
    /// The auth method has no configuration.
    NotConfigured,
    /// No client certificate arrived at the server.
    CertificateNotSeen,
    /// The client certificate is out of its time.
    CertificateExpired,
    /// The server cannot reach its directory.
    DirectoryUnavailable,
    /// The role or the credential is bound to other addresses. Vault looks at that after it has taken the credential, so that
    /// this does not count for the lockout.
    SourceAddress,
    /// There is no auth method at the mount.
    MountNotFound,
    /// The Vault namespace does not exist.
    NamespaceNotFound,
    /// A second factor is asked for.
    MfaRequired,
    /// An answer that Vault's documentation does not name.
    Unexpected {
        /// Its HTTP status code.
        status: u16,
    },
}

/// An answer that is no login, as far as a method may look at it: its texts can be searched, and not be shown.
pub struct Refusal<'a> {
    /// Its HTTP status code.
    pub status: u16,
    /// Whether the errors of the answer hold these words, which are in lower case.
    pub says: &'a dyn Fn(&str) -> bool,
}

// === impl LoginFault ===

impl LoginFault {
    /// Whether Vault counts it among the failed logins after which it locks a role or a user: what its methods call invalid
    /// credentials, and no denial, with which it answers while the role is locked
    /// (<https://developer.hashicorp.com/vault/docs/concepts/user-lockout>).
    pub fn counts_for_the_lockout(&self) -> bool {
        self.is_refusal() && *self != Self::Denied
    }

    /// Whether Vault refused the login, so that it is not to be repeated as it is.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::InvalidCredentials | Self::Denied => true,
            Self::Unverified
            | Self::RoleNotFound
            | Self::RoleTypeMismatch
            | Self::NotAuthorized
            | Self::AudienceMismatch
            | Self::Expired
            | Self::NotAccepted
            | Self::NotConfigured
            | Self::CertificateNotSeen
            | Self::CertificateExpired
            | Self::DirectoryUnavailable
            | Self::SourceAddress
            | Self::MountNotFound
            | Self::NamespaceNotFound
            | Self::MfaRequired
            | Self::Unexpected { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_vault_counts_is_counted() {
        assert!(LoginFault::InvalidCredentials.counts_for_the_lockout());
        assert!(LoginFault::Denied.is_refusal());
        let others = [
            LoginFault::Denied,
            LoginFault::SourceAddress,
            LoginFault::MountNotFound,
            LoginFault::MfaRequired,
        ];
        assert!(!others.iter().any(LoginFault::counts_for_the_lockout));
    }
}
