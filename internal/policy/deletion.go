package policy

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
)

// deletion answers about pods that are deleted, each by itself, also when a collection is deleted: the request has no name
// then. It is asked more often than all others together, and so reads no more of a pod than the guards look at.
type deletion struct{ pods *Pods }

var _ admission.Direct = deletion{}

// HandleReview answers a question that it reads in one pass.
func (d deletion) HandleReview(ctx context.Context, body []byte) (admission.Answer, bool) {
	q, ok := admission.ReadReview[*doomed](body)
	if !ok || q.OldObject == nil {
		return admission.Answer{}, false
	}
	req := ctrl.Request{AdmissionRequest: q.AdmissionRequest}
	return admission.Answer{Response: d.ask(ctx, req, q.OldObject), To: req}, true
}

// Handle answers a question whose object may not be readable.
func (d deletion) Handle(ctx context.Context, req ctrl.Request) ctrl.Response {
	old := &doomed{}
	if err := decode(req.OldObject.Raw, old); err != nil {
		return unreadable(req, err)
	}
	return d.ask(ctx, req, old)
}

func (d deletion) ask(ctx context.Context, req ctrl.Request, old *doomed) ctrl.Response {
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	return d.pods.decide(ctx, req, disruption.Request{Operation: disruption.Delete, Pod: old.pod()})
}

// doomed is a pod that is to be deleted: its metadata, its status, and of its spec what disruption.Request promises.
type doomed struct {
	Metadata doomedMeta `json:"metadata"`
	Spec     struct {
		InitContainers                []doomedContainer         `json:"initContainers"`
		Containers                    []doomedContainer         `json:"containers"`
		ReadinessGates                []corev1.PodReadinessGate `json:"readinessGates"`
		NodeName                      string                    `json:"nodeName"`
		TerminationGracePeriodSeconds *int64                    `json:"terminationGracePeriodSeconds"`
	} `json:"spec"`
	Status corev1.PodStatus `json:"status"`
}

// doomedMeta lacks who has written what, which often is the greater part.
type doomedMeta struct {
	metav1.ObjectMeta

	ManagedFields admission.Unread `json:"managedFields"`
}

type doomedContainer struct {
	Name          string                         `json:"name"`
	Image         string                         `json:"image"`
	RestartPolicy *corev1.ContainerRestartPolicy `json:"restartPolicy"`
}

func (d *doomed) pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: d.Metadata.ObjectMeta, Status: d.Status,
		Spec: corev1.PodSpec{
			InitContainers: containers(d.Spec.InitContainers), Containers: containers(d.Spec.Containers),
			ReadinessGates: d.Spec.ReadinessGates, NodeName: d.Spec.NodeName,
			TerminationGracePeriodSeconds: d.Spec.TerminationGracePeriodSeconds,
		},
	}
}

func containers(from []doomedContainer) []corev1.Container {
	to := make([]corev1.Container, len(from))
	for i, c := range from {
		to[i].Name, to[i].Image, to[i].RestartPolicy = c.Name, c.Image, c.RestartPolicy
	}
	return to
}
