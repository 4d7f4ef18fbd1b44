{{/* What ConfigMaps and Secrets hold. */}}

{{- define "kube-native.configmap.postgres-env" -}}
data:
  {{- range $name, $value := .Values.postgres.env }}
  {{ $name | quote }}: {{ $value | quote }}
  {{- end }}
{{- end }}

{{- define "kube-native.configmap.web-env" -}}
data:
  {{- range $name, $value := .Values.web.env }}
  {{ $name | quote }}: {{ $value | quote }}
  {{- end }}
{{- end }}

{{- define "kube-native.secret.postgres-secret-env" -}}
{{- if .Values.postgres.existingSecret }}
# {{ .Values.postgres.existingSecret }}
{{- else }}
data:
  {{- range $name, $value := .Values.postgres.secretEnv }}
  {{- if not $value }}
  {{- fail (printf "postgres.secretEnv.%s is empty: give it a value, or name a Secret that has it in postgres.existingSecret" $name) }}
  {{- end }}
  {{ $name | quote }}: {{ $value | b64enc | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "kube-native.secret.web-secret-env" -}}
{{- if .Values.web.existingSecret }}
# {{ .Values.web.existingSecret }}
{{- else }}
data:
  {{- range $name, $value := .Values.web.secretEnv }}
  {{- if not $value }}
  {{- fail (printf "web.secretEnv.%s is empty: give it a value, or name a Secret that has it in web.existingSecret" $name) }}
  {{- end }}
  {{ $name | quote }}: {{ $value | b64enc | quote }}
  {{- end }}
{{- end }}
{{- end }}
