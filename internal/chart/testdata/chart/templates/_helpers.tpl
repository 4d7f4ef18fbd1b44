{{/* What all templates share. (list . "web") is the chart and the name of a service. */}}

{{- define "kube-native.chart" -}}
{{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "kube-native.labels" -}}
helm.sh/chart: {{ include "kube-native.chart" (index . 0) }}
{{ include "kube-native.selectorLabels" . }}
app.kubernetes.io/part-of: "kube-native"
{{- with (index . 0).Chart.AppVersion }}
app.kubernetes.io/version: {{ . | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* These never change in the life of a service: a Deployment refuses another selector. */}}
{{- define "kube-native.selectorLabels" -}}
app.kubernetes.io/name: {{ index . 1 | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
{{- end }}

{{/* The name of an image, by its values. */}}
{{- define "kube-native.image" -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
