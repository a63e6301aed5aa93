[.[] | select(.kind == "CustomResourceDefinition").metadata.annotations["helm.sh/resource-policy"]] == [null, null, null, null, null]
