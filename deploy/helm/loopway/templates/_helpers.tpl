{{- define "loopway.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "loopway.selector" -}}
app.kubernetes.io/name: loopway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "loopway.labels" -}}
{{ include "loopway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
