// Package install writes the operator into a cluster and takes it out again, without ever taking a user's objects along
// unless it is told to.
package install

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/operator"
)

// The steps of an installation, in their order; --only names them.
const (
	stepCRDs      = "crds"
	stepNamespace = "namespace"
	stepRBAC      = "rbac"
	stepOperator  = "operator"
	stepNode      = "node"
	stepPolicies  = "policies"
	stepWebhooks  = "webhooks"
)

func steps() []string {
	return []string{stepCRDs, stepNamespace, stepRBAC, stepOperator, stepNode, stepPolicies, stepWebhooks}
}

// Options of an installation.
type Options struct {
	SystemNamespace string
	Image           string
	Replicas        int32
	// Node also installs the node daemon.
	Node bool
	// RuntimeEndpoint is the socket of the nodes' container runtime; empty: the usual ones are looked for.
	RuntimeEndpoint string
	// Parts to run; empty: all.
	Parts []string
	// Only these steps; empty: all.
	Only []string
	// TakeOver takes CRDs over from another installation.
	TakeOver bool
	Wait     bool
	Timeout  time.Duration
	DryRun   bool
}

// Defaults are the options when none is given.
func Defaults() Options {
	return Options{
		SystemNamespace: operator.Defaults().SystemNamespace,
		Image:           "registry.local/holdfast:" + operator.Version(),
		Replicas:        2,
		Node:            true,
		Wait:            true,
		Timeout:         5 * time.Minute,
	}
}

// Validate names the first option that cannot be obeyed.
func (o Options) Validate() error {
	switch {
	case o.SystemNamespace == "":
		return misuse("--system-namespace is empty: name a namespace")
	case o.Image == "":
		return misuse("--image is empty: name the operator's image")
	case o.Replicas < 1:
		return misuse("--replicas is %d: give at least 1; 2 keep admission going while one is replaced", o.Replicas)
	case o.RuntimeEndpoint != "" && !strings.HasPrefix(o.RuntimeEndpoint, "unix:///"):
		return misuse("--runtime-endpoint is %q: use unix:// and the absolute path of a socket", o.RuntimeEndpoint)
	case o.Timeout <= 0:
		return misuse("--timeout is %s: give more than 0", o.Timeout)
	}
	for _, step := range o.Only {
		if !slices.Contains(steps(), step) {
			return misuse("--only: there is no step %q; the steps are %s", step, strings.Join(steps(), ", "))
		}
	}
	check := operator.Defaults()
	check.Enable = o.Parts
	if err := check.Validate(); err != nil {
		return misuse("--parts: %w", err)
	}
	return nil
}

func (o Options) does(step string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, step)
}

func misuse(format string, args ...any) error {
	return &operator.Misuse{Err: fmt.Errorf(format, args...)}
}
