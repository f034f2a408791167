package inject

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Record is what a pod says of one SidecarSet whose containers it has.
type Record struct {
	UpdateTimestamp    metav1.Time `json:"updateTimestamp"`
	Hash               string      `json:"hash"`
	SidecarSetName     string      `json:"sidecarSetName"`
	SidecarList        []string    `json:"sidecarList"`
	ControllerRevision string      `json:"controllerRevision,omitempty"`
}

// Records are those of a pod, by SidecarSet.
type Records map[string]Record

// Read returns the records in one of the pod's annotations; none when it cannot be read.
func Read(p *corev1.Pod, annotation string) Records {
	records := Records{}
	if json.Unmarshal([]byte(p.Annotations[annotation]), &records) != nil {
		return Records{}
	}
	return records
}

// Names are the SidecarSets whose containers the pod has.
func Names(p *corev1.Pod) []string {
	list := p.Annotations[appsv1beta1.SidecarSetInjectedList]
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// Spared are the namespaces that are left alone: what a cluster needs to run at all must not wait for us.
func Spared(system string) []string {
	return []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, system}
}

// Has reports whether the pod has the containers of the SidecarSet.
func Has(p *corev1.Pod, set string) bool { return slices.Contains(Names(p), set) }

// Working is which of the two containers of each hot upgrade works.
func Working(p *corev1.Pod) map[string]string {
	working := map[string]string{}
	if json.Unmarshal([]byte(p.Annotations[appsv1beta1.SidecarSetWorkingHotUpgrade]), &working) != nil {
		return map[string]string{}
	}
	return working
}

// Text writes a value as the text of an annotation. What is written here are maps of texts: they can always be written.
func Text(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw)
}
