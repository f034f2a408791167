package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy"
)

const (
	systemNamespace = "holdfast-system"
	// How much of a client's name a table shows; -o json has all.
	maxClient = 36
)

// whoOptions are the flags of who-deleted.
type whoOptions struct {
	*session
	output string
	system string
	denied bool
	limit  int
}

// Trace is what is known of who wanted to take something away.
type Trace struct {
	metav1.TypeMeta `json:",inline"`
	Decisions       []policy.Decision `json:"decisions"` // the newest first
}

func newWhoDeleted(streams genericiooptions.IOStreams) *cobra.Command {
	o := &whoOptions{session: newSession(streams)}
	cmd := &cobra.Command{
		Use:   "who-deleted [POD | TYPE/NAME]",
		Short: "Say who deleted, evicted or changed a pod, and which guard had a say",
		Long: `Say who deleted, evicted or changed a pod or a protected object, when, and what the guards
decided about it, also when it is long gone. TYPE/NAME of a workload names all its pods;
without an argument, the latest decisions of the namespace are listed.

The operator keeps about the last 16,000 decisions. Each has an id that is also in the audit
log of the API server, which knows the address that the request came from.`,
		Example: `  kubectl holdfast who-deleted web-x7k2p
  kubectl holdfast who-deleted deployment/web
  kubectl holdfast who-deleted -A --denied`,
	}
	cmd.RunE = o.run(o.who)
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json or yaml")
	cmd.Flags().StringVar(&o.system, "system-namespace", systemNamespace, "namespace of the operator, which keeps the decisions")
	cmd.Flags().BoolVarP(&o.allSpaces, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().BoolVar(&o.denied, "denied", false, "only what was denied")
	cmd.Flags().IntVar(&o.limit, "limit", 20, "how many decisions to show; 0: all that are kept")
	o.flags.AddFlags(cmd.Flags())
	return cmd
}

func (o *whoOptions) who(ctx context.Context, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if len(args) > 1 || o.limit < 0 {
		return usage("who-deleted takes one pod or object, POD or TYPE/NAME, and a limit of 0 or more")
	}
	all, err := policy.Read(ctx, o.client, o.system)
	if err != nil {
		return err
	}
	kept := o.pick(all, args)
	if len(kept) == 0 && len(args) > 0 {
		return o.unknown(ctx, args[0], len(all))
	}
	if o.limit > 0 && len(kept) > o.limit {
		kept = kept[:o.limit]
	}
	if o.output != "" {
		return printObject(o.Out, o.output, Trace{TypeMeta: typeMeta("Trace"), Decisions: kept})
	}
	printLines(o.Out, o.table(kept))
	return nil
}

// pick keeps the decisions that were asked for, by the name of the pod, of its workload, or of the object.
func (o *whoOptions) pick(all []policy.Decision, args []string) []policy.Decision {
	kind, name := "", ""
	if len(args) == 1 {
		var typed bool
		if kind, name, typed = strings.Cut(args[0], "/"); !typed {
			kind, name = "", args[0]
		}
	}
	var kept []policy.Decision
	for _, d := range all {
		space := d.Namespace == o.namespace || d.Namespace == "" || (d.Kind == "Namespace" && d.Name == o.namespace)
		if (o.allSpaces || space) && (!o.denied || d.Outcome != policy.Allowed) && isAbout(d, kind, name) {
			kept = append(kept, d)
		}
	}
	return kept
}

// isAbout tells whether a decision is about what was named; an empty name is about everything.
func isAbout(d policy.Decision, kind, name string) bool {
	if name == "" {
		return true
	}
	own, _, _ := strings.Cut(d.Kind, ".")
	if d.Name == name && sameType(kind, own) {
		return true
	}
	workload, of, _ := strings.Cut(d.Workload, "/")
	return of == name && kind != "" && sameType(kind, workload)
}

// sameType tells whether a user who typed word means a kind.
func sameType(word, kind string) bool {
	word, _, _ = strings.Cut(word, ".")
	if word == "" || strings.EqualFold(word, kind) || strings.EqualFold(word, kind+"s") {
		return true
	}
	if strings.EqualFold(kind, "Pod") {
		return word == "po"
	}
	k, known := kindNamed(word)
	return known && k.Kind == kind
}

// unknown explains that nothing is kept about a name.
func (o *whoOptions) unknown(ctx context.Context, arg string, kept int) error {
	what := fmt.Sprintf("no decision about %q in namespace %q is kept", arg, o.namespace)
	if kept == 0 {
		return &Failure{
			Code: CodeNotFound, What: what,
			Fix: fmt.Sprintf("nothing is kept in namespace %q: does the operator run there? See --system-namespace", o.system),
		}
	}
	name := arg[strings.Index(arg, "/")+1:]
	if err := o.client.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: name}, &corev1.Pod{}); err == nil {
		return &Failure{Code: CodeNotFound, What: what, Fix: "the pod is there, and nobody tried to delete it"}
	}
	return &Failure{
		Code: CodeNotFound, What: what,
		Fix: "another namespace is named with -n; the oldest of many decisions are dropped, and what the kubelet, the garbage collector " +
			"of pods and kube-system do is never asked about: the audit log of the API server has all",
	}
}

func (o *whoOptions) table(decisions []policy.Decision) []string {
	if len(decisions) == 0 {
		return []string{"no decisions"}
	}
	rows := [][]string{{"AGE", "OUTCOME", "OPERATION", "OBJECT", "BY", "GUARD", "WHY", "DECISION"}}
	for _, d := range decisions {
		rows = append(rows, []string{
			age(d.Time, o.now()), outcomeText(d), d.Operation, objectText(d, o.allSpaces), byText(d), orDash(d.Guard), orDash(whyText(d)), d.ID,
		})
	}
	return align(rows)
}

func outcomeText(d policy.Decision) string {
	if d.Times > 1 {
		return fmt.Sprintf("%s x%d", d.Outcome, d.Times)
	}
	return string(d.Outcome)
}

func objectText(d policy.Decision, withNamespace bool) string {
	kind, _, _ := strings.Cut(d.Kind, ".")
	text := strings.ToLower(kind) + "/" + d.Name
	if withNamespace && d.Namespace != "" {
		text = d.Namespace + "/" + text
	}
	if d.Workload != "" {
		text += " of " + strings.ToLower(d.Workload)
	}
	return text
}

func byText(d policy.Decision) string {
	switch {
	case d.Cause != "":
		return "the operator: " + d.Cause
	case d.Client != "":
		client := d.Client
		if len(client) > maxClient { // the hash of a certificate
			client = client[:maxClient]
		}
		return d.User + " (" + client + ")"
	}
	return orDash(d.User)
}

func whyText(d policy.Decision) string {
	switch {
	case d.BreakGlass != "":
		return "BreakGlass " + d.BreakGlass
	case d.Reason != "" && d.Notes["count"] != "":
		return d.Reason + " " + d.Notes["count"]
	}
	return d.Reason
}
