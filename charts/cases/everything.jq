# The digest wins over the tag; the workers' own image has neither of them.
."Deployment/the-mill".spec.template.spec.containers[0].image | test("^registry.example:5000/featuremill@sha256:0+$")
."Deployment/the-mill".spec.template.spec.containers[0].env | from_entries | .FEATUREMILL_IMAGE == "registry.example:5000/workers:v8" and .FEATUREMILL_IMAGE_PULL_POLICY == "Never"
# What is said of the pod is there.
."Deployment/the-mill".spec.template.metadata | .labels.team == "features" and .annotations.note == "1"
."Deployment/the-mill".spec.template.spec | [.priorityClassName, .nodeSelector["kubernetes.io/os"], .tolerations[0].key, .imagePullSecrets[0].name, .serviceAccountName] == ["system-cluster-critical", "linux", "dedicated", "registry", "the-mill"]
."Deployment/the-mill".spec.template.spec | (.affinity.podAntiAffinity | length == 1) and .topologySpreadConstraints == null
."Deployment/the-mill".spec.template.spec.containers[0].resources.limits == {cpu: "1", memory: "256Mi"}
."Deployment/the-mill".spec.template.spec.containers[0].env | from_entries | [.FEATUREMILL_LOG_FORMAT, .RUST_LOG, .FEATUREMILL_CONCURRENCY, .FEATUREMILL_RESYNC_SECONDS] == ["text", "info,operator=debug", "4", "60"]
# What selects the operator's pods selects them, and not the Deployment alone.
. as $all | ."Deployment/the-mill".spec.template.metadata.labels as $labels | [$all["Service/the-mill-metrics"].spec.selector, $all["PodDisruptionBudget/the-mill"].spec.selector.matchLabels, $all["NetworkPolicy/the-mill"].spec.podSelector.matchLabels] | all(.[]; . as $selector | length == 3 and ($labels | contains($selector)))
# The ServiceMonitor finds the Service, at a port that it has; the PodMonitor finds what the operator makes.
. as $all | $all["Service/the-mill-metrics"].metadata.labels | contains($all["ServiceMonitor/the-mill"].spec.selector.matchLabels)
. as $all | [$all["Service/the-mill-metrics"].spec.ports[].name] == [$all["ServiceMonitor/the-mill"].spec.endpoints[].port]
."PodMonitor/the-mill-workers".spec | .namespaceSelector.any and .selector.matchLabels == {"app.kubernetes.io/managed-by": "featuremill-operator"}
[."ServiceMonitor/the-mill", ."PodMonitor/the-mill-workers" | .metadata.labels.release] == ["prometheus", "prometheus"]
# The namespace of a view's metrics is the view's. Every alert leads to its runbook, and keeps what Prometheus is to fill in.
."ServiceMonitor/the-mill".spec.endpoints[0].honorLabels
."PrometheusRule/the-mill" | .metadata.labels.release == "prometheus" and ([.spec.groups[].rules[] | select(.alert) | .annotations.runbook_url == "https://runbooks.example/featuremill/" + .alert + ".md"] | length == 9 and all)
."PrometheusRule/the-mill".spec.groups[0].rules[1].annotations.summary | test("{{ \\$labels.namespace }}")
# Scrapers of one namespace in; names, the API server, Kafka at its own address and Redis out.
."NetworkPolicy/the-mill".spec | [.ingress[0].ports[0].port, .ingress[0].from[0].namespaceSelector.matchLabels["kubernetes.io/metadata.name"]] == ["admin", "monitoring"]
[."NetworkPolicy/the-mill".spec.egress[] | [.ports[].port]] == [[53, 53], [443, 6443], [9094], [6379, 6380], [443, 9093], [4318]]
[."NetworkPolicy/the-mill".spec.egress[].to] == [null, null, [{ipBlock: {cidr: "10.0.0.0/8"}}], null, null, null]
# The operator knows whom to tell of alerts, with which words, and its pod has the files that it is told of.
."Deployment/the-mill".spec.template.spec.containers[0].env | from_entries | [.FEATUREMILL_ALERTMANAGER_URLS, .FEATUREMILL_ALERTMANAGER_LABELS, .FEATUREMILL_ALERTMANAGER_RESEND_SECONDS, .FEATUREMILL_CONSOLE_URL] == ["http://alertmanager-0.monitoring:9093,https://alerts.example/alertmanager", "cluster=berlin,team=features", "30", "https://mill.example"]
. as $all | $all["Deployment/the-mill"].spec.template.spec.containers[0].env | from_entries | .FEATUREMILL_RUNBOOKS_URL as $base | all($all["PrometheusRule/the-mill"].spec.groups[].rules[] | select(.alert); .annotations.runbook_url | startswith($base + "/"))
."Deployment/the-mill".spec.template.spec | (.containers[0].env | from_entries | [.FEATUREMILL_ALERTMANAGER_TOKEN_FILE, .FEATUREMILL_ALERTMANAGER_CA_FILE]) == [.containers[0].volumeMounts[0].mountPath + "/token", .containers[0].volumeMounts[0].mountPath + "/ca.crt"] and .volumes[0].secret.secretName == "alertmanager-client"
# Traces are sent where they are to be, and as many.
."Deployment/the-mill".spec.template.spec.containers[0].env | from_entries | [.OTEL_EXPORTER_OTLP_ENDPOINT, .OTEL_TRACES_SAMPLER, .OTEL_TRACES_SAMPLER_ARG] == ["http://otel-collector.monitoring:4318", "parentbased_traceidratio", "0.25"]
# The dashboard is one.
."ConfigMap/the-mill-dashboard" | .metadata.labels.grafana_dashboard == "yes" and (.data["featuremill.json"] | fromjson | .panels | length > 5)
# The console is reached through its Service, at a port that the pod has, by whom the policy lets.
. as $all | [$all["Service/the-mill-console"].spec.ports[].targetPort] == ["console"] and ([$all["Deployment/the-mill"].spec.template.spec.containers[0].ports[].name] == ["admin", "console"])
."Deployment/the-mill".spec.template.spec.containers[0].env | from_entries | .FEATUREMILL_CONSOLE == "0.0.0.0:8090"
."NetworkPolicy/the-mill".spec.ingress[1] | [.ports[0].port, .from[0].podSelector.matchLabels.app] == ["console", "gateway"]
