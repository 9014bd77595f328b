{{/* The server's name: that of the release. Labels tell platforms apart by it. */}}
{{- define "mse.name" -}}
{{ .Release.Name | replace "." "-" | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mse.server" -}}
{{ include "mse.name" . }}-server
{{- end }}

{{- define "mse.cas" -}}
{{ include "mse.name" . }}-cas
{{- end }}

{{/* Called with a dict of `root` and `component`. */}}
{{- define "mse.selector" -}}
app.kubernetes.io/name: mse-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "mse.labels" -}}
{{ include "mse.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: mse
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- if eq .root.Values.tee "simulated" }}
mse.dev/simulated: "true"
{{- end }}
{{- end }}

{{- define "mse.annotations" -}}
{{- if eq .Values.tee "simulated" -}}
mse.dev/simulated: "true: no hardware protects apps or the CAS; whoever owns a node can read everything they are told"
{{- end }}
{{- end }}

{{/* The namespace of apps. Who may make deployments in a namespace reaches every secret of it. */}}
{{- define "mse.apps" -}}
{{- $apps := .Values.apps.namespace | default .Release.Namespace }}
{{- if and (eq $apps .Release.Namespace) (not .Values.apps.shareNamespace) }}
{{- fail (printf "`apps.namespace`: apps would share the release's namespace `%s`, where the server, which makes deployments for apps, reaches the platform's own secrets: make a namespace for apps and set `apps.namespace` to its name; or, if nothing in `%s` is secret from the server, set `apps.shareNamespace=true`" $apps $apps) }}
{{- end }}
{{- $apps }}
{{- end }}

{{/* What app pods have as `hostUsers`: `true`, `false`, or nothing. */}}
{{- define "mse.hostUsers" -}}
{{- $kubernetes := .Capabilities.KubeVersion.Version }}
{{- if kindIs "bool" .Values.apps.hostUsers }}
{{- .Values.apps.hostUsers }}
{{- else if semverCompare ">=1.33-0" $kubernetes }}
{{- false }}
{{- else if semverCompare ">=1.30-0" $kubernetes }}
{{- fail (printf "`apps.hostUsers`: Kubernetes %s gives pods user namespaces only by its feature gates `UserNamespacesSupport` and `ProcMountType`, and refuses the pods of apps without: set `apps.hostUsers=false` where both are on; or use Kubernetes 1.33 or later" $kubernetes) }}
{{- end }}
{{- end }}

{{/* What every pod of the platform itself has: no right over its node, and nothing writable but its volumes. */}}
{{- define "mse.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mse.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
