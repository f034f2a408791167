// Command kubectl-holdfast is the user's verbs of Holdfast as a kubectl plugin: kubectl holdfast.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/cmd/internal/root"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	command := root.New("kubectl-holdfast", streams)
	// Help and completion name it as the user calls it.
	command.Annotations = map[string]string{"cobra_annotation_command_display_name": "kubectl holdfast"}
	os.Exit(root.Execute(command, streams))
}
