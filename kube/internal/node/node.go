// Package node keeps real nodes on this machine: each node is one tree of processes (containerd, kubelet,
// kube-proxy and the pods' containers) in namespaces of its own, which comes up, survives the death of any of its
// parts, and goes without a trace.
package node

import "context"

// Config says what one node is made of.
type Config struct {
	Name    string // name of the Node object and the node's hostname
	Index   int    // place of the node in the network, from 0
	DataDir string // the node's own folder, DIR/nodes/NAME; kept between runs
	Exe     string // path of the holdfast-kube binary, which has the hidden commands node-init, kubelet and kube-proxy

	Kubeconfig      string // the kubelet's kubeconfig; its server is Network.Server()
	ProxyKubeconfig string // kube-proxy's kubeconfig; its server is Network.Server()
	CACert          string // CA that signs clients of the kubelet's API
	ServingCert     string // the kubelet's serving certificate, valid for Network.NodeIP(Index) and Name
	ServingKey      string

	PodCIDR string   // Network.PodCIDR(Index)
	Images  []string // OCI archives that every node has without a registry
	DNS     string   // the cluster's DNS address
	Log     func(format string, args ...any)
}

// Node is one running node.
type Node struct {
	cfg Config
	net *Network
	pid int // of the node's init, in the machine's pid namespace
}

// Start brings the node up, or adopts it when it is still running from a control plane that died. It does not need
// the API server: the kubelet keeps trying to register until the server answers.
func Start(ctx context.Context, cfg Config, net *Network) (*Node, error) { return nil, errTODO }

// Ready waits until containerd, the kubelet and kube-proxy serve and all images are there.
func (n *Node) Ready(ctx context.Context) error { return errTODO }

// Stop ends the node's containers and processes, and removes its mounts, cgroups and links; its data stays.
func (n *Node) Stop(ctx context.Context) error { return errTODO }

// Pid is the process id of the node's init; killing it loses the whole node at once.
func (n *Node) Pid() int { return n.pid }

// Done is closed when the node's init has ended, whoever ended it.
func (n *Node) Done() <-chan struct{} { return nil }
