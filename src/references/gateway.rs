//! From the objects that were read to a gateway that can be gone through.

use secrecy::SecretString;
use serde_json::Value;

use super::{
    Lookup, Object, Version,
    resolve::{Lookups, Problem, ReferenceFault, bytes, text},
    tls::{self, TlsMaterial},
};
use crate::{
    api::gateway::VaultGatewaySpec,
    names::{EndpointUrl, ObjectName},
    spec::DesiredGateway,
};

/// The key under which [`super::References`] gives the spec of a gateway, in JSON.
pub const SPEC_KEY: &str = "spec";

/// Where a connection names its gateway.
const FIELD: &str = "spec.gatewayRef";

/// Keys of a Secret of type `kubernetes.io/basic-auth`:
/// <https://kubernetes.io/docs/concepts/configuration/secret/#basic-authentication-secret>.
const USERNAME_KEY: &str = "username";
const PASSWORD_KEY: &str = "password";

/// A gateway with all that it names.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its proxies: at least one.
    pub endpoints: Vec<Endpoint>,
}

/// A proxy with all that it names. Its Debug shows no credential.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its address.
    pub url: EndpointUrl,
    /// Its address as the spec has it.
    pub written: String,
    /// The login at it.
    pub login: Option<ProxyLogin>,
    /// For the TLS connection to the proxy itself.
    pub tls: TlsMaterial,
}

/// A login at a proxy.
#[derive(Clone, Debug)]
pub struct ProxyLogin {
    /// The user.
    pub username: SecretString,
    /// The password.
    pub password: SecretString,
}

/// Reads the spec of the gateway that a connection names. What it names itself is to be read next.
pub fn read_spec(name: &str, objects: &Lookups) -> Result<DesiredGateway, ReferenceFault> {
    let object = ObjectName::gateway(name);
    let spec = bytes(objects, FIELD, &object, SPEC_KEY)?;
    let fault = |why: String| ReferenceFault {
        field: FIELD.to_owned(),
        source: Some((object.clone(), String::new())),
        problem: Problem::InvalidGateway(why),
    };
    let spec: VaultGatewaySpec = serde_json::from_slice(spec).map_err(|error| fault(error.to_string()))?;
    DesiredGateway::parse(&spec).map_err(|error| fault(error.to_string()))
}

// === impl Gateway ===

impl Gateway {
    /// Takes what a gateway names out of the objects that were read. `whose` follows the names of fields in messages:
    /// it is empty where the gateway itself is the subject.
    pub fn resolve(
        name: &str,
        desired: &DesiredGateway,
        objects: &Lookups,
        whose: &str,
    ) -> Result<Self, ReferenceFault> {
        let mut endpoints = Vec::with_capacity(desired.endpoints.len());
        for (index, endpoint) in desired.endpoints.iter().enumerate() {
            let field = format!("spec.endpoints[{index}]");
            let login = match &endpoint.credentials {
                Some(secret) => {
                    Some(ProxyLogin::resolve(secret, objects, &format!("{field}.credentials{whose}"))?)
                }
                None => None,
            };
            endpoints.push(Endpoint {
                url: endpoint.url.clone(),
                written: endpoint.written.clone(),
                login,
                tls: tls::resolve(&endpoint.tls, objects, &format!("{field}.tls"), whose)?,
            });
        }
        Ok(Self { name: name.to_owned(), endpoints })
    }
}

impl Gateway {
    /// The passwords of its logins.
    pub fn passwords(&self) -> impl Iterator<Item = &SecretString> {
        self.endpoints.iter().filter_map(|endpoint| endpoint.login.as_ref()).map(|login| &login.password)
    }
}

// === impl ProxyLogin ===

impl ProxyLogin {
    fn resolve(secret: &str, objects: &Lookups, field: &str) -> Result<Self, ReferenceFault> {
        let object = ObjectName::secret(secret);
        let value = |key| text(objects, field, &object, key);
        Ok(Self { username: value(USERNAME_KEY)?, password: value(PASSWORD_KEY)? })
    }
}

/// How messages about a connection name the gateway that a field belongs to.
pub fn whose(name: &str) -> String {
    format!(" of {}", ObjectName::gateway(name))
}

/// The spec of a gateway, in JSON, as an object that was read. Every change of it is watched.
pub fn lookup_of_spec(spec: &Value, version: Version) -> Lookup {
    let data = [(SPEC_KEY.to_owned(), spec.to_string().into_bytes().into())].into();
    Lookup::Found(Object { version, labelled: true, data })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn version() -> Version {
        Version { uid: "u".into(), resource_version: "1".to_owned() }
    }

    fn objects(spec: &Value) -> Lookups {
        let data = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into())).collect()
        };
        let object = |pairs| Lookup::Found(Object { version: version(), labelled: true, data: data(pairs) });
        Lookups::from([
            (ObjectName::gateway("g"), object(&[(SPEC_KEY, &spec.to_string())])),
            (ObjectName::secret("login"), object(&[("username", "u"), ("password", "canary")])),
        ])
    }

    fn resolve(spec: &Value) -> Result<Gateway, ReferenceFault> {
        let objects = objects(spec);
        Gateway::resolve("g", &read_spec("g", &objects)?, &objects, &whose("g"))
    }

    #[test]
    fn a_gateway_is_resolved_with_its_login_which_does_not_print() {
        let endpoint = json!({"url": "socks5h://p", "credentials": {"secretRef": {"name": "login"}}});
        let gateway = resolve(&json!({"endpoints": [endpoint]})).expect("resolved");
        let login = gateway.endpoints[0].login.as_ref().expect("a login");
        assert_eq!((login.username.expose_secret(), login.password.expose_secret()), ("u", "canary"));
        assert!(!format!("{gateway:?}").contains("canary"));
    }

    #[test]
    fn what_is_wrong_with_a_gateway_is_reported_with_its_field() {
        let secret = |name| json!({"url": "https://p", "credentials": {"secretRef": {"name": name}}});
        let missing = resolve(&json!({"endpoints": [secret("login"), secret("other")]})).map(|_| ());
        let fault = missing.expect_err("there is another endpoint of the same address");
        assert!(matches!(fault.problem, Problem::InvalidGateway(_)), "{fault:?}");

        let fault = resolve(&json!({"endpoints": [secret("other")]})).expect_err("no such Secret");
        assert_eq!(fault.field, "spec.endpoints[0].credentials of VaultGateway \"g\"");
        assert_eq!(fault.problem, Problem::Missing);

        let fault = resolve(&json!({"endpoints": 7})).expect_err("no list");
        assert!(matches!(fault.problem, Problem::InvalidGateway(_)), "{fault:?}");
        let fault = read_spec("other", &Lookups::new()).expect_err("no such gateway");
        assert_eq!((fault.field.as_str(), fault.problem), (FIELD, Problem::Missing));
    }
}
