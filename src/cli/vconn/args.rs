//! What `kubectl vconn` takes on its command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::kinds::Name;
use crate::{
    cli::{AddressArgs, InputArgs, MemoryArgs, Output, duration},
    cluster::config::Choice,
};

/// List, explain, check and change connections to HashiCorp Vault and OpenBao.
#[derive(Debug, Parser)]
#[command(name = "kubectl-vconn", bin_name = "kubectl vconn", version)]
pub(in crate::cli) struct Plugin {
    #[command(flatten)]
    pub(super) vconn: Vconn,
}

/// What `kubectl vconn` and `vault-connection-operator vconn` take.
#[derive(Debug, Args)]
pub(in crate::cli) struct Vconn {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(subcommand)]
    pub(super) action: Action,
}

/// Which cluster, as whom, and where in it: the flags of kubectl.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "kubectl options")]
pub(super) struct Place {
    /// Kubernetes namespace. Defaults to that of the current context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
    /// Context in the kubeconfig.
    #[arg(long, global = true)]
    pub(super) context: Option<String>,
    /// Cluster in the kubeconfig.
    #[arg(long, global = true)]
    pub(super) cluster: Option<String>,
    /// User in the kubeconfig.
    #[arg(long, global = true)]
    pub(super) user: Option<String>,
    /// Kubeconfig file. Defaults to the files in $KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// User to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(super) impersonate: Option<String>,
    /// Group to impersonate. Can be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "impersonate")]
    pub(super) impersonate_groups: Vec<String>,
}

// === impl Place ===

impl Place {
    /// What of it a kubeconfig decides.
    pub(super) fn choice(&self) -> Choice {
        let Self { context, cluster, user, kubeconfig, .. } = self.clone();
        Choice { kubeconfig, context, cluster, user }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List connections and gateways, worst first: in all namespaces, or in the one given with -n.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Explain connections and gateways: each condition, what it means, and how to fix it.
    ///
    /// Exit code: 0 if all are Ready, 1 if one is not, 2 after an error.
    #[command(visible_alias = "explain")]
    Status(StatusArgs),
    /// Check from this machine: connections in the cluster, or manifests with -f or -k.
    ///
    /// Connections in the cluster are checked with the Secrets and other objects that they name, which you must be able to read.
    ///
    /// Exit code: 0 if every connection is Ready, 1 if one is not, 2 if the input is invalid.
    Check(Box<LiveCheck>),
    /// Ask the operator to check now.
    ///
    /// Exit code with --wait: 0 if all are Ready, 1 if one is not, 2 after an error or without a result in time.
    Refresh(RefreshArgs),
    /// Suspend connections: they are not checked and not Ready until they are resumed, and their tokens are revoked.
    Suspend(ConnectionArgs),
    /// Resume suspended connections.
    Resume(ConnectionArgs),
    /// Print the events of a connection or gateway, oldest first.
    Events(EventsArgs),
    /// Show the list, and update it until Ctrl-C.
    ///
    /// On a terminal, the table is redrawn; otherwise, each change is printed as a new line.
    Watch(WatchArgs),
    /// Write an archive for support: connections, gateways, events, and the operator's Deployment and logs.
    ///
    /// No Secret is read, and everything that looks like a credential is removed.
    Bundle(BundleArgs),
    /// Print the version.
    Version {
        /// Output format.
        #[arg(short, long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
        output: VersionOutput,
    },
    /// Print a script that completes commands and flags in a shell.
    ///
    /// The script completes `kubectl-vconn`. For `kubectl vconn`, kubectl's own completion needs only a link to kubectl-vconn in your PATH, with the name kubectl_complete-vconn.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory.
        #[arg(value_name = "DIRECTORY")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Output format.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ListOutput>,
    /// Label selector, such as team=a.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(super) selector: Option<String>,
    /// Show only objects that are not Ready.
    #[arg(long)]
    pub(super) not_ready: bool,
    /// Omit the header line.
    #[arg(long)]
    pub(super) no_headers: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Name of a connection, or gateway/NAME.
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<Name>,
    /// Print the objects as JSON or YAML instead.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ObjectOutput>,
}

#[derive(Debug, Args)]
pub(super) struct LiveCheck {
    /// Name of a connection in the cluster.
    #[arg(required_unless_present_any = ["files", "kustomize"], conflicts_with_all = ["files", "kustomize"], value_name = "NAME")]
    pub(super) names: Vec<Name>,
    #[command(flatten)]
    pub(super) input: InputArgs,
    /// Output format of the status.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
    #[command(flatten)]
    pub(super) addresses: AddressArgs,
}

#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    /// File to create. Defaults to vconn-bundle-TIME.tar.gz in the current directory.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Namespace of the operator. By default, all namespaces are searched.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) operator_namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// Name of a connection, or gateway/NAME.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(super) names: Vec<Name>,
    /// All connections and gateways in the namespace, or with -A in all namespaces.
    #[arg(long, conflicts_with = "names")]
    pub(super) all: bool,
    /// Wait for the results, up to 1m or the given duration, such as --wait=5m.
    #[arg(short, long, value_name = "DURATION", value_parser = duration, num_args = 0..=1, require_equals = true, default_missing_value = "1m")]
    pub(super) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct ConnectionArgs {
    /// Name of a connection.
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<Name>,
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Name of a connection, or gateway/NAME.
    #[arg(value_name = "NAME")]
    pub(super) name: Name,
    /// Print the events as JSON or YAML instead.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ObjectOutput>,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Label selector, such as team=a.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(super) selector: Option<String>,
    /// Show only objects that are not Ready.
    #[arg(long)]
    pub(super) not_ready: bool,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    /// Table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only, in the form that kubectl accepts.
    Name,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ObjectOutput {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// How the version is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum VersionOutput {
    /// Text.
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}
