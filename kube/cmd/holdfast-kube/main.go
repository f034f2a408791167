// Command holdfast-kube is a real Kubernetes in one binary.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"

	"github.com/holdfast-io/holdfast/kube/internal/command"
)

func main() {
	ctx := context.Background()
	if len(os.Args) > 1 {
		if component := command.Component(ctx, os.Args[1]); component != nil {
			os.Args = os.Args[1:]
			os.Exit(cli.Run(component))
		}
	}
	if err := command.Root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
