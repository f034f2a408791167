package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy/cascade"
)

const (
	// How often a deletion that a guard denies is tried again.
	deleteRetry = 5 * time.Second
	// How many objects one call deletes at most: more is more likely a slip than a wish.
	mostDeletions = 500
)

// deleteOptions are the flags of delete.
type deleteOptions struct {
	*session
	preview  bool
	yes      bool
	output   string
	selector string
	timeout  time.Duration
	stdin    io.Reader
}

func newDelete(streams genericiooptions.IOStreams) *cobra.Command {
	o := &deleteOptions{session: newSession(streams), stdin: streams.In}
	cmd := &cobra.Command{
		Use:   "delete TYPE/NAME ... | TYPE NAME ... | TYPE -l SELECTOR",
		Short: "Delete objects as far as the guards allow, or show what would go",
		Long: `Delete objects one after the other. What a guard denies for now is tried again until it is
allowed or the time is over; what is protected by a label stays.

With --preview nothing is deleted: it shows what would go with each object, which guard would
stop it, and what each guard has left. The guards are asked by a dry run, each pod by itself,
which takes nothing from a budget or a limit.`,
		Example: `  kubectl holdfast delete --preview deployment/web
  kubectl holdfast delete --preview namespace/shop
  kubectl holdfast delete pod -l app=web --yes --timeout 10m`,
	}
	cmd.RunE = o.run(o.delete)
	flags := cmd.Flags()
	flags.BoolVar(&o.preview, "preview", false, "show what would go, and delete nothing")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask before deleting")
	flags.StringVarP(&o.output, "output", "o", "", "json or yaml, of --preview")
	flags.StringVarP(&o.selector, "selector", "l", "", "the objects with these labels")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for the guards; 0: each object is tried once")
	o.flags.AddFlags(flags)
	return cmd
}

// target is one object that is to be deleted.
type target struct {
	ref    string // deployment/web
	gvk    schema.GroupVersionKind
	object *metav1.PartialObjectMetadata
}

func (o *deleteOptions) delete(ctx context.Context, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if o.output != "" && !o.preview {
		return usage("-o is for --preview")
	}
	if o.timeout < 0 {
		return usage("--timeout is %s: give 0 or more", o.timeout)
	}
	targets, err := o.targets(ctx, args)
	if err != nil {
		return err
	}
	if o.preview {
		return o.show(ctx, targets)
	}
	if len(targets) > mostDeletions {
		return usage("these are %d objects, and at most %d are deleted at once: name fewer", len(targets), mostDeletions)
	}
	if !o.yes && !o.agreed(targets) {
		return &Failure{Code: CodeFailed, What: "nothing was deleted", Fix: "answer yes, or give --yes"}
	}
	return o.deleteAll(ctx, targets)
}

// targets finds the objects that were named.
func (o *deleteOptions) targets(ctx context.Context, args []string) ([]target, error) {
	switch {
	case len(args) == 0:
		return nil, usage("delete takes TYPE/NAME, TYPE NAME, or TYPE -l SELECTOR")
	case o.selector != "":
		if len(args) != 1 || strings.Contains(args[0], "/") {
			return nil, usage("with -l goes one TYPE, and no name")
		}
		return o.selected(ctx, args[0])
	}
	var out []target
	word, names := "", args
	if !strings.Contains(args[0], "/") {
		word, names = args[0], args[1:]
		if len(names) == 0 {
			return nil, usage("name the objects of type %s to delete, or pick them with -l", word)
		}
	}
	for _, name := range names {
		kind, plain, slash := strings.Cut(name, "/")
		switch {
		case word != "" && slash, word == "" && (!slash || plain == "" || kind == ""):
			return nil, usage("%q is not what goes here: give TYPE/NAME ..., or TYPE NAME ...", name)
		case word != "":
			kind, plain = word, name
		}
		one, err := o.named(ctx, kind, plain)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// kindOf finds a kind by what a user typed, as kubectl does: plural, singular, short name, with its group or without.
func (o *deleteOptions) kindOf(word string) (*meta.RESTMapping, error) {
	full, resource := schema.ParseResourceArg(strings.ToLower(word))
	var gvk schema.GroupVersionKind
	err := error(nil)
	if full != nil {
		gvk, err = o.mapper.KindFor(*full)
	}
	if full == nil || err != nil {
		gvk, err = o.mapper.KindFor(resource.WithVersion(""))
	}
	if k, known := kindNamed(word); err != nil && known {
		f, located := o.locate(k, "")
		gvk, err = f.GVK, located
	}
	if err != nil {
		return nil, &Failure{
			Code: CodeNotFound, What: fmt.Sprintf("the cluster has no type %q", word), Fix: "see kubectl api-resources", Err: err,
		}
	}
	mapping, err := o.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", word, err)
	}
	return mapping, nil
}

func (o *deleteOptions) space(mapping *meta.RESTMapping) string {
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return o.namespace
	}
	return ""
}

func (o *deleteOptions) named(ctx context.Context, kind, name string) (target, error) {
	mapping, err := o.kindOf(kind)
	if err != nil {
		return target{}, err
	}
	t := target{ref: strings.ToLower(mapping.GroupVersionKind.Kind) + "/" + name, gvk: mapping.GroupVersionKind}
	t.object = &metav1.PartialObjectMetadata{}
	t.object.SetGroupVersionKind(t.gvk)
	err = o.client.Get(ctx, client.ObjectKey{Namespace: o.space(mapping), Name: name}, t.object)
	if apierrors.IsNotFound(err) {
		return target{}, &Failure{
			Code: CodeNotFound, Err: err, What: fmt.Sprintf("%s is not in namespace %q", t.ref, o.space(mapping)),
			Fix: "another namespace is named with -n",
		}
	}
	if err != nil {
		return target{}, fmt.Errorf("get %s: %w", t.ref, err)
	}
	t.object.SetGroupVersionKind(t.gvk)
	return t, nil
}

func (o *deleteOptions) selected(ctx context.Context, kind string) ([]target, error) {
	mapping, err := o.kindOf(kind)
	if err != nil {
		return nil, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(mapping.GroupVersionKind.Kind + "List"))
	opts := &client.ListOptions{Namespace: o.space(mapping), Raw: &metav1.ListOptions{LabelSelector: o.selector}}
	if err := o.client.List(ctx, list, opts); err != nil {
		return nil, fmt.Errorf("list %s with -l %s: %w", kind, o.selector, err)
	}
	if len(list.Items) == 0 {
		return nil, &Failure{
			Code: CodeNotFound, What: fmt.Sprintf("no %s has the labels %s in namespace %q", kind, o.selector, o.space(mapping)),
			Fix: "another namespace is named with -n",
		}
	}
	out := make([]target, 0, len(list.Items))
	for i := range list.Items {
		item := &list.Items[i]
		item.SetGroupVersionKind(mapping.GroupVersionKind)
		out = append(out, target{
			ref: strings.ToLower(mapping.GroupVersionKind.Kind) + "/" + item.Name, gvk: mapping.GroupVersionKind, object: item,
		})
	}
	return out, nil
}

// agreed asks the user once, for all objects.
func (o *deleteOptions) agreed(targets []target) bool {
	names := make([]string, 0, len(targets))
	for _, t := range targets {
		names = append(names, t.ref)
	}
	fmt.Fprintf(o.ErrOut, "delete %s in namespace %s? What would go with it: --preview. [y/N] ", podNamesShort(names), o.namespace)
	if o.stdin == nil {
		return false
	}
	line, err := bufio.NewReader(io.LimitReader(o.stdin, 100)).ReadString('\n')
	if err != nil && line == "" {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// podNamesShort names some, and counts the others.
func podNamesShort(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// deleteAll deletes one after the other; what a guard denies for now is tried again while there is time.
func (o *deleteOptions) deleteAll(ctx context.Context, targets []target) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	r := round{told: map[string]string{}}
	for {
		left, err := o.deleteEach(ctx, targets, &r)
		switch {
		case err != nil:
			return err
		case len(left) == 0 && r.kept == 0:
			return nil
		case len(left) == 0:
			return &Failure{
				Code: CodeForbidden, Err: r.denied, What: fmt.Sprintf("%s protected: %v", plural(int64(r.kept), "object")+" not deleted,", r.denied),
				Fix: "the message names the ways out; nothing changes by waiting",
			}
		case o.timeout == 0 || !o.pause(ctx):
			return &Failure{
				Code: CodeTimeout, Err: r.denied, What: fmt.Sprintf("%s not deleted: %v", plural(int64(len(left)+r.kept), "object"), r.denied),
				Fix: "wait longer with --timeout, or see kubectl holdfast delete --preview",
			}
		}
		targets = left
	}
}

// round is what is known from the tries so far.
type round struct {
	told   map[string]string // what was said of each object last
	denied error             // the last denial
	kept   int               // objects that a label protects: waiting does not help
}

// deleteEach tries each object once, and returns those to try again.
func (o *deleteOptions) deleteEach(ctx context.Context, targets []target, r *round) ([]target, error) {
	var left []target
	for _, t := range targets {
		err := o.remove(ctx, t)
		switch {
		case err == nil:
			fmt.Fprintln(o.Out, t.ref, "deleted")
		case apierrors.IsNotFound(err):
			fmt.Fprintln(o.Out, t.ref, "is gone already")
		case isGuarded(err):
			r.denied = err
			if reason := stableReason(err); r.told[t.ref] != reason {
				r.told[t.ref] = reason
				fmt.Fprintf(o.ErrOut, "%s stays for now: %v\n", t.ref, err)
			}
			if strings.Contains(err.Error(), cascade.Forbidden) {
				r.kept++
			} else {
				left = append(left, t)
			}
		case ctx.Err() != nil && r.denied != nil:
			left = append(left, t) // the time is over: what the guards said before tells more
		default:
			return nil, fmt.Errorf("delete %s: %w", t.ref, err)
		}
	}
	return left, nil
}

// pause waits for the next try; false: the time is over.
func (o *deleteOptions) pause(ctx context.Context) bool {
	timer := time.NewTimer(deleteRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// remove deletes one object, and no other that has taken its name meanwhile.
func (o *deleteOptions) remove(ctx context.Context, t target, opts ...client.DeleteOption) error {
	uid := t.object.GetUID()
	opts = append(opts, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
	if err := o.client.Delete(ctx, t.object.DeepCopy(), opts...); err != nil {
		return err //nolint:wrapcheck // the caller names the object
	}
	return nil
}

// isGuarded tells whether a guard denied, and not, say, the user's rights.
func isGuarded(err error) bool {
	if apierrors.IsTooManyRequests(err) {
		return true
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	return apierrors.IsForbidden(err) && (strings.Contains(text, "denied the request") || strings.Contains(text, "denied request"))
}

// stableReason is a denial without what differs each time.
func stableReason(err error) string {
	text := err.Error()
	if at := strings.LastIndex(text, " (decision "); at > 0 {
		text = text[:at]
	}
	return text
}

// isPod tells whether a target is a pod.
func (t target) isPod() bool {
	return t.gvk.GroupKind() == corev1.SchemeGroupVersion.WithKind("Pod").GroupKind()
}
