package contract_test

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// keys are the constants that the contract must know, letter by letter.
func keys() []string {
	return []string{
		v1beta1.CloneSetScalingExcludePreparingDelete,
		v1beta1.ImagePreDownloadParallelism,
		v1beta1.SpecifiedDelete,
		v1beta1.CloneSetInstanceID,
		v1beta1.OwnedByStatefulSet,
		v1beta1.ControllerRevisionHash,
		v1beta1.VolumeClaimTemplateHash,
		v1beta1.LifecycleStateKey,
		v1beta1.LifecycleTimestamp,
		v1beta1.UnavailablePodPrefix,
		v1beta1.NoProtect,
		v1beta1.InPlaceUpdateState,
		v1beta1.InPlaceUpdateGrace,
		v1beta1.RuntimeContainersMeta,
		v1beta1.ContainerLaunchPriority,
		v1beta1.ContainerLaunchPriorityCompleted,
		v1beta1.RelatedPub,
		v1beta1.PodDeletionCost,
		v1beta1.DeleteProtection,
		v1beta1.DisableCascadingDeletion,
		v1beta1.ContainerPriorityEnv,
		v1beta1.ContainerBarrierEnv,
		string(v1beta1.InPlaceUpdateReady),
		string(v1beta1.KruisePodReady),
		string(v1beta1.LifecycleStatePreparingNormal),
		string(v1beta1.LifecycleStateNormal),
		string(v1beta1.LifecycleStatePreparingUpdate),
		string(v1beta1.LifecycleStateUpdating),
		string(v1beta1.LifecycleStateUpdated),
		string(v1beta1.LifecycleStatePreparingDelete),
		v1beta1.CloneSetProgressUpdated,
		v1beta1.CloneSetProgressAvailable,
		v1beta1.CloneSetProgressPartitionAvailable,
		v1beta1.CloneSetProgressPaused,
		v1beta1.CloneSetProgressDeadlineExceeded,
		string(v1beta1.CloneSetConditionProgressing),
		string(v1beta1.CloneSetConditionFailedScale),
		string(v1beta1.CloneSetConditionFailedUpdate),
	}
}
