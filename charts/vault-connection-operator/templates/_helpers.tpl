{{/* Value of the label app.kubernetes.io/name. */}}
{{- define "vault-connection-operator.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
Name of every object of the release: the release's own name when that already says what it is. A release may have dots in its name, but
a Service may not.
*/}}
{{- define "vault-connection-operator.fullname" -}}
{{- $name := include "vault-connection-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" (.Release.Name | replace "." "-") $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Namespace of the operator. */}}
{{- define "vault-connection-operator.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end -}}

{{/* Name of the Lease that the active pod holds. */}}
{{- define "vault-connection-operator.leaseName" -}}
{{ .Values.leaderElection.leaseName | default (include "vault-connection-operator.fullname" .) }}
{{- end -}}

{{/* How many replicas share the namespaces: a number or nothing. */}}
{{- define "vault-connection-operator.shards" -}}
{{- if and .Values.sharding.enabled (gt (int .Values.replicas) 1) -}}
{{- if ge (int .Values.replicas) (int .Values.lockoutThreshold) -}}
{{ fail "sharding: replicas must be less than lockoutThreshold, because each replica may cause one rejected login, and together they must not lock a role" }}
{{- end -}}
{{- if gt (int .Values.replicas) (int (min .Values.loginsPerSecond .Values.maxLoginsPerSecond)) -}}
{{ fail "sharding: loginsPerSecond and maxLoginsPerSecond must not be less than replicas" }}
{{- end -}}
{{ int .Values.replicas }}
{{- end -}}
{{- end -}}

{{/*
The labels by which the Deployment and the Service select the pod; they can never change. As everywhere, toYaml puts a name into quotes
that YAML would read as something else, such as 123, true or null.
*/}}
{{- define "vault-connection-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vault-connection-operator.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end -}}

{{/* Our own labels. They win over labels in the values. part-of is how another release is found: see overlap.yaml. */}}
{{- define "vault-connection-operator.ownLabels" -}}
{{ include "vault-connection-operator.selectorLabels" . }}
app.kubernetes.io/part-of: vault-connection-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "vault-connection-operator.labels" -}}
{{ toYaml (merge (include "vault-connection-operator.ownLabels" . | fromYaml) (.Values.commonLabels | default dict)) }}
{{- end -}}

{{/*
Labels and annotations of an object: its own, what the values add to it, and what they add to every object.
  include "vault-connection-operator.extras" (dict "root" $ "labels" MAP "annotations" MAP)
*/}}
{{- define "vault-connection-operator.extras" -}}
labels:
  {{- toYaml (merge (include "vault-connection-operator.labels" .root | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the metadata of our CustomResourceDefinitions holds besides their names. */}}
{{- define "vault-connection-operator.crdMetadata" -}}
{{- $keep := ternary (dict "helm.sh/resource-policy" "keep") dict .Values.crds.keep -}}
{{ include "vault-connection-operator.extras" (dict "root" . "labels" .Values.crds.labels "annotations" (merge $keep (.Values.crds.annotations | default dict))) }}
{{- end -}}

{{/*
Update strategy, always in full: what the API server fills in belongs to nobody, and Helm 4 could not go from RollingUpdate to Recreate.
Without a Lease, the old pod must be gone before a new one starts.
*/}}
{{- define "vault-connection-operator.strategy" -}}
{{- $own := .Values.strategy | default dict -}}
{{- $type := $own.type | default (ternary "RollingUpdate" "Recreate" .Values.leaderElection.enabled) -}}
type: {{ $type }}
{{- if eq $type "RollingUpdate" }}
{{- $rolling := $own.rollingUpdate | default dict -}}
{{- $surge := ternary "25%" $rolling.maxSurge (kindIs "invalid" $rolling.maxSurge) -}}
{{- $unavailable := ternary "25%" $rolling.maxUnavailable (kindIs "invalid" $rolling.maxUnavailable) -}}
{{- if and (has (toString $surge) (list "0" "0%")) (has (toString $unavailable) (list "0" "0%")) }}
{{- fail "strategy.rollingUpdate: maxSurge and maxUnavailable must not both be 0" }}
{{- end }}
rollingUpdate:
  maxSurge: {{ $surge }}
  maxUnavailable: {{ $unavailable }}
{{- end }}
{{- end -}}

{{/* Name of the ServiceAccount that the operator runs as. */}}
{{- define "vault-connection-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "vault-connection-operator.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* Whether everything that is installed is in a namespace: "true" or nothing. */}}
{{- define "vault-connection-operator.isNamespaced" -}}
{{- $policies := .Values.admissionPolicies -}}
{{- $hosts := and $policies.allowedHosts.hosts (include "vault-connection-operator.action" $policies.allowedHosts.action) -}}
{{- $policy := or $hosts (include "vault-connection-operator.action" $policies.deletionProtection) (include "vault-connection-operator.action" $policies.plainHttp) -}}
{{- if not (or (empty .Values.watchNamespaces) .Values.crds.install .Values.rbac.userRoles $policy) }}true{{ end -}}
{{- end -}}

{{/* The image, by digest when there is one. */}}
{{- define "vault-connection-operator.image" -}}
{{- $registry := .Values.image.registry | default (.Values.global | default dict).imageRegistry -}}
{{- $image := .Values.image.repository -}}
{{- if $registry }}{{ $image = printf "%s/%s" (trimSuffix "/" $registry) $image }}{{ end -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" $image .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $image (.Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* The image pull secrets. Those of a parent chart may be names. */}}
{{- define "vault-connection-operator.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range .Values.imagePullSecrets | default (.Values.global | default dict).imagePullSecrets }}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- with $secrets }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Whether the cluster is OpenShift, which chooses the user of a pod itself: "true" or nothing. */}}
{{- define "vault-connection-operator.isOpenShift" -}}
{{- if eq (toString .Values.openshift) "auto" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}true{{ end -}}
{{- else if .Values.openshift }}true{{ end -}}
{{- end -}}

{{/* Security context of the pod. */}}
{{- define "vault-connection-operator.podSecurityContext" -}}
{{- $own := .Values.podSecurityContext | default dict -}}
{{- if include "vault-connection-operator.isOpenShift" . }}{{ $own = omit $own "runAsUser" "runAsGroup" "fsGroup" }}{{ end -}}
{{ toYaml $own }}
{{- end -}}

{{/* Flags that say which addresses are allowed: the same for the operator and for `helm test`. */}}
{{- define "vault-connection-operator.addressArgs" -}}
{{- range .Values.addressPolicy.allow }}
- {{ printf "--allow-address=%s" . | quote }}
{{- end }}
{{- if .Values.addressPolicy.rules }}
- --address-policy-file=/etc/address-policy/policy.yaml
{{- end }}
{{- with .Values.addressPolicy.contact }}
- {{ printf "--address-policy-contact=%s" . | quote }}
{{- end }}
{{- range .Values.addressPolicy.nat64Prefixes }}
- {{ printf "--nat64-prefix=%s" . | quote }}
{{- end }}
{{- if .Values.addressPolicy.allowPlainHttp }}
- --allow-plain-http
{{- end }}
{{- end -}}

{{/* The volume and the mount of the file of address rules. */}}
{{- define "vault-connection-operator.addressVolumes" -}}
{{- if .Values.addressPolicy.rules }}
- name: address-policy
  configMap:
    name: {{ include "vault-connection-operator.fullname" . }}-address-policy
{{- end }}
{{- end -}}
{{- define "vault-connection-operator.addressVolumeMounts" -}}
{{- if .Values.addressPolicy.rules }}
# The folder, not the file: a file that is mounted alone never changes.
- name: address-policy
  mountPath: /etc/address-policy
  readOnly: true
{{- end }}
{{- end -}}

{{/*
Whether an object of the Prometheus operator is wanted: "true" or nothing.
  include "vault-connection-operator.wants" (dict "root" $ "values" .Values.metrics.podMonitor "kind" "PodMonitor")
*/}}
{{- define "vault-connection-operator.wants" -}}
{{- $api := printf "monitoring.coreos.com/v1/%s" .kind -}}
{{- if and .values.enabled (or (not .values.skipIfMissing) (.root.Capabilities.APIVersions.Has $api)) }}true{{ end -}}
{{- end -}}

{{/* What an admission policy does, as YAML reads it: `Off` without quotes is false. */}}
{{- define "vault-connection-operator.action" -}}
{{- if and . (ne (toString .) "Off") }}{{ . }}{{ end -}}
{{- end -}}
