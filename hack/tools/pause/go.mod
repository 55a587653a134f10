module appconnections.dev/vault-connection-operator/hack/tools/pause

go 1.26.0
