{{/* Name of every object of the release; the longest suffix is "-membership", and a Service name has at most 63 characters. */}}
{{- define "peat-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "peat-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "peat-operator.fullname" .) -}}
{{- end -}}

{{- define "peat-operator.selector" -}}
app.kubernetes.io/name: peat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object: (dict "context" $ "component" "webhook"). */}}
{{- define "peat-operator.labels" -}}
{{ include "peat-operator.selector" .context }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: peat
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Reference of an image: (dict "context" $ "image" .Values.image). */}}
{{- define "peat-operator.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .context.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What the standard "restricted" of Pod Security asks of a pod. */}}
{{- define "peat-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "peat-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
