{{- define "featuremill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Cut, so that a suffix and a pod's hash still fit. */}}
{{- define "featuremill.fullname" -}}
{{- $name := include "featuremill.name" . }}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default (printf "%s-operator" (trunc 31 $release | trimSuffix "-")) .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "featuremill.selector" -}}
app.kubernetes.io/name: {{ include "featuremill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "featuremill.labels" -}}
{{ include "featuremill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "featuremill.serviceAccount" -}}
{{- default (ternary (include "featuremill.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* An image's name from a map with repository, tag and digest. */}}
{{- define "featuremill.image" -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "featuremill.operatorImage" -}}
{{- include "featuremill.image" (dict "repository" .Values.image.repository "tag" (default .Chart.AppVersion .Values.image.tag) "digest" .Values.image.digest) }}
{{- end }}

{{/* A digest names one image: the operator's is also the workers' only if nothing was said of theirs. */}}
{{- define "featuremill.workerImage" -}}
{{- $own := .Values.workers.image }}
{{- $image := dict "repository" (default .Values.image.repository $own.repository) "tag" (coalesce $own.tag .Values.image.tag .Chart.AppVersion) "digest" $own.digest }}
{{- if not (or $own.repository $own.tag $own.digest) }}
{{- $_ := set $image "digest" .Values.image.digest }}
{{- end }}
{{- include "featuremill.image" $image }}
{{- end }}

{{/* What the operator does with Kubernetes objects in the namespaces where FeatureViews live: nothing more than its code does. */}}
{{- define "featuremill.rules" -}}
- apiGroups: [featuremill.dev]
  resources: [featureviews, architectures]
  verbs: [get, list, watch, patch]
# Without finalizers, so only their status is ever written.
- apiGroups: [featuremill.dev]
  resources: [trainingsets, erasures]
  verbs: [get, list, watch]
# Deleted some time after their end, where they say so.
- apiGroups: [featuremill.dev]
  resources: [featurereplays]
  verbs: [get, list, watch, delete]
- apiGroups: [featuremill.dev]
  resources: [featureviews/status, architectures/status, trainingsets/status, erasures/status, featurereplays/status]
  verbs: [patch]
# To own objects in a way that blocks the owner's deletion, where the API server checks that.
- apiGroups: [featuremill.dev]
  resources: [featureviews/finalizers, architectures/finalizers, trainingsets/finalizers, erasures/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [cronjobs, jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Those that an Architecture names, one at a time: to reach its store and its log. One is created for each Erasure, which holds
# whom it is about, and never changed; it goes with the Erasure.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# What keeps a pod from being ready shows in its owner's conditions; before a view's rows are removed, its last is gone.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Why a Job's pods cannot be made, a quota for one, its controller tells by events alone.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{/* Objects without a namespace carry the release's in their name, so that two releases do not share one. */}}
{{- define "featuremill.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "featuremill.fullname" .) | trunc 100 | trimSuffix "-" }}
{{- end }}

{{/* The labels of alerts as the operator takes them: name=value,… */}}
{{- define "featuremill.alertLabels" -}}
{{- $labels := list }}
{{- range $name, $value := .labels }}
{{- $labels = append $labels (printf "%s=%s" $name $value) }}
{{- end }}
{{- join "," $labels }}
{{- end }}
