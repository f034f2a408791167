package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func newCreate(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a job from flags",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &Failure{Code: CodeUsage, What: "what is to be created is missing", Fix: "see " + cmd.CommandPath() + " --help"}
		},
	}
	cmd.AddCommand(newCreateBroadcastJob(newCreation(streams)), newCreateCronJob(newCreation(streams)))
	return cmd
}

// creation is what the verbs below create share: the pod to be run, and what becomes of the object.
type creation struct {
	*session
	pod    podFlags
	dryRun string
	output string
}

func newCreation(streams genericiooptions.IOStreams) *creation {
	return &creation{session: newSession(streams)}
}

// addFlags adds the flags that all share.
func (c *creation) addFlags(cmd *cobra.Command) {
	c.pod.addFlags(cmd)
	cmd.Flags().StringVar(&c.dryRun, "dry-run", "none", "client: print what would be sent; server: send it, but keep nothing")
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "name, json or yaml: print the object")
	c.flags.AddFlags(cmd.Flags())
}

// podFlags are the pod that a job runs.
type podFlags struct {
	image        string
	env          []string
	nodeSelector map[string]string
	tolerateAll  bool
	restart      string
}

func (p *podFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.image, "image", "", "the image to run (needed)")
	cmd.Flags().StringArrayVar(&p.env, "env", nil, "an environment variable, NAME=VALUE; may be repeated")
	cmd.Flags().StringToStringVar(&p.nodeSelector, "node-selector", nil, "only nodes with these labels, KEY=VALUE,...")
	cmd.Flags().BoolVar(&p.tolerateAll, "tolerate-all", false, "run on tainted and cordoned nodes, too")
	cmd.Flags().StringVar(&p.restart, "restart", "Never", "when a container fails: Never, or OnFailure")
}

// template is the pod of the flags; command is what follows "--" on the command line.
func (p *podFlags) template(name string, command []string) (corev1.PodTemplateSpec, error) {
	var template corev1.PodTemplateSpec
	if p.image == "" {
		return template, usage("--image is needed")
	}
	container := corev1.Container{Name: name, Image: p.image, Command: command}
	for _, text := range p.env {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return template, usage("--env %q is not of the form NAME=VALUE", text)
		}
		container.Env = append(container.Env, corev1.EnvVar{Name: key, Value: value})
	}
	policy := corev1.RestartPolicy(p.restart)
	if policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure {
		return template, usage("--restart is %q: it is Never or OnFailure", p.restart)
	}
	template.Spec = corev1.PodSpec{Containers: []corev1.Container{container}, RestartPolicy: policy, NodeSelector: p.nodeSelector}
	if p.tolerateAll {
		template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	return template, nil
}

// named reads NAME [-- COMMAND [ARGUMENT...]].
func (c *creation) named(cmd *cobra.Command, args []string) (name string, command []string, err error) {
	before := len(args)
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		before = dash
	}
	if before != 1 {
		return "", nil, usage("one name is needed, and the command after --: %s", cmd.UseLine())
	}
	return args[0], args[before:], nil
}

// submit creates an object of a kind from its spec, or prints it.
func (c *creation) submit(ctx context.Context, kind Kind, name string, spec any) error {
	if err := checkOutput(c.output, "name"); err != nil {
		return err
	}
	f, err := c.locate(kind, name)
	if err != nil {
		return err
	}
	object, err := newObject(f, spec)
	if err != nil {
		return err
	}
	var options []client.CreateOption
	done := "created"
	switch c.dryRun {
	case "none":
	case "client":
		return c.print(object, "created (dry run)")
	case "server":
		options, done = append(options, client.DryRunAll), "created (server dry run)"
	default:
		return usage("--dry-run is %q: it is none, client or server", c.dryRun)
	}
	if err := c.client.Create(ctx, object, options...); err != nil {
		return fmt.Errorf("create %s/%s: %w", kind.short(), name, err)
	}
	return c.print(object, done)
}

// newObject puts a spec into an object as a user would write it: without the fields that only a server fills.
func newObject(f found, spec any) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the spec of %s: %w", f.Key.Name, err)
	}
	var fields map[string]any
	if err := yaml.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("read the spec of %s: %w", f.Key.Name, err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": pruned(fields)}}
	object.SetGroupVersionKind(f.GVK)
	object.SetNamespace(f.Key.Namespace)
	object.SetName(f.Key.Name)
	return object, nil
}

// pruned leaves out what says nothing: null, and objects without fields.
func pruned(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			if field = pruned(field); field == nil {
				delete(value, key)
			} else {
				value[key] = field
			}
		}
		if len(value) == 0 {
			return nil
		}
	case []any:
		for i := range value {
			if kept := pruned(value[i]); kept != nil {
				value[i] = kept
			}
		}
	}
	return value
}

func (c *creation) print(object *unstructured.Unstructured, done string) error {
	ref := strings.ToLower(object.GetKind()) + "." + object.GroupVersionKind().Group + "/" + object.GetName()
	switch c.output {
	case "":
		fmt.Fprintln(c.Out, ref, done)
	case "name":
		fmt.Fprintln(c.Out, ref)
	default:
		return printObject(c.Out, c.output, object.Object)
	}
	return nil
}

// numberOrShare reads a flag that takes 3 or 20%.
func numberOrShare(flag, text string) (*intstr.IntOrString, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // the flag was not given, and the field is left out
	}
	value := intstr.Parse(text)
	if n, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, true); err != nil || n < 0 { //nolint:mnd // of a hundred
		return nil, usage("--%s is %q: it is a whole number of 0 or more, or a percentage", flag, text)
	}
	return &value, nil
}
