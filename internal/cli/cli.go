// Package cli keeps the user's verbs honest: what they print is what the cluster holds, and what they return a script can trust.
package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// exitCodes ends the help of every verb.
const exitCodes = `

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed,
5 server not reached or kubeconfig unusable; more in docs/cli.md.`

// Commands returns the user's verbs: get, rollout, set, scale, scaledown, why, create, who-deleted and delete. The verbs
// print no error themselves: the caller hands what Execute returned to Report,
// and exits with the code that Report returns.
func Commands(streams genericiooptions.IOStreams) []*cobra.Command {
	verbs := []*cobra.Command{
		newGet(streams), newRollout(streams), newSet(streams), newScale(streams), newScaleDown(streams), newWhy(streams),
		newCreate(streams), newWhoDeleted(streams), newDelete(streams),
	}
	for _, verb := range verbs {
		prepare(verb)
	}
	return verbs
}

// prepare gives a verb, and those below it, what all share.
func prepare(verb *cobra.Command) {
	verb.SilenceErrors, verb.SilenceUsage = true, true
	verb.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &Failure{Code: CodeUsage, What: err.Error(), Fix: "see " + cmd.CommandPath() + " --help", Err: err}
	})
	if flag := verb.Flags().Lookup("output"); flag != nil {
		_ = verb.RegisterFlagCompletionFunc("output", completeWords("json", "yaml", "wide"))
	}
	if verb.Long == "" {
		verb.Long = verb.Short + "."
	}
	if verb.Name() != "status" { // status lists its own
		verb.Long += exitCodes
	}
	for _, below := range verb.Commands() {
		prepare(below)
	}
}
