//! How to reach a cluster: by a kubeconfig, or from a pod of it.
//!
//! ```text
//!   --kubeconfig, KUBECONFIG or ~/.kube/config ─▶ context ─▶ cluster and user ─┐
//!   else the pod's ServiceAccount ─────────────────────────────────────────────┴▶ Config, with its proxy ─▶ Client
//! ```
//!
//! kube's own loading is not used: its errors quote the lines around a mistake, tokens among them, and what a credential plugin
//! printed. No error of this module holds anything but names, places and paths.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use kube::{
    Client, Config,
    client::AuthError,
    config::{AuthInfo, Cluster, Context, ExecConfig, InClusterError, Kubeconfig, KubeconfigError},
};

use super::proxy::{self, Written};
use crate::references::anchors;

/// Which cluster is meant, and as whom. What is not chosen is what the kubeconfig says.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The only kubeconfig that is read.
    pub kubeconfig: Option<PathBuf>,
    /// Name of a context in it.
    pub context: Option<String>,
    /// Name of a cluster in it, instead of that of the context.
    pub cluster: Option<String>,
    /// Name of a user in it, instead of that of the context.
    pub user: Option<String>,
}

/// A cluster cannot be reached the way it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is neither a kubeconfig nor a pod.
    #[error(
        "failed to find a cluster: there is no ~/.kube/config, KUBECONFIG names no file, and this is not a pod"
    )]
    NoCluster,
    /// No file that KUBECONFIG names exists, and there is no pod.
    #[error("failed to find a cluster: KUBECONFIG names {}, which does not exist", path.display())]
    NoFile {
        /// The first of them.
        path: PathBuf,
    },
    /// The pod lacks its ServiceAccount.
    #[error("failed to read the ServiceAccount of this pod")]
    InCluster(#[source] InClusterError),
    /// A kubeconfig cannot be read.
    #[error("failed to read the kubeconfig {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A kubeconfig is no YAML, or has other fields.
    #[error("failed to parse the kubeconfig {}{}", path.display(), match place { Some((line, column)) => format!(": see line {line}, column {column}"), None => String::new() })]
    Parse {
        /// Its path.
        path: PathBuf,
        /// Line and column of the mistake.
        place: Option<(u64, u64)>,
    },
    /// The files in KUBECONFIG contradict each other.
    #[error("failed to merge the files in KUBECONFIG")]
    Merge(#[source] KubeconfigError),
    /// No context is chosen.
    #[error(
        "failed to choose a cluster: the kubeconfig has no current context; set one with `kubectl config use-context`"
    )]
    NoContext,
    /// A name leads nowhere.
    #[error("failed to find {kind} {name:?} in the kubeconfig, which has {known}")]
    Unknown {
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A cluster has no usable address.
    #[error(
        "cluster {name:?} in the kubeconfig has no valid server: write its URL, such as https://api.example.com:6443"
    )]
    Server {
        /// The name of the cluster.
        name: String,
    },
    /// The CA certificates of a cluster cannot be used.
    #[error("failed to read the CA certificates of cluster {name:?} in the kubeconfig: {fault}")]
    Authorities {
        /// The name of the cluster.
        name: String,
        /// Why.
        fault: String,
    },
    /// A proxy cannot be used.
    #[error("failed to use the proxy in {place}: {fault}")]
    Proxy {
        /// What names it.
        place: String,
        /// Why.
        fault: &'static str,
    },
    /// A credential plugin does not start.
    #[error("failed to run the credential plugin {command:?}, which the kubeconfig needs{hint}")]
    Plugin {
        /// The program.
        command: String,
        /// What the kubeconfig says about its installation.
        hint: String,
        /// Why.
        source: io::Error,
    },
    /// Credentials or certificates cannot be used.
    #[error("failed to use the credentials for the cluster")]
    Credentials(#[source] kube::Error),
}

/// Reads the configuration. Nothing is asked yet.
pub fn load(choice: &Choice) -> Result<Config, ConfigError> {
    let mut config = match read(choice.kubeconfig.as_deref())? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig, choice)?,
        None => Config::incluster().map_err(|error| match error {
            InClusterError::ReadEnvironmentVariable(_) => ConfigError::NoCluster,
            error => ConfigError::InCluster(error),
        })?,
    };
    if config.proxy_url.is_none()
        && let Some(written) = proxy::of_environment(&config.cluster_url, |name| env::var(name).ok())
    {
        config.proxy_url = Some(proxy_url(written)?);
    }
    Ok(config)
}

/// The names in a kubeconfig.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Those of contexts.
    pub contexts: Vec<String>,
    /// Those of clusters.
    pub clusters: Vec<String>,
    /// Those of users.
    pub users: Vec<String>,
}

/// The names in the kubeconfig that is meant; none if it cannot be read.
pub fn names(choice: &Choice) -> Names {
    let kubeconfig = read(choice.kubeconfig.as_deref()).ok().flatten().unwrap_or_default();
    Names {
        contexts: kubeconfig.contexts.into_iter().map(|it| it.name).collect(),
        clusters: kubeconfig.clusters.into_iter().map(|it| it.name).collect(),
        users: kubeconfig.auth_infos.into_iter().map(|it| it.name).collect(),
    }
}

/// A client by a configuration. Runs the credential plugin, if there is one.
pub fn client(config: Config) -> Result<Client, ConfigError> {
    let exec = config.auth_info.exec.clone();
    Client::try_from(config).map_err(|error| fault(exec.as_ref(), error))
}

/// What is wrong with the configuration of a client that cannot be built.
fn fault(exec: Option<&ExecConfig>, error: kube::Error) -> ConfigError {
    match (error, exec) {
        (kube::Error::Auth(AuthError::AuthExecStart(source)), Some(exec)) => {
            let hint = exec.install_hint.as_deref().unwrap_or_default();
            let hint = hint.split_whitespace().collect::<Vec<_>>().join(" ");
            ConfigError::Plugin {
                command: exec.command.clone().unwrap_or_default(),
                hint: if hint.is_empty() { hint } else { format!(" ({hint})") },
                source,
            }
        }
        (error, _) => ConfigError::Credentials(error),
    }
}

/// The kubeconfig that is meant; none if there is no file. As for kubectl, a file in KUBECONFIG need not exist.
fn read(path: Option<&Path>) -> Result<Option<Kubeconfig>, ConfigError> {
    if let Some(path) = path {
        return read_file(path).map(Some);
    }
    let listed = env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let paths: Vec<_> = match &listed {
        Some(listed) => env::split_paths(listed).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let next = read_file(path)?;
        merged = Some(match merged {
            Some(first) => first.merge(next).map_err(ConfigError::Merge)?,
            None => next,
        });
    }
    // What is named and not there is told, unless something else leads to a cluster.
    match (merged, paths.into_iter().next()) {
        (None, Some(path)) if listed.is_some() && env::var_os("KUBERNETES_SERVICE_HOST").is_none() => {
            Err(ConfigError::NoFile { path })
        }
        (merged, _) => Ok(merged),
    }
}

fn read_file(path: &Path) -> Result<Kubeconfig, ConfigError> {
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(source, path) => ConfigError::Read { path, source },
        KubeconfigError::Parse(error) => {
            let place = error.location().map(|place| (place.line(), place.column()));
            ConfigError::Parse { path: path.to_owned(), place }
        }
        _ => ConfigError::Parse { path: path.to_owned(), place: None },
    })
}

fn of_kubeconfig(kubeconfig: Kubeconfig, choice: &Choice) -> Result<Config, ConfigError> {
    let Kubeconfig { contexts, clusters, auth_infos, current_context, .. } = kubeconfig;
    let chosen = choice.context.clone().or(current_context).filter(|name| !name.is_empty());
    let contexts = contexts.into_iter().map(|it| (it.name, it.context)).collect();
    let context: Context = find("context", &chosen.ok_or(ConfigError::NoContext)?, contexts)?;
    let name = choice.cluster.clone().unwrap_or(context.cluster);
    let cluster: Cluster =
        find("cluster", &name, clusters.into_iter().map(|it| (it.name, it.cluster)).collect())?;
    let users: Vec<_> = auth_infos.into_iter().map(|it| (it.name, it.auth_info)).collect();
    let mut user = match (&choice.user, context.user) {
        (Some(user), _) => find("user", user, users)?,
        // As for kubectl, a context may lack its user.
        (None, Some(user)) => find("user", &user, users).unwrap_or_default(),
        (None, None) => AuthInfo::default(),
    };
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some((&cluster).try_into().map_err(|_| no_authorities(&name, "they are not base64"))?);
    }
    let server = cluster.server.as_deref().and_then(|server| server.parse::<Uri>().ok());
    let server = server.filter(|server| {
        matches!(server.scheme_str(), Some("https" | "http"))
            && server.host().is_some_and(|it| !it.is_empty())
    });
    let mut config = Config::new(server.ok_or_else(|| ConfigError::Server { name: name.clone() })?);
    if let Some(namespace) = context.namespace.filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    config.root_cert = authorities(&name, &cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name;
    config.auth_info = user;
    if let Some(url) = cluster.proxy_url.filter(|url| !url.is_empty()) {
        let place = format!("cluster {name:?} of the kubeconfig (proxy-url)");
        config.proxy_url = Some(proxy_url(Written { url, place })?);
    }
    Ok(config)
}

/// One of the things that a kubeconfig names.
fn find<T>(kind: &'static str, name: &str, all: Vec<(String, Option<T>)>) -> Result<T, ConfigError> {
    let names: Vec<_> = all.iter().map(|(name, _)| format!("{name:?}")).collect();
    let found = all.into_iter().find(|(own, _)| own == name).and_then(|(_, found)| found);
    found.ok_or_else(|| ConfigError::Unknown {
        kind,
        name: name.to_owned(),
        known: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
    })
}

/// The CA certificates of a cluster; none if the system's are meant.
fn authorities(name: &str, cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, ConfigError> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let pem = match (filled(&cluster.certificate_authority_data), filled(&cluster.certificate_authority)) {
        (Some(data), _) => STANDARD
            .decode(data)
            .map_err(|_| no_authorities(name, "certificate-authority-data is not base64"))?,
        (None, Some(path)) => {
            fs::read(&path).map_err(|error| no_authorities(name, &format!("{path}: {error}")))?
        }
        (None, None) => return Ok(None),
    };
    let found =
        anchors::certificates(&pem).map_err(|_| no_authorities(name, "they are not PEM certificates"))?;
    Ok(Some(found.into_iter().map(|certificate| certificate.to_vec()).collect()))
}

fn no_authorities(name: &str, fault: &str) -> ConfigError {
    ConfigError::Authorities { name: name.to_owned(), fault: fault.to_owned() }
}

fn proxy_url(Written { url, place }: Written) -> Result<Uri, ConfigError> {
    proxy::parse(&url).map_err(|fault| ConfigError::Proxy { place, fault })
}
