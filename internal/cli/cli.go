// Package cli keeps the user's verbs honest: what they print is what the cluster holds, and what they return a script can trust.
package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Commands returns the user's verbs: get, rollout, scale and why. The verbs
// print no error themselves: the caller hands what Execute returned to Report,
// and exits with the code that Report returns.
func Commands(streams genericiooptions.IOStreams) []*cobra.Command {
	verbs := []*cobra.Command{}
	for _, verb := range verbs {
		verb.SilenceErrors, verb.SilenceUsage = true, true
	}
	return verbs
}
