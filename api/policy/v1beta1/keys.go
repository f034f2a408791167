package v1beta1

// Annotations of a v1alpha1 PodUnavailableBudget; at v1beta1 they are fields.
const (
	// ProtectOperationsAnnotation lists the guarded operations, separated by commas: spec.protectOperations.
	ProtectOperationsAnnotation = "kruise.io/pub-protect-operations"
	// ProtectTotalReplicasAnnotation is the number of replicas that percentages are taken of: spec.protectTotalReplicas.
	ProtectTotalReplicasAnnotation = "pub.kruise.io/protect-total-replicas"
)

// Annotations of a workload (Deployment, StatefulSet, CloneSet, Advanced StatefulSet, UnitedDeployment) that ask for a
// budget to be made and kept for it.
const (
	// GeneratePub, with the value "true", asks for a PodUnavailableBudget with the maxUnavailable of the workload's own
	// rollout strategy; with the value "false" it refuses the one that the cluster's configuration would make.
	GeneratePub = "policy.kruise.io/generate-pub"
	// GeneratePubMaxUnavailable asks for a PodUnavailableBudget with this maxUnavailable.
	GeneratePubMaxUnavailable = "policy.kruise.io/generate-pub-maxUnavailable"
	// GeneratePubMinAvailable asks for a PodUnavailableBudget with this minAvailable.
	GeneratePubMinAvailable = "policy.kruise.io/generate-pub-minAvailable"
	// GeneratePdb asks for a PodDisruptionBudget, as GeneratePub does for the other kind.
	GeneratePdb = "policy.kruise.io/generate-pdb"
	// GeneratePdbMaxUnavailable asks for a PodDisruptionBudget with this maxUnavailable.
	GeneratePdbMaxUnavailable = "policy.kruise.io/generate-pdb-maxUnavailable"
	// GeneratePdbMinAvailable asks for a PodDisruptionBudget with this minAvailable.
	GeneratePdbMinAvailable = "policy.kruise.io/generate-pdb-minAvailable"
)

// GeneratedFor is the label of a budget that was made for a workload; its value is the workload's kind. A budget without it
// belongs to a person, and is never touched.
const GeneratedFor = "policy.holdfast.io/generated-for"
