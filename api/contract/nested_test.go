package contract_test

import "strings"

// nested adds what holds for a kind to the templates of that kind in others. They have the form of its newest version.
func nested(entries map[string]string) map[string]string {
	places := map[string][]string{
		"CloneSet v1beta1 spec.": {
			"UnitedDeployment v1alpha1 spec.template.cloneSetTemplate.spec.", "UnitedDeployment v1beta1 spec.template.cloneSetTemplate.spec.",
		},
		"StatefulSet v1beta1 spec.": {
			"UnitedDeployment v1alpha1 spec.template.advancedStatefulSetTemplate.spec.",
			"UnitedDeployment v1beta1 spec.template.advancedStatefulSetTemplate.spec.",
		},
		"BroadcastJob v1beta1 spec.": {
			"AdvancedCronJob v1alpha1 spec.template.broadcastJobTemplate.spec.",
			"AdvancedCronJob v1beta1 spec.template.broadcastJobTemplate.spec.",
		},
	}
	all := map[string]string{}
	for entry, reason := range entries {
		all[entry] = reason
		for prefix, templates := range places {
			if rest, ok := strings.CutPrefix(entry, prefix); ok {
				for _, template := range templates {
					all[template+rest] = reason
				}
			}
		}
	}
	return all
}
