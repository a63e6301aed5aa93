# The definitions stay when the release goes, and say which release they are of.
[.[] | select(.kind == "CustomResourceDefinition")] | length == 5 and all(.[]; .metadata.annotations["helm.sh/resource-policy"] == "keep")
[.[] | select(.kind == "CustomResourceDefinition").metadata.labels["app.kubernetes.io/instance"]] | length == 5 and all(.[]; . == "featuremill")
# One image for everything, of the chart's version.
."Deployment/featuremill-operator".spec.template.spec.containers[0].image == "featuremill:0.1.0"
."Deployment/featuremill-operator".spec.template.spec.containers[0].env | from_entries | .FEATUREMILL_IMAGE == "featuremill:0.1.0" and .FEATUREMILL_IMAGE_PULL_POLICY == "IfNotPresent"
# It works in all namespaces, and elects a leader in its own, under its own name.
[."Deployment/featuremill-operator".spec.template.spec.containers[0].env[].name] | contains(["FEATUREMILL_NAMESPACE"]) | not
."Deployment/featuremill-operator".spec.template.spec.containers[0].env | map(select(.valueFrom)) | map({(.name): .valueFrom.fieldRef.fieldPath}) | add == {FEATUREMILL_LEASE_NAMESPACE: "metadata.namespace", FEATUREMILL_IDENTITY: "metadata.name"}
# Only the operator's own pod gets the account's token.
."ServiceAccount/featuremill-operator".automountServiceAccountToken == false and ."Deployment/featuremill-operator".spec.template.spec.automountServiceAccountToken == true
# Its rights: nothing with a star, Secrets one at a time, read or created, none changed, pods only looked at, no Lease outside its namespace.
[.[] | select(.kind == "ClusterRole" or .kind == "Role").rules[] | .apiGroups[], .resources[], .verbs[]] | contains(["*"]) | not
[."ClusterRole/featuremill-system-featuremill-operator".rules[] | select(.resources | index("secrets")).verbs] == [["get", "create"]]
[."ClusterRole/featuremill-system-featuremill-operator".rules[] | select(.resources | index("pods")).verbs] == [["list", "watch"]]
[."ClusterRole/featuremill-system-featuremill-operator".rules[].resources[]] | contains(["leases"]) | not
[."Role/featuremill-operator-lease".rules[] | select(.verbs != ["create"]).resourceNames] == [["featuremill-operator"]]
# Everybody who may look at a namespace may look at its FeatureViews; who may edit may edit them, but not write their status.
."ClusterRole/featuremill-system-featuremill-operator-view" | .metadata.labels["rbac.authorization.k8s.io/aggregate-to-view"] == "true" and ([.rules[].verbs[]] | unique == ["get", "list", "watch"])
."ClusterRole/featuremill-system-featuremill-operator-edit" | .metadata.labels | has("rbac.authorization.k8s.io/aggregate-to-view") | not
[."ClusterRole/featuremill-system-featuremill-operator-edit".rules[].resources[]] == ["featureviews", "architectures", "trainingsets", "featurereplays", "erasures", "erasures", "erasures/status", "featureviews/scale"]
# Who may only look does not see whom an Erasure is about.
[."ClusterRole/featuremill-system-featuremill-operator-view".rules[].resources[]] | contains(["erasures"]) | not
[."ClusterRole/featuremill-system-featuremill-operator".rules[] | select(.resources | index("cronjobs")).apiGroups] == [["batch"]]
# The console listens where only a port-forward reaches it.
."Deployment/featuremill-operator".spec.template.spec.containers[0] | (.env | from_entries | .FEATUREMILL_CONSOLE == "127.0.0.1:8090") and [.ports[].name] == ["admin"]
# Nobody is told of alerts who was not named.
."Deployment/featuremill-operator".spec.template.spec | (.volumes == null) and ([.containers[0].env[].name | select(test("ALERTMANAGER"))] == [])
# Traces are sent to nobody.
[."Deployment/featuremill-operator".spec.template.spec.containers[0].env[].name | select(startswith("OTEL"))] == []
