."Deployment/featuremill-operator".spec.template.spec.serviceAccountName == "prepared"
