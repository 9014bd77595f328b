{{/* What the charts of all services share. Each is called with the scope of its service's chart. */}}

{{/* The name of a service's objects: others in the mesh connect to it, so that no release is in it. */}}
{{- define "mse.name" -}}
{{ .Chart.Name }}
{{- end }}

{{- define "mse.selector" -}}
app.kubernetes.io/name: {{ include "mse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mse.labels" -}}
{{ include "mse.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Values.global.mesh }}
{{- if eq (include "mse.tee" .) "simulated" }}
mse.dev/simulated: "true"
{{- end }}
{{- end }}

{{- define "mse.annotations" -}}
{{- if eq (include "mse.tee" .) "simulated" -}}
mse.dev/simulated: "true: no hardware protects this service; whoever owns its node can read everything it is told"
{{- end }}
{{- end }}

{{/* The service's TEE, else that of the mesh. */}}
{{- define "mse.tee" -}}
{{- $tee := .Values.tee | default .Values.global.tee }}
{{- if not $tee }}
{{- fail "no TEE is named: set `global.tee` to `sgx`, `tdx` or `snp`. The mesh was compiled for hardware, and the Meshfile does not say which" }}
{{- end }}
{{- $tee }}
{{- end }}

{{- define "mse.claim" -}}
{{ include "mse.name" .root }}-{{ .volume.name | lower | replace "_" "-" | replace "." "-" }}
{{- end }}
