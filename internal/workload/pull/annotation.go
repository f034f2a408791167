package pull

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// Annotated reads how images are pulled ahead from a set's annotations, which is where DaemonSets and StatefulSets may have it
// in every version; nil: they are not. desired is how many pods are wanted. The error names the annotations that cannot be
// read.
func Annotated(annotations map[string]string, desired int) (*appsv1beta1.InPlaceUpdateStrategy, error) {
	text, there := annotations[appsv1beta1.ImagePreDownloadParallelism]
	if !there {
		return nil, nil //nolint:nilnil // no strategy is what is asked for
	}
	parallelism := intstr.Parse(text)
	if n, err := share.Of(&parallelism, parallelism, 100, true); err != nil || n < 1 {
		return nil, fmt.Errorf("%s: %q is neither a whole number of 1 or more nor a percentage", appsv1beta1.ImagePreDownloadParallelism, text)
	}
	s := &appsv1beta1.InPlaceUpdateStrategy{ImagePreDownloadParallelism: &parallelism}
	if text, there := annotations[appsv1beta1.ImagePreDownloadTimeoutSeconds]; there {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 {
			return s, fmt.Errorf("%s: %q is no whole number of 1 or more", appsv1beta1.ImagePreDownloadTimeoutSeconds, text)
		}
		s.ImagePreDownloadTimeoutSeconds = ptr.To(int32(n))
	}
	if text, there := annotations[appsv1beta1.ImagePreDownloadMinUpdatedReadyPods]; there {
		value := intstr.Parse(text)
		n, err := share.Of(&value, value, desired, true)
		if err != nil || strings.HasPrefix(text, "-") {
			return s, fmt.Errorf("%s: %q is neither a whole number nor a percentage", appsv1beta1.ImagePreDownloadMinUpdatedReadyPods, text)
		}
		s.ImagePreDownloadMinUpdatedReadyPods = ptr.To(int32(min(n, desired))) //nolint:gosec // there are not that many nodes
	}
	return s, nil
}
