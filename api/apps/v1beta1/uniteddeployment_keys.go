package v1beta1

// Keys of UnitedDeployments.
const (
	// SubsetName is a label of a subset's workload and of its pods: the name of the subset.
	SubsetName = "apps.kruise.io/subset-name"
	// SubsetPatch is an annotation of a subset's workload: the patch that its pod template was made with, as JSON.
	SubsetPatch = "apps.kruise.io/subset-patch"
	// ReservedPod is a label of a pod that waits for a node in its subset while another stands in for it elsewhere: "true".
	ReservedPod = "apps.kruise.io/united-deployment-reserved-pod"
	// SubsetTemplateHash is an annotation of a subset's workload: a hash of what it was last brought to.
	SubsetTemplateHash = "holdfast.io/subset-template-hash"
)
