package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// setOptions are what the verbs below set share.
type setOptions struct {
	*session
	dryRun string
	// only are the containers that are meant, with * for any letters.
	only string
	// limits and requests are the flags of set resources.
	limits, requests string
}

func newSet(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change the images, variables or resources of a workload's containers",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o := &setOptions{session: newSession(streams)}
	cmd.AddCommand(o.newImage(), o.newEnv(), o.newResources())
	cmd.PersistentFlags().StringVar(&o.dryRun, "dry-run", "none", "none; client: print what would change; server: let the server check it too")
	o.flags.AddFlags(cmd.PersistentFlags())
	return cmd
}

func (o *setOptions) newImage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image TYPE/NAME CONTAINER=IMAGE...",
		Short: "Set the images of containers",
		Example: `  kubectl holdfast set image cloneset/web nginx=nginx:1.29
  kubectl holdfast set image ud/shop '*=registry.local/shop:2'   # all containers`,
		ValidArgsFunction: o.completeOne,
	}
	cmd.RunE = o.run(o.image)
	return cmd
}

func (o *setOptions) newEnv() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "env TYPE/NAME NAME=VALUE... NAME-...",
		Short: "Set environment variables of containers, or take them out (NAME-)",
		Example: `  kubectl holdfast set env cloneset/web LOG_LEVEL=debug
  kubectl holdfast set env cloneset/web LOG_LEVEL- -c nginx`,
		ValidArgsFunction: o.completeOne,
	}
	cmd.RunE = o.run(o.env)
	o.addOnly(cmd)
	return cmd
}

func (o *setOptions) newResources() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "resources TYPE/NAME [--limits ...] [--requests ...]",
		Short:             "Set the resource limits and requests of containers",
		Example:           "  kubectl holdfast set resources cloneset/web --limits cpu=500m,memory=512Mi --requests cpu=100m",
		ValidArgsFunction: o.completeOne,
	}
	cmd.RunE = o.run(o.resources)
	cmd.Flags().StringVar(&o.limits, "limits", "", "NAME=QUANTITY,...; 0 takes a limit out")
	cmd.Flags().StringVar(&o.requests, "requests", "", "NAME=QUANTITY,...; 0 takes a request out")
	o.addOnly(cmd)
	return cmd
}

func (o *setOptions) addOnly(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.only, "containers", "c", "*", "the containers that are meant; * stands for any letters")
}

func (o *setOptions) image(ctx context.Context, args []string) error {
	named, assignments := splitAssignments(args)
	if len(assignments) == 0 {
		return usage("CONTAINER=IMAGE is missing")
	}
	return o.change(ctx, named, func(all []container) error {
		for _, one := range assignments {
			name, image, found := strings.Cut(one, "=")
			if !found || name == "" || image == "" {
				return usage("%q is not CONTAINER=IMAGE", one)
			}
			chosen, err := choose(all, name)
			if err != nil {
				return err
			}
			for _, c := range chosen {
				c["image"] = image
			}
		}
		return nil
	})
}

func (o *setOptions) env(ctx context.Context, args []string) error {
	named, assignments := splitAssignments(args)
	if len(assignments) == 0 {
		return usage("NAME=VALUE, or NAME-, is missing")
	}
	return o.change(ctx, named, func(all []container) error {
		chosen, err := choose(all, o.only)
		if err != nil {
			return err
		}
		for _, one := range assignments {
			name, value, isSet := strings.Cut(one, "=")
			if !isSet {
				name = strings.TrimSuffix(one, "-")
			}
			if wrong := validation.IsEnvVarName(name); len(wrong) > 0 {
				return usage("%q names no environment variable: %s", one, strings.Join(wrong, "; "))
			}
			for _, c := range chosen {
				c.setEnv(name, value, isSet)
			}
		}
		return nil
	})
}

func (o *setOptions) resources(ctx context.Context, args []string) error {
	if o.limits == "" && o.requests == "" {
		return usage("--limits or --requests is needed")
	}
	return o.change(ctx, args, func(all []container) error {
		chosen, err := choose(all, o.only)
		if err != nil {
			return err
		}
		for _, flag := range []struct{ field, text string }{{"limits", o.limits}, {"requests", o.requests}} {
			for _, one := range strings.FieldsFunc(flag.text, func(r rune) bool { return r == ',' }) {
				name, text, _ := strings.Cut(one, "=")
				quantity, err := resource.ParseQuantity(text)
				if err != nil || name == "" || quantity.Sign() < 0 {
					return usage("--%s: %q is not NAME=QUANTITY, such as cpu=500m or memory=512Mi", flag.field, one)
				}
				for _, c := range chosen {
					c.setResource(flag.field, name, quantity)
				}
			}
		}
		return nil
	})
}

// splitAssignments parts TYPE/NAME or TYPE NAME from what is to be set; no name of a type or an object holds a = or ends with a -.
func splitAssignments(args []string) (named, assignments []string) {
	first := slices.IndexFunc(args, func(arg string) bool { return strings.Contains(arg, "=") || strings.HasSuffix(arg, "-") })
	if first < 0 {
		return args, nil
	}
	return args[:first], args[first:]
}

// change reads a workload, changes its containers, and writes it, unless somebody has changed it meanwhile.
func (o *setOptions) change(ctx context.Context, args []string, edit func([]container) error) error {
	if o.dryRun != "none" && o.dryRun != "client" && o.dryRun != "server" {
		return usage("--dry-run=%s: it is none, client or server", o.dryRun)
	}
	_, w, err := o.get(ctx, args)
	if err != nil {
		return err
	}
	next := newWorkload(w.Kind, w.Object.DeepCopy())
	containers := next.podContainers()
	if len(containers) == 0 {
		return usage("%s has no template of a pod", w.ref())
	}
	if err := edit(containers); err != nil {
		return err
	}
	changes := diff(w.template(), next.template())
	if len(changes) == 0 {
		fmt.Fprintf(o.Out, "%s is so already\n", w.ref())
		return nil
	}
	done := "changed"
	if o.dryRun != "none" {
		done = "would be changed"
	}
	if o.dryRun != "client" {
		options := []client.PatchOption{client.FieldOwner("kubectl-holdfast")}
		if o.dryRun == "server" {
			options = append(options, client.DryRunAll)
		}
		patch := client.MergeFromWithOptions(w.Object, client.MergeFromWithOptimisticLock{})
		if err := o.client.Patch(ctx, next.Object, patch, options...); err != nil {
			return fmt.Errorf("change %s: %w", w.ref(), err)
		}
	}
	fmt.Fprintf(o.Out, "%s %s:\n  %s\n", w.ref(), done, strings.Join(changes, "\n  "))
	return nil
}

// container is one of a template, as it stands in the object: what is written into it changes the object.
type container map[string]any

// podContainers are those of the pods, the init containers last.
func (w Workload) podContainers() (all []container) {
	spec := specOf(podTemplate(w.template()))
	if w.Kind.Injects {
		spec, _ = w.Object.Object["spec"].(map[string]any)
	}
	for _, field := range []string{"containers", "initContainers"} {
		list, _ := spec[field].([]any)
		for _, one := range list {
			if c, isObject := one.(map[string]any); isObject {
				all = append(all, c)
			}
		}
	}
	return all
}

func (c container) name() string {
	name, _ := c["name"].(string)
	return name
}

// choose picks the containers of a name, in which * stands for any letters.
func choose(all []container, name string) ([]container, error) {
	var chosen []container
	var names []string
	for _, c := range all {
		names = append(names, c.name())
		matches, err := path.Match(name, c.name())
		if err != nil {
			return nil, usage("%q names no container: %v", name, err)
		}
		if matches {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, &Failure{
			Code: CodeNotFound, What: fmt.Sprintf("there is no container %q", name), Fix: "there are: " + strings.Join(names, ", "),
		}
	}
	return chosen, nil
}

// setEnv sets a variable, wherever its value came from before, or takes it out.
func (c container) setEnv(name, value string, isSet bool) {
	list, _ := c["env"].([]any)
	named := func(one any) bool {
		variable, _ := one.(map[string]any)
		return variable["name"] == name
	}
	at := slices.IndexFunc(list, named)
	switch {
	case !isSet:
		list = slices.DeleteFunc(list, named)
	case at < 0:
		list = append(list, map[string]any{"name": name, "value": value})
	default:
		list[at] = map[string]any{"name": name, "value": value}
	}
	c["env"] = list
	if len(list) == 0 {
		delete(c, "env")
	}
}

// setResource sets a limit or a request, or takes it out when it is 0.
func (c container) setResource(field, name string, quantity resource.Quantity) {
	resources, _ := c["resources"].(map[string]any)
	if resources == nil {
		resources = map[string]any{}
	}
	values, _ := resources[field].(map[string]any)
	if values == nil {
		values = map[string]any{}
	}
	values[name] = quantity.String()
	if quantity.IsZero() {
		delete(values, name)
	}
	resources[field], c["resources"] = values, resources
}
