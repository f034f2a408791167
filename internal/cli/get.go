package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// getOptions are the flags of get.
type getOptions struct {
	*session
	output   string
	selector string
	watch    bool
}

func newGet(streams genericiooptions.IOStreams) *cobra.Command {
	o := &getOptions{session: newSession(streams)}
	cmd := &cobra.Command{
		Use:   "get [TYPE/NAME... | TYPE [NAME...] | NAME]",
		Short: "Show a workload as a tree: its revisions, their pods, and what each waits for",
		Long: `Show a workload as a tree: its revisions, their pods, how each pod got to its
revision, and what it waits for. Without a name, list the workloads.`,
		Example: `  kubectl holdfast get                          # all workloads of the namespace
  kubectl holdfast get cloneset/web             # one, as a tree
  kubectl holdfast get cloneset/web --watch     # follow it; in a pipe, one line per change
  kubectl holdfast get deploy -A -o json`,
		ValidArgsFunction: o.completeMany,
	}
	cmd.RunE = o.run(o.get)
	cmd.Flags().BoolVarP(&o.allSpaces, "all-namespaces", "A", false, "list the workloads of all namespaces")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "wide, json or yaml")
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "list only workloads with these labels")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on showing changes until interrupted")
	o.flags.AddFlags(cmd.Flags())
	return cmd
}

func (o *getOptions) get(ctx context.Context, args []string) error {
	if err := checkOutput(o.output, "wide"); err != nil {
		return err
	}
	asked, err := parse(args)
	if err != nil {
		return err
	}
	if len(asked) == 0 || len(asked) == 1 && asked[0].Name == "" {
		return o.getList(ctx, asked)
	}
	if o.allSpaces || o.selector != "" {
		return usage("a workload is named by its namespace and name: -A and -l are for lists")
	}
	var wanted []found
	for _, n := range asked {
		if n.Pod {
			return usage("%s is a pod: get shows workloads; kubectl holdfast why pod/%s explains a pod", n.Name, n.Name)
		}
		f, err := o.find(ctx, n)
		if err != nil {
			return err
		}
		wanted = append(wanted, f)
	}
	if !o.watch {
		return o.getTrees(ctx, wanted)
	}
	if len(wanted) > 1 {
		return usage("--watch follows one workload, or a list")
	}
	return o.watchTree(ctx, wanted[0])
}

// getTrees prints the trees of the workloads.
func (o *getOptions) getTrees(ctx context.Context, wanted []found) error {
	var trees []Tree
	for _, f := range wanted {
		s, err := o.snapshot(ctx, f)
		if err != nil {
			return err
		}
		trees = append(trees, viewTree(s, o.now()))
	}
	if o.output == "json" || o.output == "yaml" {
		if len(trees) == 1 {
			return printObject(o.Out, o.output, trees[0])
		}
		return printObject(o.Out, o.output, map[string]any{
			"apiVersion": outputVersion, "kind": "WorkloadTreeList", "items": trees,
		})
	}
	for i, tree := range trees {
		if i > 0 {
			fmt.Fprintln(o.Out)
		}
		printLines(o.Out, tree.text(o.output == "wide", o.now()))
	}
	return nil
}

// List is the workloads of a namespace, or of all.
type List struct {
	metav1.TypeMeta `json:",inline"`
	Items           []WorkloadView `json:"items"`
}

// getList prints the workloads of one kind, or of all kinds that the cluster has.
func (o *getOptions) getList(ctx context.Context, asked []named) error {
	if len(asked) == 1 && asked[0].Pod {
		return usage("get shows workloads: for pods there is kubectl get pods")
	}
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return usage("--selector: %v", err)
	}
	wanted, err := o.listed(asked)
	if err != nil {
		return err
	}
	if o.watch {
		return o.watchList(ctx, wanted, selector)
	}
	view, err := readList(ctx, o.client, wanted, selector, o.warn)
	if err != nil {
		return err
	}
	return o.printList(view)
}

// listed returns the kinds to list: that which was asked for, else all that the cluster has.
func (o *getOptions) listed(asked []named) ([]found, error) {
	if len(asked) == 1 {
		f, err := o.locate(asked[0].Kind, "")
		return []found{f}, err
	}
	var wanted []found
	for _, k := range kinds() {
		f, err := o.locate(k, "")
		if isMissing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, f)
	}
	return wanted, nil
}

// readList lists the workloads of several kinds; a kind that may not be listed is told to warn, unless it is the only one.
func readList(ctx context.Context, from client.Reader, wanted []found, selector labels.Selector, warn func(error)) (List, error) {
	view := List{TypeMeta: typeMeta("WorkloadList"), Items: []WorkloadView{}}
	for _, f := range wanted {
		workloads, err := list(ctx, from, f, client.MatchingLabelsSelector{Selector: selector})
		if err != nil {
			if len(wanted) == 1 || !isForbidden(err) {
				return List{}, err
			}
			warn(err)
		}
		for _, w := range workloads {
			view.Items = append(view.Items, viewWorkload(w))
		}
	}
	return view, nil
}

func (o *getOptions) warn(err error) { fmt.Fprintln(o.ErrOut, "warning:", err) }

func (o *getOptions) printList(view List) error {
	if o.output == "json" || o.output == "yaml" {
		return printObject(o.Out, o.output, view)
	}
	if len(view.Items) == 0 {
		place := fmt.Sprintf("namespace %q", o.namespace)
		if o.allSpaces {
			place = "any namespace"
		}
		fmt.Fprintln(o.ErrOut, "there are no workloads in", place)
		return nil
	}
	printLines(o.Out, view.text(o.allSpaces, o.output == "wide", o.now()))
	return nil
}

// text draws the list as a table.
func (l List) text(spaces, wide bool, now time.Time) []string {
	header := []string{"WORKLOAD", "DESIRED", "UPDATED", "READY", "AVAILABLE", "AGE", "ROLLOUT"}
	rows := [][]string{listCells(header, spaces, wide, "NAMESPACE", "STRATEGY", "IMAGES")}
	for _, w := range l.Items {
		created := ""
		if !now.IsZero() {
			created = age(w.Created.Time, now)
		}
		cells := []string{
			w.Ref, fmt.Sprint(w.Desired), fmt.Sprint(w.Updated), fmt.Sprint(w.Ready), fmt.Sprint(w.Available), created, statusLine(w),
		}
		rows = append(rows, listCells(cells, spaces, wide, w.Namespace, w.strategyText(), strings.Join(w.Images, ",")))
	}
	return align(rows)
}

// listCells adds the cells that flags ask for.
func listCells(cells []string, spaces, wide bool, namespace string, more ...string) []string {
	if spaces {
		cells = append([]string{namespace}, cells...)
	}
	if wide {
		cells = append(cells, more...)
	}
	return cells
}

func printLines(out io.Writer, lines []string) {
	fmt.Fprintln(out, strings.Join(lines, "\n"))
}
