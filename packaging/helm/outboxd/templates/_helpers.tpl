{{/* The name of everything. It begins with "outboxd", because it becomes the job of the series, and the alerts look at jobs that do. */}}
{{- define "outboxd.name" -}}
{{- if hasPrefix "outboxd" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "outboxd-%s" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "outboxd.selector" -}}
app.kubernetes.io/name: outboxd
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "outboxd.labels" -}}
{{ include "outboxd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
