// Package contract holds the facts that clients and manifests of the *.kruise.io groups rely on, and this test, which
// holds the generated CRDs against them.
package contract_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/holdfast-io/holdfast/api/crds"
)

// implemented lists the kinds that exist; the facts of the others wait. A kind that is listed and missing is a failure.
func implemented() []string {
	return []string{"CloneSet.apps.kruise.io", "AdvancedCronJob.apps.kruise.io", "UnitedDeployment.apps.kruise.io", "StatefulSet.apps.kruise.io", "DaemonSet.apps.kruise.io", "BroadcastJob.apps.kruise.io", "SidecarSet.apps.kruise.io", "PodDeletionFlowControl.policy.kruise.io", "PodDeletionLedger.policy.kruise.io", "PodUnavailableBudget.policy.kruise.io", "BreakGlass.policy.kruise.io"}
}

// extra lists what we have beyond the contract, by kind and path, with the reason.
func extra() map[string]string {
	return map[string]string{
		"StatefulSet status.held":           "why changes wait",
		"StatefulSet status.held[]":         "",
		"StatefulSet status.held[].count":   "",
		"StatefulSet status.held[].message": "",
		"StatefulSet status.held[].pods":    "",
		"StatefulSet status.held[].reason":  "",

		"PodUnavailableBudget status.grants":                            "the ledger with what tells an act from its repetition",
		"PodUnavailableBudget status.grants[]":                          "",
		"PodUnavailableBudget status.grants[].pod":                      "",
		"PodUnavailableBudget status.grants[].uid":                      "",
		"PodUnavailableBudget status.grants[].operation":                "",
		"PodUnavailableBudget status.grants[].time":                     "",
		"PodUnavailableBudget status.grants[].generation":               "",
		"PodUnavailableBudget status.grants[].containers":               "",
		"PodUnavailableBudget status.grants[].containers[]":             "",
		"PodUnavailableBudget status.grants[].containers[].name":        "",
		"PodUnavailableBudget status.grants[].containers[].image":       "",
		"PodUnavailableBudget status.grants[].containers[].containerID": "",
		"PodUnavailableBudget status.grants[].released":                 "",
		"PodUnavailableBudget status.podsVersion":                       "what the ledger rests on",
		"PodUnavailableBudget status.selector":                          "whom a targetRef guards",
		"PodUnavailableBudget status.workloads":                         "who wants the pods",
		"PodUnavailableBudget status.workloads[]":                       "",
		"PodUnavailableBudget status.workloads[].apiVersion":            "",
		"PodUnavailableBudget status.workloads[].kind":                  "",
		"PodUnavailableBudget status.workloads[].name":                  "",
		"PodUnavailableBudget status.workloads[].replicas":              "",
		"PodUnavailableBudget status.conditions":                        "nothing is silently unprotected",
		"PodUnavailableBudget status.conditions[]":                      "",
		"PodUnavailableBudget status.conditions[].type":                 "",
		"PodUnavailableBudget status.conditions[].status":               "",
		"PodUnavailableBudget status.conditions[].reason":               "",
		"PodUnavailableBudget status.conditions[].message":              "",
		"PodUnavailableBudget status.conditions[].lastTransitionTime":   "",
		"PodUnavailableBudget status.conditions[].observedGeneration":   "",

		"AdvancedCronJob status.held":                                                 "why a job that is due waits",
		"AdvancedCronJob status.held[]":                                               "",
		"AdvancedCronJob status.held[].count":                                         "",
		"AdvancedCronJob status.held[].message":                                       "",
		"AdvancedCronJob status.held[].pods":                                          "",
		"AdvancedCronJob status.held[].reason":                                        "",
		"UnitedDeployment status.held":                                                "why changes wait",
		"UnitedDeployment status.held[]":                                              "",
		"UnitedDeployment status.held[].count":                                        "",
		"UnitedDeployment status.held[].message":                                      "",
		"UnitedDeployment status.held[].pods":                                         "",
		"UnitedDeployment status.held[].reason":                                       "",
		"AdvancedCronJob status.observedGeneration":                                   "which spec the status speaks of",
		"AdvancedCronJob status.nextScheduleTime":                                     "when it goes on",
		"AdvancedCronJob status.settledTime":                                          "what was missed for good, and when the schedule was changed",
		"AdvancedCronJob status.observedSchedule":                                     "the same",
		"AdvancedCronJob status.conditions":                                           "kstatus",
		"AdvancedCronJob status.conditions[]":                                         "",
		"AdvancedCronJob status.conditions[].type":                                    "",
		"AdvancedCronJob status.conditions[].status":                                  "",
		"AdvancedCronJob status.conditions[].reason":                                  "",
		"AdvancedCronJob status.conditions[].message":                                 "",
		"AdvancedCronJob status.conditions[].lastTransitionTime":                      "",
		"AdvancedCronJob spec.template.broadcastJobTemplate.metadata.labels":          "the API server would drop fields that the schema does not list",
		"AdvancedCronJob spec.template.broadcastJobTemplate.metadata.annotations":     "",
		"AdvancedCronJob spec.template.imageListPullJobTemplate.metadata.labels":      "the API server would drop fields that the schema does not list",
		"AdvancedCronJob spec.template.imageListPullJobTemplate.metadata.annotations": "",

		"CloneSet status.held":           "why changes wait",
		"CloneSet status.held[]":         "",
		"CloneSet status.held[].count":   "",
		"CloneSet status.held[].message": "",
		"CloneSet status.held[].pods":    "",
		"CloneSet status.held[].reason":  "",

		"SidecarSet status.held":                            "why updates wait",
		"SidecarSet status.held[]":                          "",
		"SidecarSet status.held[].count":                    "",
		"SidecarSet status.held[].message":                  "",
		"SidecarSet status.held[].pods":                     "",
		"SidecarSet status.held[].reason":                   "",
		"SidecarSet status.conditions":                      "whether the set is ready, and what is the matter",
		"SidecarSet status.conditions[]":                    "",
		"SidecarSet status.conditions[].lastTransitionTime": "",
		"SidecarSet status.conditions[].message":            "",
		"SidecarSet status.conditions[].reason":             "",
		"SidecarSet status.conditions[].status":             "",
		"SidecarSet status.conditions[].type":               "",

		"DaemonSet status.held":                  "why changes wait",
		"DaemonSet status.held[]":                "",
		"DaemonSet status.held[].count":          "",
		"DaemonSet status.held[].message":        "",
		"DaemonSet status.held[].pods":           "",
		"DaemonSet status.held[].reason":         "",
		"DaemonSet status.currentRevision":       "what kept nodes get back when they lose their pod",
		"DaemonSet status.expectedUpdatedNumber": "how far selector and partition let an update go",

		"BroadcastJob status.held":               "why pods wait",
		"BroadcastJob status.held[]":             "",
		"BroadcastJob status.held[].count":       "",
		"BroadcastJob status.held[].message":     "",
		"BroadcastJob status.held[].pods":        "",
		"BroadcastJob status.held[].reason":      "",
		"BroadcastJob status.observedGeneration": "whether the status is of this spec; kstatus asks for it",
	}
}

// stricter lists fields that take fewer values than the contract says, with the reason. Everything that is valid and
// meant something is valid here.
func stricter() map[string]string {
	const closed = "a value that means nothing would be accepted and ignored"
	return nested(map[string]string{
		"StatefulSet v1beta1 spec.podManagementPolicy enum(OrderedReady|Parallel)":                                            closed,
		"StatefulSet v1beta1 spec.updateStrategy.type enum(RollingUpdate|OnDelete)":                                           closed,
		"StatefulSet v1beta1 spec.updateStrategy.rollingUpdate.podUpdatePolicy enum(ReCreate|InPlaceIfPossible|InPlaceOnly)":  closed,
		"StatefulSet v1alpha1 spec.podManagementPolicy enum(OrderedReady|Parallel)":                                           closed,
		"StatefulSet v1alpha1 spec.updateStrategy.type enum(RollingUpdate|OnDelete)":                                          closed,
		"StatefulSet v1alpha1 spec.updateStrategy.rollingUpdate.podUpdatePolicy enum(ReCreate|InPlaceIfPossible|InPlaceOnly)": closed,
		"StatefulSet v1beta1 spec.volumeClaimUpdateStrategy.type enum(OnPodRollingUpdate|OnDelete)":                           closed,
		"StatefulSet v1beta1 spec.persistentVolumeClaimRetentionPolicy.whenDeleted enum(Retain|Delete)":                       closed,
		"StatefulSet v1beta1 spec.persistentVolumeClaimRetentionPolicy.whenScaled enum(Retain|Delete)":                        closed,

		"CloneSet v1beta1 spec.updateStrategy.type enum(RollingUpdate|OnDelete)":                                          closed,
		"CloneSet v1beta1 spec.updateStrategy.rollingUpdate.podUpdatePolicy enum(ReCreate|InPlaceIfPossible|InPlaceOnly)": closed,
		"CloneSet v1alpha1 spec.updateStrategy.type enum(ReCreate|InPlaceIfPossible|InPlaceOnly)":                         closed,
		"CloneSet v1beta1 spec.scaleStrategy.podsToDelete set":                                                            "a name listed twice is a mistake",
		"CloneSet v1alpha1 spec.scaleStrategy.podsToDelete set":                                                           "a name listed twice is a mistake",

		"SidecarSet v1beta1 spec.containers[].podInjectPolicy enum(BeforeAppContainer|AfterAppContainer)":      closed,
		"SidecarSet v1beta1 spec.containers[].shareVolumePolicy.type enum(enabled|disabled)":                   closed,
		"SidecarSet v1beta1 spec.containers[].shareVolumeDevicePolicy.type enum(enabled|disabled)":             closed,
		"SidecarSet v1beta1 spec.containers[].upgradeStrategy.upgradeType enum(ColdUpgrade|HotUpgrade)":        closed,
		"SidecarSet v1beta1 spec.initContainers[].podInjectPolicy enum(BeforeAppContainer|AfterAppContainer)":  closed,
		"SidecarSet v1beta1 spec.initContainers[].shareVolumePolicy.type enum(enabled|disabled)":               closed,
		"SidecarSet v1beta1 spec.initContainers[].shareVolumeDevicePolicy.type enum(enabled|disabled)":         closed,
		"SidecarSet v1beta1 spec.initContainers[].upgradeStrategy.upgradeType enum(ColdUpgrade|HotUpgrade)":    closed,
		"SidecarSet v1beta1 spec.updateStrategy.type enum(NotUpdate|RollingUpdate)":                            closed,
		"SidecarSet v1beta1 spec.patchPodMetadata[].patchPolicy enum(Retain|Overwrite|MergePatchJson)":         closed,
		"SidecarSet v1alpha1 spec.containers[].podInjectPolicy enum(BeforeAppContainer|AfterAppContainer)":     closed,
		"SidecarSet v1alpha1 spec.containers[].shareVolumePolicy.type enum(enabled|disabled)":                  closed,
		"SidecarSet v1alpha1 spec.containers[].shareVolumeDevicePolicy.type enum(enabled|disabled)":            closed,
		"SidecarSet v1alpha1 spec.containers[].upgradeStrategy.upgradeType enum(ColdUpgrade|HotUpgrade)":       closed,
		"SidecarSet v1alpha1 spec.initContainers[].podInjectPolicy enum(BeforeAppContainer|AfterAppContainer)": closed,
		"SidecarSet v1alpha1 spec.initContainers[].shareVolumePolicy.type enum(enabled|disabled)":              closed,
		"SidecarSet v1alpha1 spec.initContainers[].shareVolumeDevicePolicy.type enum(enabled|disabled)":        closed,
		"SidecarSet v1alpha1 spec.initContainers[].upgradeStrategy.upgradeType enum(ColdUpgrade|HotUpgrade)":   closed,
		"SidecarSet v1alpha1 spec.updateStrategy.type enum(NotUpdate|RollingUpdate)":                           closed,
		"SidecarSet v1alpha1 spec.patchPodMetadata[].patchPolicy enum(Retain|Overwrite|MergePatchJson)":        closed,

		"DaemonSet v1beta1 spec.updateStrategy.type enum(RollingUpdate|OnDelete)":                                 closed,
		"DaemonSet v1beta1 spec.updateStrategy.rollingUpdate.rollingUpdateType enum(Standard|InPlaceIfPossible)":  closed,
		"BroadcastJob v1beta1 spec.completionPolicy.type enum(Always|Never)":                                      closed,
		"BroadcastJob v1beta1 spec.failurePolicy.type enum(FailFast|Continue|Pause)":                              closed,
		"DaemonSet v1alpha1 spec.updateStrategy.type enum(RollingUpdate|OnDelete)":                                closed,
		"DaemonSet v1alpha1 spec.updateStrategy.rollingUpdate.rollingUpdateType enum(Standard|InPlaceIfPossible)": closed,
		"BroadcastJob v1alpha1 spec.completionPolicy.type enum(Always|Never)":                                     closed,
		"BroadcastJob v1alpha1 spec.failurePolicy.type enum(FailFast|Continue|Pause)":                             closed,

		"AdvancedCronJob v1beta1 spec.template.imageListPullJobTemplate.spec.completionPolicy.type enum(Always|Never)":  closed,
		"AdvancedCronJob v1beta1 spec.template.imageListPullJobTemplate.spec.imagePullPolicy enum(Always|IfNotPresent)": closed,
		"UnitedDeployment v1alpha1 spec.topology.subsets listmap(name)":                                                 "two subsets of one name would fight over one workload",
		"UnitedDeployment v1alpha1 status.conditions[].status required":                                                 "written by us alone",
		"UnitedDeployment v1alpha1 status.conditions[].type required":                                                   "written by us alone",
		"UnitedDeployment v1beta1 spec.topology.subsets listmap(name)":                                                  "two subsets of one name would fight over one workload",
		"UnitedDeployment v1beta1 status.conditions[].status required":                                                  "written by us alone",
		"UnitedDeployment v1beta1 status.conditions[].type required":                                                    "written by us alone",
	})
}

// facts reads a table of the contract: one map per line, by the names in its first line.
func facts(t *testing.T, file string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read the contract: %v", err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	names := strings.Split(lines[0], "\t")
	var all []map[string]string
	for _, line := range lines[1:] {
		fact := map[string]string{}
		for i, value := range strings.Split(line, "\t") {
			fact[names[i]] = value
		}
		if slices.Contains(implemented(), fact["kind"]+"."+fact["group"]) {
			all = append(all, fact)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no facts about %v", file, implemented())
	}
	return all
}

// definitions are our CRDs by kind and group.
func definitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range all {
		byKind[crd.Spec.Names.Kind+"."+crd.Spec.Group] = crd
	}
	for _, kind := range implemented() {
		if byKind[kind] == nil {
			t.Fatalf("%s is said to be implemented, but api/crds has no such kind", kind)
		}
	}
	return byKind
}

func version(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, name string) apiextensionsv1.CustomResourceDefinitionVersion {
	t.Helper()
	for _, v := range crd.Spec.Versions {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("%s has no version %s", crd.Name, name)
	return apiextensionsv1.CustomResourceDefinitionVersion{}
}

func TestKindsThatExistAreListed(t *testing.T) {
	for kind, crd := range definitions(t) {
		if strings.HasSuffix(crd.Spec.Group, ".kruise.io") && !slices.Contains(implemented(), kind) {
			t.Errorf("%s exists, but is not held against the contract: add it to implemented()", kind)
		}
	}
}

func TestKinds(t *testing.T) {
	byKind := definitions(t)
	for _, want := range facts(t, "kinds.tsv") {
		crd := byKind[want["kind"]+"."+want["group"]]
		v := version(t, crd, want["version"])
		got := map[string]string{
			"group": crd.Spec.Group, "kind": crd.Spec.Names.Kind, "version": v.Name, "state": state(v),
			"scope": string(crd.Spec.Scope), "plural": crd.Spec.Names.Plural, "singular": crd.Spec.Names.Singular,
			"shortNames": strings.Join(crd.Spec.Names.ShortNames, ","), "subresources": "",
		}
		if s := v.Subresources; s != nil && s.Status != nil {
			got["subresources"] = "status"
		}
		if s := v.Subresources; s != nil && s.Scale != nil {
			got["subresources"] = "scale," + got["subresources"]
			if s.Scale.LabelSelectorPath != nil {
				got["scaleSelectorPath"] = *s.Scale.LabelSelectorPath
			}
		}
		for fact, value := range want {
			if got[fact] != value {
				t.Errorf("%s %s: %s is %q, want %q", want["kind"], want["version"], fact, got[fact], value)
			}
		}
	}
}

func state(v apiextensionsv1.CustomResourceDefinitionVersion) string {
	switch {
	case v.Storage && v.Served:
		return "storage"
	case v.Served:
		return "served"
	default:
		return "not served"
	}
}

func TestColumns(t *testing.T) {
	byKind := definitions(t)
	want := map[string][]string{}
	for _, f := range facts(t, "columns.tsv") {
		at := f["kind"] + "." + f["group"] + " " + f["version"]
		want[at] = append(want[at], f["column"]+" "+f["jsonPath"]+" "+f["priority"])
	}
	for at, columns := range want {
		kind, name, _ := strings.Cut(at, " ")
		var got []string
		for _, c := range version(t, byKind[kind], name).AdditionalPrinterColumns {
			got = append(got, fmt.Sprintf("%s %s %d", c.Name, c.JSONPath, c.Priority))
		}
		if !slices.Equal(got, columns) {
			t.Errorf("%s: columns are\n%s\nwant\n%s", at, strings.Join(got, "\n"), strings.Join(columns, "\n"))
		}
	}
}

// TestFields compares every field, both ways: none is missing, none is of another type, and none is there that is not
// explained above.
func TestFields(t *testing.T) {
	byKind := definitions(t)
	wanted := map[string]map[string]string{}
	for _, f := range facts(t, "fields.tsv") {
		at := f["kind"] + "." + f["group"] + " " + f["version"]
		if wanted[at] == nil {
			wanted[at] = map[string]string{}
		}
		wanted[at][f["path"]] = strings.TrimSpace(f["type"] + " " + f["required"])
	}
	unused := stricter()
	for _, at := range slices.Sorted(maps.Keys(wanted)) {
		kind, name, _ := strings.Cut(at, " ")
		short, _, _ := strings.Cut(kind, ".")
		got := map[string]string{}
		collect(version(t, byKind[kind], name).Schema.OpenAPIV3Schema, "", got)
		for _, problem := range compare(short, name, wanted[at], got, unused) {
			t.Errorf("%s: %s", at, problem)
		}
	}
	for entry := range unused {
		t.Errorf("stricter() names %q, which is not so: take it out", entry)
	}
}

func compare(kind, version string, want, got, unused map[string]string) []string {
	var problems []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		have, ok := got[path]
		entry, narrowed := narrowing(have, want[path])
		entry = kind + " " + version + " " + path + " " + entry
		_, explained := stricter()[entry]
		switch {
		case !ok:
			problems = append(problems, path+" is missing, want "+want[path])
		case have == want[path]:
		case narrowed && explained:
			delete(unused, entry)
		default:
			problems = append(problems, path+" is "+have+", want "+want[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		_, wanted := want[path]
		_, explained := extra()[kind+" "+path]
		if !wanted && !explained {
			problems = append(problems, path+" is not in the contract: explain it in extra(), or take it out")
		}
	}
	return problems
}

// narrowing is what a field has beyond its type in the contract: "array set" for "array", or "string enum(...)".
func narrowing(have, want string) (string, bool) {
	rest, ok := strings.CutPrefix(have, want+" ")
	return rest, ok
}

// collect writes the fields of a schema in the contract's words. Fields that every object has are left out.
func collect(schema *apiextensionsv1.JSONSchemaProps, at string, into map[string]string) {
	for name, property := range schema.Properties {
		path := name
		if at != "" {
			path = at + "." + name
		} else if name == "apiVersion" || name == "kind" || name == "metadata" {
			continue
		}
		words := fieldType(property)
		if slices.Contains(schema.Required, name) {
			words += " required"
		}
		into[path] = words
		collect(&property, path, into)
		if property.Items != nil && property.Items.Schema.Type == "object" {
			into[path+"[]"] = fieldType(*property.Items.Schema)
			collect(property.Items.Schema, path+"[]", into)
		}
	}
}

func fieldType(s apiextensionsv1.JSONSchemaProps) string {
	words := s.Type
	if s.Format != "" {
		words += ":" + s.Format
	}
	if s.XIntOrString {
		words = "int-or-string"
	}
	if s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields {
		words = cmp.Or(words, "any") + "+any"
	}
	switch kind := s.XListType; {
	case kind == nil || *kind == "atomic":
	case *kind == "map":
		words += " listmap(" + strings.Join(s.XListMapKeys, ",") + ")"
	default:
		words += " " + *kind
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, strings.Trim(string(value.Raw), `"`))
		}
		words += " enum(" + strings.Join(values, "|") + ")"
	}
	if s.Default != nil {
		value := string(s.Default.Raw)
		switch {
		case value == "true" || value == "false":
			value = strings.ToUpper(value[:1]) + value[1:]
		case strings.HasPrefix(value, `"`):
			value = "'" + strings.Trim(value, `"`) + "'"
		}
		words += " default=" + value
	}
	return words
}

// TestKeys holds our constants against the contract's list of keys.
func TestKeys(t *testing.T) {
	text, err := os.ReadFile("keys.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys() {
		if !strings.Contains(string(text), key) {
			t.Errorf("the contract has no key %q", key)
		}
	}
}
