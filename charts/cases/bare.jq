."Deployment/featuremill-operator".spec.template.spec.serviceAccountName == "prepared"
# No console is served.
[."Deployment/featuremill-operator".spec.template.spec.containers[0].env[].name] | contains(["FEATUREMILL_CONSOLE"]) | not
