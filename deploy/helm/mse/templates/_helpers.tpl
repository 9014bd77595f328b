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

{{- define "mse.apps" -}}
{{ .Values.apps.namespace | default .Release.Namespace }}
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
