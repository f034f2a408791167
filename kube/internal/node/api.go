package node

import (
	"context"
	"errors"
)

var errTODO = errors.New("not there yet")

// Preflight says what this machine lacks to run real nodes and how to get it; nil when nothing is missing.
func Preflight() error { return errTODO }

// Network joins the nodes and the machine: a hub namespace with a bridge, one namespace per node, and one veth into
// the machine's own namespace with routes to nodes and pods.
type Network struct{}

// NewNetwork makes the network of the data directory dir for that many nodes, or adopts it when it is still there.
func NewNetwork(dir string, nodes int) (*Network, error) { return nil, errTODO }

// ControlPlaneIP is the address at which nodes and pods reach the API server: --advertise-address, and a name in
// the API server's certificate.
func (n *Network) ControlPlaneIP() string { return "" }

// Server is the API server's URL for the kubeconfigs of kubelet and kube-proxy; it never changes for a data directory.
func (n *Network) Server() string { return "" }

// ClusterCIDR holds all pods: --cluster-cidr of the controller-manager and of simulated nodes.
func (n *Network) ClusterCIDR() string { return "" }

// NodeIP is the address of the i-th node; its kubelet serves there on port 10250.
func (n *Network) NodeIP(i int) string { return "" }

// PodCIDR is the range of the i-th node's pods.
func (n *Network) PodCIDR(i int) string { return "" }

// Forward serves the nodes' side of the API server: it listens on ControlPlaneIP (on 6443 and on the API server's own
// port, which the kubernetes Service names) and passes each connection to 127.0.0.1:port, until ctx ends.
func (n *Network) Forward(ctx context.Context, port int) error { return errTODO }

// Close removes all namespaces, links and routes of the network.
func (n *Network) Close() error { return errTODO }

// Init is the hidden command node-init: pid 1 of a node. It returns when the node has stopped.
func Init(args []string) error { return errTODO }

// Clean removes everything that a killed run on the data directory dir left behind, except its data. It may be called
// at any time when nothing runs on dir, and again.
func Clean(dir string) error { return errTODO }
