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

{{- /* The seconds that a pod has for its end; refuses fewer than draining takes, as the rest would be cut off. */ -}}
{{- define "loopway.grace" -}}
{{- $delay := dig "server" "drain_delay" .Values.drain.delay .Values.config -}}
{{- $timeout := dig "server" "drain_timeout" .Values.drain.timeout .Values.config -}}
{{- $from := toDate "2006-01-02" "2000-01-01" -}}
{{- $to := $from | dateModify (printf "+%v" $delay) | dateModify (printf "+%v" $timeout) -}}
{{- $needed := sub $to.Unix $from.Unix | add .Values.drain.preStop | int -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds is %v, but draining takes up to %v s (drain.preStop + delay + timeout); set it to %v or more" .Values.terminationGracePeriodSeconds $needed (add $needed 10)) -}}
{{- end -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}
