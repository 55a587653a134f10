{{/*
What the schema cannot say: values that contradict each other, and names that are there twice. Whoever reads the error is told which values,
and what to do. deployment.yaml includes it, because it is there with any values.
*/}}
{{- define "vault-connection-operator.check" -}}
{{- include "vault-connection-operator.checkArgs" . -}}
{{- include "vault-connection-operator.checkNames" . -}}
{{- include "vault-connection-operator.checkMonitors" . -}}
{{- if and .Values.podDisruptionBudget.enabled (gt (int .Values.replicas) 1) (kindIs "invalid" .Values.podDisruptionBudget.minAvailable) (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable) }}
{{- fail "podDisruptionBudget: set minAvailable or maxUnavailable, or enabled: false" }}
{{- end }}
{{- end -}}

{{/*
Refuses extra arguments that the chart sets itself: the operator takes no flag twice. The flags that can be repeated are not here.
*/}}
{{- define "vault-connection-operator.checkArgs" -}}
{{- $values := dict
  "listen-address" "port"
  "shards" "sharding.enabled"
  "lease" "leaderElection.leaseName"
  "lease-duration" "leaderElection.leaseDurationSeconds"
  "concurrency" "concurrency"
  "logins-per-second" "loginsPerSecond"
  "max-logins-per-second" "maxLoginsPerSecond"
  "lockout-threshold" "lockoutThreshold"
  "heartbeat" "heartbeat"
  "shutdown-timeout" "terminationGracePeriodSeconds"
  "log-format" "log.format"
  "log-level" "log.level"
  "no-object-metrics" "metrics.objects"
  "status-page" "statusPage.enabled"
  "address-policy-file" "addressPolicy.rules"
  "address-policy-contact" "addressPolicy.contact"
  "allow-plain-http" "addressPolicy.allowPlainHttp"
-}}
{{- range .Values.extraArgs }}
{{- $flag := trimPrefix "--" (first (splitList "=" (toString .))) -}}
{{- if and (hasPrefix "--" (toString .)) (hasKey $values $flag) }}
{{- fail (printf "extraArgs: --%s is a flag that the chart sets: use the value %s instead" $flag (get $values $flag)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses names that are there twice, or that the chart uses itself: the API server would, too, or one would replace the other. */}}
{{- define "vault-connection-operator.checkNames" -}}
{{- $volumes := list -}}
{{- $paths := list -}}
{{- if .Values.addressPolicy.rules }}
{{- $volumes = append $volumes "address-policy" }}
{{- $paths = append $paths "/etc/address-policy" }}
{{- end }}
{{- if .Values.test.manifestsSecret }}
{{- $volumes = append $volumes "manifests" }}
{{- $paths = append $paths "/manifests" }}
{{- end }}
{{- $containers := concat (.Values.extraInitContainers | default list) (.Values.extraContainers | default list) -}}
{{- $lists := list
  (dict "value" "extraEnv" "items" .Values.extraEnv "field" "name" "taken" (list "POD_NAME"))
  (dict "value" "extraVolumes" "items" .Values.extraVolumes "field" "name" "taken" $volumes)
  (dict "value" "extraVolumeMounts" "items" .Values.extraVolumeMounts "field" "mountPath" "taken" $paths)
  (dict "value" "extraContainers, extraInitContainers" "items" $containers "field" "name" "taken" (list "operator"))
-}}
{{- range $lists }}
{{- $list := . -}}
{{- $seen := list -}}
{{- range .items }}
{{- $name := get . $list.field | toString | trimSuffix "/" -}}
{{- if has $name $list.taken }}
{{- fail (printf "%s: the chart itself uses the %s %s: choose another" $list.value $list.field $name) }}
{{- end }}
{{- if has $name $seen }}
{{- fail (printf "%s: the %s %s is there twice" $list.value $list.field $name) }}
{{- end }}
{{- $seen = append $seen $name }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses what would be scraped twice, and what the Prometheus operator would not accept. */}}
{{- define "vault-connection-operator.checkMonitors" -}}
{{- $wanted := list -}}
{{- range $kind, $values := dict "ServiceMonitor" .Values.metrics.serviceMonitor "PodMonitor" .Values.metrics.podMonitor }}
{{- if include "vault-connection-operator.wants" (dict "root" $ "values" $values "kind" $kind) }}
{{- $wanted = append $wanted $kind }}
{{- end }}
{{- if and $values.interval $values.scrapeTimeout (gt (include "vault-connection-operator.milliseconds" $values.scrapeTimeout | int64) (include "vault-connection-operator.milliseconds" $values.interval | int64)) }}
{{- fail (printf "metrics.%s: scrapeTimeout (%s) must not be longer than interval (%s)" (untitle $kind) $values.scrapeTimeout $values.interval) }}
{{- end }}
{{- end }}
{{- if gt (len $wanted) 1 }}
{{- fail "metrics: enable serviceMonitor or podMonitor, not both: Prometheus would scrape each pod twice, and every alert would fire twice" }}
{{- end }}
{{- end -}}

{{/* A duration of Prometheus in milliseconds. */}}
{{- define "vault-connection-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|[smhdwy])" . -1 }}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .) | int64)) -}}
{{- end }}
{{- $sum -}}
{{- end -}}
