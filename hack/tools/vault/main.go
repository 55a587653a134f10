// Command vault is HashiCorp Vault, made from the packages of its Go module: the server as a bed starts it, and its version.
//
//	vault server -config=FILE
//	vault version
//
// Core, HTTP API, raft storage, seal, listeners, audit, token store, quotas, login MFA and lockout are the module's own. Only
// the command around them is ours, since the module's links the clients of every cloud and data base. So these are the login
// methods and engines that the operator's tests use, and no others; the user interface is not in the module either.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	aeadwrapper "github.com/hashicorp/go-kms-wrapping/wrappers/aead/v2"
	"github.com/hashicorp/go-secure-stdlib/reloadutil"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/credential/ldap"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/logical/totp"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/metricsutil"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/vault/seal"
	"github.com/hashicorp/vault/version"
	"github.com/mitchellh/cli"
)

var logins = map[string]logical.Factory{
	"approle": approle.Factory, "cert": cert.Factory, "jwt": jwt.Factory, "kubernetes": kubernetes.Factory,
	"ldap": ldap.Factory, "oidc": jwt.Factory, "userpass": userpass.Factory,
}

var engines = map[string]logical.Factory{"kv": kv.Factory, "totp": totp.Factory}

// registry tells Vault which of its methods and engines are in this program.
type registry struct{}

func factories(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeCredential:
		return logins
	case consts.PluginTypeSecrets:
		return engines
	default:
		return nil
	}
}

func (registry) Contains(name string, kind consts.PluginType) bool {
	_, found := factories(kind)[name]
	return found
}

func (registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, found := factories(kind)[name]
	return func() (interface{}, error) { return factory, nil }, found
}

func (registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range factories(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version.GetVersion().FullVersionNumber(false))
		return
	}
	config, given := "", false
	if len(os.Args) == 3 && os.Args[1] == "server" {
		config, given = strings.CutPrefix(os.Args[2], "-config=")
	}
	if !given {
		fmt.Fprintln(os.Stderr, "usage: vault version | vault server -config=FILE")
		os.Exit(2)
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// serve runs until SIGINT or SIGTERM; SIGHUP reads the certificates of the listeners and opens the audit log anew.
func serve(file string) error {
	config, err := server.LoadConfig(file)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Info, Output: os.Stderr})
	coreConfig, err := describe(config, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(coreConfig)
	if err != nil && (core == nil || vault.IsFatalError(err)) {
		return err
	}
	certificates, err := listen(core, config, logger)
	if err != nil {
		return err
	}
	fmt.Println("==> Vault server started! Log data will stream in below:")
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		if received != syscall.SIGHUP {
			break
		}
		reload := slices.Clone(certificates)
		// NewCore has put its own there: those of the audit devices.
		coreConfig.ReloadFuncsLock.RLock()
		for _, theirs := range *coreConfig.ReloadFuncs {
			reload = append(reload, theirs...)
		}
		coreConfig.ReloadFuncsLock.RUnlock()
		for _, read := range reload {
			if err := read(); err != nil {
				logger.Error("could not reload", "error", err)
			}
		}
	}
	return core.Shutdown()
}

// describe is what Vault's own command makes of its configuration, for raft storage and the seal by key shares.
func describe(config *server.Config, logger hclog.Logger) (*vault.CoreConfig, error) {
	if config.Storage == nil || config.Storage.Type != "raft" {
		return nil, errors.New("the storage must be raft")
	}
	storage, err := raft.NewRaftBackend(config.Storage.Config, logger.Named("storage.raft"))
	if err != nil {
		return nil, err
	}
	inmem, sink, prometheus, err := configutil.SetupTelemetry(&configutil.SetupTelemetryOpts{
		Config: config.Telemetry, Ui: ui(), ServiceName: "vault", DisplayName: "Vault", ClusterName: config.ClusterName,
	})
	if err != nil {
		return nil, err
	}
	random, err := configutil.CreateSecureRandomReaderFunc(config.SharedConfig, nil)
	if err != nil {
		return nil, err
	}
	ha, _ := storage.(physical.HABackend)
	return &vault.CoreConfig{
		RawConfig: config, Physical: storage, HAPhysical: ha, StorageType: config.Storage.Type,
		RedirectAddr: config.Storage.RedirectAddr, ClusterAddr: config.Storage.ClusterAddr,
		Seal:               vault.NewDefaultSeal(seal.NewAccess(aeadwrapper.NewShamirWrapper())),
		AuditBackends:      map[string]audit.Factory{"file": file.Factory},
		CredentialBackends: logins, LogicalBackends: engines, BuiltinRegistry: registry{},
		Logger: logger, DisableMlock: config.DisableMlock, DisableCache: config.DisableCache,
		MaxLeaseTTL: config.MaxLeaseTTL, DefaultLeaseTTL: config.DefaultLeaseTTL, ClusterName: config.ClusterName,
		MetricsHelper: metricsutil.NewMetricsHelper(inmem, prometheus), MetricSink: sink, SecureRandomReader: random,
		DisableSSCTokens: config.DisableSSCTokens,
		ReloadFuncs:      &map[string][]reloadutil.ReloadFunc{}, ReloadFuncsLock: &sync.RWMutex{},
	}, nil
}

// listen opens every listener of the configuration, and answers with what reads their certificates anew.
func listen(core *vault.Core, config *server.Config, logger hclog.Logger) ([]reloadutil.ReloadFunc, error) {
	var reload []reloadutil.ReloadFunc
	var clusterAddresses []*net.TCPAddr
	listeners := map[net.Listener]*configutil.Listener{}
	for _, each := range config.Listeners {
		listener, _, again, err := server.NewListener(each, os.Stderr, ui())
		if err != nil {
			return nil, err
		}
		if again != nil {
			reload = append(reload, again)
		}
		address, err := net.ResolveTCPAddr("tcp", each.ClusterAddress)
		if err != nil {
			return nil, err
		}
		clusterAddresses = append(clusterAddresses, address)
		if each.MaxRequestSize == 0 {
			each.MaxRequestSize = vaulthttp.DefaultMaxRequestSize
		}
		if each.MaxRequestDuration == 0 {
			each.MaxRequestDuration = vault.DefaultMaxRequestDuration
		}
		listeners[listener] = each
	}
	core.SetClusterListenerAddrs(clusterAddresses)
	core.SetClusterHandler(vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}))
	if err := core.InitiateRetryJoin(context.Background()); err != nil {
		return nil, err
	}
	for listener, each := range listeners {
		handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: each})
		if len(each.XForwardedForAuthorizedAddrs) > 0 {
			handler = vaulthttp.WrapForwardedForHandler(handler, each)
		}
		answer := &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
			ErrorLog: logger.StandardLogger(nil),
		}
		go answer.Serve(listener)
	}
	return reload, nil
}

func ui() cli.Ui { return &cli.BasicUi{Writer: os.Stderr, ErrorWriter: os.Stderr} }
