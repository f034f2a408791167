package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// named is what the user typed: a type with a name, a type alone, or a name alone.
type named struct {
	Kind  Kind
	Typed bool // a type was given
	Pod   bool // the type given is pod (why alone takes it)
	Name  string
}

// parse reads TYPE/NAME ..., TYPE NAME ..., TYPE, or NAME. It asks no server.
func parse(args []string) ([]named, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if !strings.Contains(args[0], "/") {
		n, isType := typeNamed(args[0])
		if !isType {
			return parseEach(args)
		}
		if len(args) == 1 {
			return []named{n}, nil
		}
		var list []named
		for _, name := range args[1:] {
			if strings.Contains(name, "/") {
				return nil, usage("%q: after a type come names without a type", name)
			}
			n.Name = name
			list = append(list, n)
		}
		return list, nil
	}
	return parseEach(args)
}

// parseEach reads arguments that each stand alone: TYPE/NAME or NAME.
func parseEach(args []string) ([]named, error) {
	var list []named
	for _, arg := range args {
		kind, name, slash := strings.Cut(arg, "/")
		if !slash {
			list = append(list, named{Name: arg})
			continue
		}
		n, isType := typeNamed(kind)
		if !isType {
			return nil, unknownKind(kind)
		}
		if name == "" || strings.Contains(name, "/") {
			return nil, usage("%q is not TYPE/NAME", arg)
		}
		n.Name = name
		list = append(list, n)
	}
	return list, nil
}

func typeNamed(word string) (named, bool) {
	switch strings.ToLower(word) {
	case "pod", "pods", "po":
		return named{Typed: true, Pod: true}, true
	}
	k, found := kindNamed(word)
	return named{Kind: k, Typed: true}, found
}

func usage(format string, args ...any) error {
	return &Failure{Code: CodeUsage, What: fmt.Sprintf(format, args...)}
}

func unknownKind(word string) error {
	return &Failure{
		Code: CodeUsage, What: fmt.Sprintf("unknown kind %q", word),
		Fix: "the kinds are " + strings.Join(kindNames(), ", "),
	}
}

// one finds the single workload that a verb is about.
func (s *session) one(ctx context.Context, args []string) (found, error) {
	list, err := parse(args)
	if err != nil {
		return found{}, err
	}
	if len(list) != 1 || list[0].Name == "" {
		return found{}, usage("this verb takes one workload: TYPE/NAME or TYPE NAME")
	}
	if list[0].Pod {
		return found{}, usage("%s is a pod: this verb takes a workload", list[0].Name)
	}
	return s.find(ctx, list[0])
}

// find locates a workload, looking through all kinds when only a name was given.
func (s *session) find(ctx context.Context, n named) (found, error) {
	if n.Typed {
		return s.locate(n.Kind, n.Name)
	}
	var hits []found
	for _, k := range kinds() {
		f, err := s.locate(k, n.Name)
		if err != nil {
			if meta.IsNoMatchError(err) || isMissing(err) {
				continue
			}
			return found{}, err
		}
		if err := s.client.Get(ctx, f.Key, headOf(f)); err == nil {
			hits = append(hits, f)
		} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return found{}, fmt.Errorf("look for %s: %w", n.Name, err)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return found{}, &Failure{
			Code: CodeNotFound, What: fmt.Sprintf("%q is neither a kind nor a workload in namespace %q", n.Name, s.namespace),
			Fix: "the kinds are " + strings.Join(kindNames(), ", ") + "; another namespace is named with -n",
		}
	}
	var names []string
	for _, hit := range hits {
		names = append(names, hit.Kind.short()+"/"+n.Name)
	}
	return found{}, usage("%q is the name of several workloads: say which, %s", n.Name, strings.Join(names, " or "))
}

// isMissing tells whether err says that the cluster does not have a kind.
func isMissing(err error) bool {
	var failure *Failure
	return errors.As(err, &failure) && meta.IsNoMatchError(failure.Err)
}

// headOf is an object to read only the metadata of f into.
func headOf(f found) *metav1.PartialObjectMetadata {
	head := &metav1.PartialObjectMetadata{}
	head.SetGroupVersionKind(f.GVK)
	return head
}

// list reads the workloads of one kind.
func list(ctx context.Context, from client.Reader, f found, options ...client.ListOption) ([]Workload, error) {
	objects := &unstructured.UnstructuredList{}
	objects.SetGroupVersionKind(gvkOf(f))
	if err := from.List(ctx, objects, append(options, client.InNamespace(f.Key.Namespace))...); err != nil {
		return nil, fmt.Errorf("list %s: %w", f.Kind.resource(), err)
	}
	workloads := make([]Workload, 0, len(objects.Items))
	for i := range objects.Items {
		workloads = append(workloads, newWorkload(f.Kind, &objects.Items[i]))
	}
	return workloads, nil
}

// snapshot reads a workload with its revisions and pods.
func (s *session) snapshot(ctx context.Context, f found) (Snapshot, error) {
	snapshot, err := read(ctx, s.client, f)
	if err != nil {
		return Snapshot{}, s.notFound(ctx, f, err)
	}
	return snapshot, nil
}

// notFound explains a name that is not there by those that are.
func (s *session) notFound(ctx context.Context, f found, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	failure := &Failure{
		Code: CodeNotFound, Err: err,
		What: fmt.Sprintf("%s %q is not in namespace %q", f.Kind.short(), f.Key.Name, f.Key.Namespace),
		Fix:  "another namespace is named with -n",
	}
	elsewhere := "; " + failure.Fix
	if f.Key.Namespace == "" {
		failure.What, failure.Fix, elsewhere = fmt.Sprintf("there is no %s %q", f.Kind.short(), f.Key.Name), "", ""
	}
	workloads, listErr := list(ctx, s.client, f)
	var names []string
	for _, w := range workloads {
		if len(names) == 5 {
			names = append(names, "...")
			break
		}
		names = append(names, w.Object.GetName())
	}
	if listErr == nil && len(names) > 0 {
		failure.Fix = "there are: " + strings.Join(names, ", ") + elsewhere
	}
	return failure
}

// podNames lists the pods of the namespace.
func (s *session) podNames(ctx context.Context) []string {
	heads := &metav1.PartialObjectMetadataList{}
	heads.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := s.client.List(ctx, heads, client.InNamespace(s.namespace)); err != nil {
		return nil
	}
	var names []string
	for _, head := range heads.Items {
		names = append(names, head.Name)
	}
	return names
}
