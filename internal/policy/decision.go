package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/internal/disruption"
)

// Outcome of a decision.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "Allowed"
	Denied  Outcome = "Denied"
	// Failed: a guard could not decide, so that the request was refused.
	Failed Outcome = "Failed"
)

const (
	// How much of a message is kept.
	maxMessage = 400
	// How many of a user's groups are kept.
	maxGroups = 10
)

// Decision is what was decided about one request to take something away, and who had asked.
type Decision struct {
	// ID is also in the audit log of the API server, as an audit annotation of the request.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Until and Times tell of repetitions that were answered alike: one decision stands for all of them.
	Until time.Time `json:"until,omitzero"`
	Times int       `json:"times,omitempty"`

	User   string   `json:"user"`
	Groups []string `json:"groups,omitempty"`
	// Client is what the API server knows of the credential: the pod or node that it was given to, or its id.
	Client string `json:"client,omitempty"`
	// Cause is what for, when one of our controllers asked.
	Cause string `json:"cause,omitempty"`

	Operation string `json:"operation"`
	// Kind of the object: "Pod", or "CloneSet.apps.kruise.io".
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Workload that controls a pod: "ReplicaSet/web-5d4f".
	Workload string `json:"workload,omitempty"`

	Outcome Outcome `json:"outcome"`
	// Guard that decided: "PodUnavailableBudget shop/web"; empty when none had a say.
	Guard   string `json:"guard,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Free is when asking again may help.
	Free  time.Time         `json:"free,omitzero"`
	Notes map[string]string `json:"notes,omitempty"`
	// BreakGlass that let it through.
	BreakGlass string `json:"breakGlass,omitempty"`
	Replica    string `json:"replica,omitempty"`
}

// NewDecision starts a decision about an object.
func NewDecision(now time.Time, user authenticationv1.UserInfo) Decision {
	return Decision{
		ID: uuid.NewString()[:13], Time: now.UTC().Truncate(time.Millisecond), User: user.Username, Groups: groupsOf(user),
		Client: clientOf(user), Outcome: Allowed,
	}
}

// forPod starts a decision about a pod.
func forPod(now time.Time, r disruption.Request) Decision {
	d := NewDecision(now, r.User)
	d.Operation, d.Cause = string(r.Operation), r.Cause
	d.Kind, d.Namespace, d.Name, d.UID = "Pod", r.Pod.Namespace, r.Pod.Name, string(r.Pod.UID)
	d.Workload = workloadOf(r.Pod)
	return d
}

// Judged fills in what a guard said.
func (d *Decision) Judged(v disruption.Verdict) {
	d.Guard, d.Reason, d.Notes = v.Guard, v.Reason, v.Notes
	if v.Outcome == disruption.Deny {
		d.Outcome, d.Message = Denied, v.Message
		if v.After > 0 {
			d.Free = d.Time.Add(v.After).Truncate(time.Second)
		}
	}
}

// failed fills in why no guard could decide.
func (d *Decision) failed(err error) {
	d.Outcome, d.Reason, d.Message = Failed, "Error", err.Error()
}

// GuardKind is the kind of the guard without the name of its object, which metrics can afford.
func (d *Decision) GuardKind() string {
	kind, _, _ := strings.Cut(d.Guard, " ")
	return kind
}

// routine decisions let our own controllers go on where no guard had a say.
func (d *Decision) routine() bool {
	return d.Outcome == Allowed && d.Guard == "" && d.BreakGlass == "" && d.Cause != ""
}

// key is what repetitions have in common.
func (d *Decision) key() string {
	return strings.Join([]string{d.UID, d.Namespace, d.Name, d.Kind, d.User, d.Operation, string(d.Outcome), d.Guard, d.Reason}, "\x00")
}

// groupsOf drops the groups that say nothing, and keeps the first of many.
func groupsOf(user authenticationv1.UserInfo) []string {
	groups := slices.DeleteFunc(slices.Clone(user.Groups), func(g string) bool {
		return g == "system:authenticated" || g == "system:serviceaccounts"
	})
	if len(groups) > maxGroups {
		groups = groups[:maxGroups]
	}
	return groups
}

// clientOf says where a credential was used from. An admission request carries no address; the audit log has it.
func clientOf(user authenticationv1.UserInfo) string {
	for _, key := range []string{"pod-name", "node-name", "credential-id"} {
		if values := user.Extra["authentication.kubernetes.io/"+key]; len(values) > 0 {
			return key + "=" + values[0]
		}
	}
	return ""
}

// workloadOf names the controller of a pod; a Deployment in place of its ReplicaSet.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return ""
	}
	if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		if name, cut := strings.CutSuffix(owner.Name, "-"+hash); cut {
			return "Deployment/" + name
		}
	}
	return owner.Kind + "/" + owner.Name
}

func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
}
