package v1beta1

import corev1 "k8s.io/api/core/v1"

// Keys on SidecarSets and their revisions.
const (
	// SidecarSetCustomVersion is a label of a v1alpha1 SidecarSet, and of the ControllerRevision of its spec at that time: the
	// user's name for the revision. At v1beta1 the set has it as spec.customVersion.
	SidecarSetCustomVersion = "apps.kruise.io/sidecarset-custom-version"
	// SidecarSetCanary, with the value "true", makes a SidecarSet the canary of the one that SidecarSetBase names: pods that
	// both select get the canary's containers in place of the base's. On such a pod it is an annotation with the canary's name.
	SidecarSetCanary = "apps.kruise.io/sidecarset-canary"
	// SidecarSetBase names the SidecarSet that a canary stands in for, on the canary and on the pods that got it.
	SidecarSetBase = "apps.kruise.io/sidecarset-base"
	// SidecarSetName is a label of the ControllerRevisions of a SidecarSet.
	SidecarSetName = "kruise.io/sidecarset-name"
)

// Annotations on pods that SidecarSets have given containers.
const (
	// SidecarSetHash tells, by SidecarSet, what the pod carries, as JSON: {set: {updateTimestamp, hash, sidecarSetName,
	// sidecarList, controllerRevision}}.
	SidecarSetHash = "kruise.io/sidecarset-hash"
	// SidecarSetHashWithoutImage is the same, with hashes over all but the images: what is equal there can change in place.
	SidecarSetHashWithoutImage = "kruise.io/sidecarset-hash-without-image"
	// SidecarSetInjectedList are the names of the SidecarSets, separated by commas.
	SidecarSetInjectedList = "kruise.io/sidecarset-injected-list"
	// SidecarSetInPlaceUpdateState is what is known of the changes in place by SidecarSets, as JSON by SidecarSet.
	SidecarSetInPlaceUpdateState = "kruise.io/sidecarset-inplace-update-state"
	// SidecarSetWorkingHotUpgrade tells which of two containers of a hot upgrade works, as JSON: {sidecar: container}.
	SidecarSetWorkingHotUpgrade = "kruise.io/sidecarset-working-hotupgrade-container"
	// SidecarSetVersionPrefix, followed by the name of a container of a hot upgrade, is its version; "0" is the idle one.
	SidecarSetVersionPrefix = "version.sidecarset.kruise.io/"
	// SidecarSetVersionAltPrefix, followed by the name of a container of a hot upgrade, is the version of the other one.
	SidecarSetVersionAltPrefix = "versionalt.sidecarset.kruise.io/"
)

// Environment of containers that a SidecarSet has put into a pod.
const (
	// SidecarInjectedEnv is "true".
	SidecarInjectedEnv = "IS_INJECTED"
	// SidecarSetVersionEnv is the version of a container of a hot upgrade: it grows with each.
	SidecarSetVersionEnv = "SIDECARSET_VERSION"
	// SidecarSetVersionAltEnv is the version of the other container of a hot upgrade.
	SidecarSetVersionAltEnv = "SIDECARSET_VERSION_ALT"
)

// SidecarSetUpgradable is a condition of pods: False when a SidecarSet has a newer revision that the pod cannot get in place.
// Its message is JSON: {set: whether the pod can follow it}.
const SidecarSetUpgradable corev1.PodConditionType = "SidecarSetUpgradable"

// UpdateImmutableField is the reason of SidecarSetUpgradable where it is False.
const UpdateImmutableField = "UpdateImmutableField"
