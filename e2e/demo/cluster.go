package main

import (
	"context"
	"os"
	"strings"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

// startCluster starts the embedded Kubernetes, or takes the one that runs on the data directory already.
func startCluster(ctx context.Context, o options) (*cluster.Local, error) {
	c := &cluster.Local{Bin: o.bin, Dir: o.dir, Nodes: o.nodes, Simulated: o.simulated}
	if c.Running(ctx) {
		cluster.Say("A Kubernetes runs on %s already: taking that one.", o.dir)
		return c, findNodes(ctx, c)
	}
	if c.Simulated == 0 && os.Geteuid() != 0 {
		cluster.Say("Real nodes need root, and this is user %d: taking simulated nodes, on which pods become ready and nothing runs.",
			os.Geteuid())
		c.Simulated = 3
	}
	if c.Simulated > 0 {
		c.Nodes = 0
		cluster.Say("Starting a real Kubernetes with %d simulated nodes.", c.Simulated)
	} else {
		cluster.Say("Starting a real Kubernetes with %d real node(s).", c.Nodes)
	}
	return c, c.Up(ctx)
}

// findNodes tells whether the cluster that runs already has real nodes.
func findNodes(ctx context.Context, c *cluster.Local) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	nodes, err := cluster.RealNodes(ctx, client)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		c.Nodes, c.Simulated = 0, 1
	}
	return nil
}

// installHoldfast installs Holdfast into the cluster; where no pod can run, it starts the operator beside it.
func installHoldfast(ctx context.Context, c *cluster.Local) error {
	if c.Simulated == 0 {
		cluster.Say("Installing Holdfast: two replicas of the operator, in pods.")
		return c.Holdfast(ctx, "install", "--timeout", "2m")
	}
	cluster.Say("Installing Holdfast's definitions, and starting its operator beside the cluster.")
	if err := c.Holdfast(ctx, "install", "--only", "crds,namespace"); err != nil {
		return err
	}
	return c.StartOperator(ctx)
}

// goOn tells the user what to do next.
func goOn(c *cluster.Local) {
	cluster.Say("The cluster goes on running. To go on with it:")
	cluster.Saw("export KUBECONFIG=%s", c.Kubeconfig())
	if c.Beside() {
		cluster.Saw("%s %s &", c.Program("holdfast"), strings.Join(c.OperatorArgs(), " "))
	}
	cluster.Saw("%s get cloneset/web --watch", c.Program("holdfast"))
	cluster.Saw("%s why cloneset/web", c.Program("holdfast"))
	cluster.Saw("make down    # stops it; its data stays in %s", c.Dir)
}
