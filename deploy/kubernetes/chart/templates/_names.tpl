{{- define "movies.selector" -}}
app.kubernetes.io/name: movies-api
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "movies.meta" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "movies.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
