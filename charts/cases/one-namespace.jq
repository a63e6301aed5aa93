."Deployment/featuremill-operator".spec.template.spec.containers[0].env | from_entries | .FEATUREMILL_NAMESPACE == "shop"
# The same rights, bound to the operator, which lives elsewhere.
."Role/featuremill-operator".rules | length > 5
."RoleBinding/featuremill-operator" | [.roleRef.kind, .roleRef.name, .subjects[0].name, .subjects[0].namespace] == ["Role", "featuremill-operator", "featuremill-operator", "featuremill-system"]
."PodMonitor/featuremill-operator-workers".spec.namespaceSelector == {matchNames: ["shop"]}
