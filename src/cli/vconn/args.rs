//! What `kubectl vconn` takes on its command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::kinds::Name;
use crate::cli::{AddressArgs, InputArgs, MemoryArgs, Output, duration};

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
#[command(next_help_heading = "Options of kubectl")]
pub(super) struct Place {
    /// Kubernetes namespace; by default that of the current context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub(super) context: Option<String>,
    /// Cluster of the kubeconfig.
    #[arg(long, global = true)]
    pub(super) cluster: Option<String>,
    /// User of the kubeconfig.
    #[arg(long, global = true)]
    pub(super) user: Option<String>,
    /// Kubeconfig file; by default those in $KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// User to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(super) impersonate: Option<String>,
    /// Group to impersonate; may be given several times.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "impersonate")]
    pub(super) impersonate_groups: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List connections and gateways, the worst first: of all namespaces, or of the one given with -n.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Explain connections and gateways: each condition, what it means, and what to do.
    ///
    /// Exit code: 0 if all are Ready, 1 if one is not, 2 if that could not be found out.
    #[command(visible_alias = "explain")]
    Status(StatusArgs),
    /// Check from here: connections of the cluster with the objects that they name, or manifests with -f or -k.
    ///
    /// Exit code: 0 if every connection is Ready, 1 if one is not, 2 for bad input.
    Check(Box<LiveCheck>),
    /// Ask the operator to check now.
    ///
    /// Exit code with --wait: 0 if all are Ready then, 1 if one is not, 2 if that could not be found out in time.
    Refresh(RefreshArgs),
    /// Stop checking connections. They are not Ready until they are resumed, and their sessions are revoked.
    Suspend(ConnectionArgs),
    /// Check suspended connections again.
    Resume(ConnectionArgs),
    /// Print the events of a connection or gateway, the oldest first.
    Events(EventsArgs),
    /// Show the list, and keep it up to date until Ctrl-C.
    ///
    /// On a terminal the table is drawn anew; otherwise a line follows for each change.
    Watch(WatchArgs),
    /// Write an archive for somebody who helps: connections, gateways, events, and the operator's Deployment and logs.
    ///
    /// No Secret is read, and values that may be credentials are left out.
    Bundle(BundleArgs),
    /// Print the version of this program.
    Version {
        /// How to print it.
        #[arg(short, long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
        output: VersionOutput,
    },
    /// Print a script that completes commands and flags in a shell.
    ///
    /// kubectl completes its plugins by a program kubectl_complete-vconn in the PATH: make it a link to kubectl-vconn.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Write the man pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How to print them: a wider table, JSON, YAML or names only.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ListOutput>,
    /// Label selector, such as team=a.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(super) selector: Option<String>,
    /// Only those that are not Ready.
    #[arg(long)]
    pub(super) not_ready: bool,
    /// No line with the names of the columns.
    #[arg(long)]
    pub(super) no_headers: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Name of a connection, or gateway/NAME.
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<Name>,
    /// Print the objects instead, in JSON or YAML.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ObjectOutput>,
}

#[derive(Debug, Args)]
pub(super) struct LiveCheck {
    /// Name of a connection of the cluster.
    #[arg(required_unless_present_any = ["files", "kustomize"], conflicts_with_all = ["files", "kustomize"], value_name = "NAME")]
    pub(super) names: Vec<Name>,
    #[command(flatten)]
    pub(super) input: InputArgs,
    /// How to print the status.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) memory: MemoryArgs,
    #[command(flatten)]
    pub(super) addresses: AddressArgs,
}

#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    /// The file to write, which must not exist; by default vconn-bundle-TIME.tar.gz in the current folder.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// The namespace of the operator; without it, operators are looked for in all namespaces.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) operator_namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// Name of a connection, or gateway/NAME.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(super) names: Vec<Name>,
    /// All connections and gateways of the namespace, or of all namespaces with -A.
    #[arg(long, conflicts_with = "names")]
    pub(super) all: bool,
    /// Wait for the results: for 1m, or as long as given, such as --wait=5m.
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
    /// Print the events instead, in JSON or YAML.
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<ObjectOutput>,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Label selector, such as team=a.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(super) selector: Option<String>,
    /// Only those that are not Ready.
    #[arg(long)]
    pub(super) not_ready: bool,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only, as kubectl takes them.
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
    /// One line.
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}
