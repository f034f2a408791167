package admission

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// askedLife is for how long the configuration that was read is believed.
const askedLife = 15 * time.Second

// Asked tells whether the API server asks our webhooks what a guard has to be asked: nothing may be unguarded in silence. The
// zero value, and nil, take it that it does.
type Asked struct {
	// Reader reads from the API server itself.
	Reader client.Reader
	// Name of the ValidatingWebhookConfiguration.
	Name  string
	Clock clock.PassiveClock
	// Off is why our answer is always yes; "": it is not.
	Off string

	mu     sync.Mutex
	read   time.Time
	config *admissionregistrationv1.ValidatingWebhookConfiguration
}

// Concern is something that a guard has to be asked about: DELETE of pods.
type Concern struct {
	Operation admissionregistrationv1.OperationType
	Resource  string
}

// Missing says what of these, all in the core group, nobody asks about, or asks only while we answer; "": nothing.
func (a *Asked) Missing(ctx context.Context, concerns ...Concern) (string, error) {
	if a == nil || a.Name == "" || a.Off != "" {
		return a.off(), nil
	}
	config, err := a.latest(ctx)
	if err != nil {
		return "", err
	}
	for _, c := range concerns {
		at := slices.IndexFunc(config.Webhooks, c.in)
		if at < 0 {
			return fmt.Sprintf("ValidatingWebhookConfiguration %s does not ask about %s of %s: run `holdfast install`, "+
				"or start the operator with its webhooks", a.Name, c.Operation, c.Resource), nil
		}
		hook := &config.Webhooks[at]
		if hook.FailurePolicy != nil && *hook.FailurePolicy == admissionregistrationv1.Ignore {
			return fmt.Sprintf("webhook %s of ValidatingWebhookConfiguration %s has failurePolicy Ignore, so that %s of %s passes while no "+
				"operator answers: run `holdfast install`, which sets Fail", hook.Name, a.Name, c.Operation, c.Resource), nil
		}
	}
	return "", nil
}

func (a *Asked) off() string {
	if a == nil {
		return ""
	}
	return a.Off
}

func (a *Asked) latest(ctx context.Context) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	if a.config != nil && now.Sub(a.read) < askedLife {
		return a.config, nil
	}
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := a.Reader.Get(ctx, types.NamespacedName{Name: a.Name}, config); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", a.Name, err)
	}
	a.read, a.config = now, config
	return config, nil
}

// in reports whether a webhook asks about it.
func (c Concern) in(hook admissionregistrationv1.ValidatingWebhook) bool {
	return slices.ContainsFunc(hook.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
		return names(r.Operations, c.Operation) && names(r.Resources, c.Resource) && names(r.APIGroups, "")
	})
}

func names[T ~string](all []T, one T) bool {
	return slices.Contains(all, one) || slices.Contains(all, "*")
}
