package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

// play is one scenario under way.
type play struct {
	*theatre

	record    *record
	namespace string
	cleanups  []func(context.Context) error
}

// claim checks one thing that is said of Holdfast.
func (p *play) claim(holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	p.record.claims = append(p.record.claims, claim{text: text, holds: holds})
	if holds {
		cluster.Saw("holds: %s", text)
	} else {
		cluster.Saw("DOES NOT HOLD: %s", text)
	}
}

// figure notes one thing that was measured.
func (p *play) figure(name, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	p.record.figures = append(p.record.figures, figure{name: name, value: value})
	cluster.Saw("%s: %s", name, value)
}

// atEnd has clean called when the scenario is over, the newest first.
func (p *play) atEnd(clean func(ctx context.Context) error) {
	p.cleanups = append([]func(context.Context) error{clean}, p.cleanups...)
}

// until waits at most the given time.
func (p *play) until(ctx context.Context, limit time.Duration, what string, done func(ctx context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return cluster.Until(ctx, what, "", func() (bool, error) {
		ok, err := done(ctx)
		if ctx.Err() != nil {
			return false, nil //nolint:nilerr // Until says how long it waited
		}
		return ok, err
	})
}

// parseManifest reads the documents of a manifest, and puts those that say no namespace into the scenario's.
func (p *play) parseManifest(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+manifest, "\n---") {
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &u.Object); err != nil {
			return nil, fmt.Errorf("read a manifest: %w\n%s", err, document)
		}
		if len(u.Object) == 0 {
			continue
		}
		namespaced, err := p.client.IsObjectNamespaced(u)
		if err != nil {
			return nil, fmt.Errorf("find out about %s: %w", u.GetKind(), err)
		}
		if namespaced && u.GetNamespace() == "" {
			u.SetNamespace(p.namespace)
		}
		objects = append(objects, u)
	}
	return objects, nil
}

// apply applies a manifest as kubectl does, strictly: a field that the server does not know is an error.
func (p *play) apply(ctx context.Context, manifest string) error {
	objects, err := p.parseManifest(manifest)
	if err != nil {
		return err
	}
	strict := client.WithFieldValidation(p.client, metav1.FieldValidationStrict)
	for _, u := range objects {
		configuration := client.ApplyConfigurationFromUnstructured(u)
		if err := strict.Apply(ctx, configuration, client.FieldOwner("e2e"), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}

// ref names an object of the scenario.
func (p *play) ref(apiVersion, kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	u.SetNamespace(p.namespace)
	u.SetName(name)
	return u
}

// refresh reads the object anew.
func (p *play) refresh(ctx context.Context, u *unstructured.Unstructured) error {
	if err := p.client.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
		return fmt.Errorf("read %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// merge patches the object with what is given, as `kubectl patch --type merge` does.
func (p *play) merge(ctx context.Context, u client.Object, format string, args ...any) error {
	body := fmt.Appendf(nil, format, args...)
	if err := p.client.Patch(ctx, u, client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("patch %s: %w", u.GetName(), err)
	}
	return nil
}

// ready waits until the status speaks of the newest spec and its condition Ready is True.
func (p *play) ready(ctx context.Context, limit time.Duration, u *unstructured.Unstructured) error {
	what := fmt.Sprintf("%s %s is ready", u.GetKind(), u.GetName())
	err := p.until(ctx, limit, what, func(ctx context.Context) (bool, error) {
		if err := p.refresh(ctx, u); err != nil {
			return false, err
		}
		return number(u, "status", "observedGeneration") == u.GetGeneration() && condition(u, "Ready") == "True", nil
	})
	if err != nil {
		return fmt.Errorf("%w; its status: %v", err, u.Object["status"])
	}
	return nil
}

// number reads a number of an object, 0 when it is not there.
func number(u *unstructured.Unstructured, path ...string) int64 {
	n, _, err := unstructured.NestedInt64(u.Object, path...)
	if err != nil {
		return 0
	}
	return n
}

// text reads a string of an object, empty when it is not there.
func text(u *unstructured.Unstructured, path ...string) string {
	s, _, err := unstructured.NestedString(u.Object, path...)
	if err != nil {
		return ""
	}
	return s
}

// condition is the status of a condition, empty when it is not there.
func condition(u *unstructured.Unstructured, kind string) string {
	conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	if err != nil {
		return ""
	}
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == kind {
			status, _ := fields["status"].(string)
			return status
		}
	}
	return ""
}

// remove deletes an object and waits until it is gone.
func (p *play) remove(ctx context.Context, objects ...client.Object) error {
	var wrong []error
	for _, o := range objects {
		if err := p.client.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			wrong = append(wrong, fmt.Errorf("delete %s: %w", o.GetName(), err))
			continue
		}
		wrong = append(wrong, p.until(ctx, 5*time.Minute, o.GetName()+" is gone", func(ctx context.Context) (bool, error) {
			err := p.client.Get(ctx, client.ObjectKeyFromObject(o), o)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		}))
	}
	return errors.Join(wrong...)
}

// pods are the scenario's pods with these labels, by name, without those on their way out.
func (p *play) pods(ctx context.Context, labels map[string]string) ([]*corev1.Pod, error) {
	pods, err := cluster.Pods(ctx, p.client, p.namespace, labels)
	return cluster.Sorted(pods), err
}

// warnings are what the API server warned of.
type warnings struct {
	mu   sync.Mutex
	said []string
}

// HandleWarningHeaderWithContext keeps a warning.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

// take returns the warnings since it was called last.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := slices.Clone(w.said)
	w.said = nil
	return said
}

// patchJSON patches the object with a list of operations.
func (p *play) patchJSON(ctx context.Context, u client.Object, operations string) error {
	if err := p.client.Patch(ctx, u, client.RawPatch(types.JSONPatchType, []byte(operations))); err != nil {
		return fmt.Errorf("patch %s: %w", u.GetName(), err)
	}
	return nil
}
