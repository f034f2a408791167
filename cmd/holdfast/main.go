// Command holdfast is the operator, the node daemon, their installer, and the user's verbs.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/cmd/internal/root"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(root.Execute(root.New("holdfast", streams, newOperator(streams), newNode(streams)), streams))
}
