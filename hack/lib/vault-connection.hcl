# The policy that the documentation asks for, for an engine mounted at demo_mount.
path "demo_mount/data/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "sys/mounts" {
  capabilities = ["read"]
}
