package node

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Paths inside the node's own mount namespace: short, and the same on every node.
const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdRoot   = "/run/holdfast/containerd"
	sandboxImage     = "registry.local/pause:1"
)

// spec is all that the node's init is told, kept in DIR/nodes/NAME/init.json.
type spec struct {
	Config
	NodeIP    string
	Server    string // the API server's URL
	Clusters  string // range of all pods
	Tools     tools
	Restrict  bool   // no CAP_SYS_RESOURCE: oom scores cannot be lowered
	Overlay   bool   // the data directory can carry overlayfs
	CgroupDir string // the node's cgroup below each hierarchy
}

// tools are the programs of this machine that a node runs.
type tools struct {
	Containerd, Ctr, Runc, CNI string
	Version                    int // containerd's major version
	Portmap                    bool
}

// file is one rendered configuration file in the node's folder.
type file struct{ name, text string }

// files renders all configuration of a node.
func (s spec) files() []file {
	return []file{
		{"containerd.toml", s.containerd()},
		{"kubelet.yaml", s.kubelet()},
		{"kube-proxy.yaml", s.proxy()},
		{"cni/10-holdfast.conflist", s.cni()},
		{"resolv.conf", "# nodes have no name server of their own: what is outside the cluster is not reachable\n"},
	}
}

func (s spec) containerd() string {
	snapshotter := "native"
	if s.Overlay {
		snapshotter = "overlayfs"
	}
	if s.Tools.Version >= 2 {
		return s.containerd2(snapshotter)
	}
	return fmt.Sprintf(`version = 2
root = %[1]q
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = %[2]q

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = %[3]t
  sandbox_image = %[4]q

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %[5]q
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %[6]q
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[7]q
    conf_dir = %[8]q
`, containerdRoot, containerdSocket, s.Restrict, sandboxImage, snapshotter, s.Tools.Runc, s.Tools.CNI, s.DataDir+"/cni")
}

// containerd2 is the same in the words of containerd 2: its CRI plugin is two.
func (s spec) containerd2(snapshotter string) string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = %[2]q

[plugins.'io.containerd.cri.v1.images']
  snapshotter = %[5]q

  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %[4]q

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = %[3]t

  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = %[6]q
        SystemdCgroup = false

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%[7]q]
    conf_dir = %[8]q
`, containerdRoot, containerdSocket, s.Restrict, sandboxImage, snapshotter, s.Tools.Runc, s.Tools.CNI, s.DataDir+"/cni")
}

// kubelet looks at its own state every second, and tells the API server what is new (else a node that was Ready when it
// ended takes one more round to be Ready again); the report frequency is what keeps it from writing each time.
func (s spec) kubelet() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%[1]s
enforceNodeAllocatable: [pods]
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]q}
authorization: {mode: Webhook}
tlsCertFile: %[3]q
tlsPrivateKeyFile: %[4]q
clusterDNS: [%[5]q]
clusterDomain: cluster.local
resolvConf: %[6]q
containerRuntimeEndpoint: unix://%[7]s
volumePluginDir: /var/lib/kubelet/volume-plugins
maxPods: 250
podPidsLimit: 4096
serializeImagePulls: false
syncFrequency: 5s
nodeStatusUpdateFrequency: 1s
nodeStatusReportFrequency: 1m
configMapAndSecretChangeDetectionStrategy: Watch
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%}
shutdownGracePeriod: 0s
`, s.CgroupDir, s.CACert, s.ServingCert, s.ServingKey, s.DNS, s.DataDir+"/resolv.conf", containerdSocket)
}

// proxy leaves the conntrack sysctls alone: a network namespace cannot write them.
func (s spec) proxy() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %[1]q}
clusterCIDR: %[2]s
hostnameOverride: %[3]s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {syncPeriod: 30s, minSyncPeriod: 200ms}
`, s.ProxyKubeconfig, s.Clusters, s.Name)
}

// cni gives each pod a link of its own to the node (ptp): with a bridge, the answer of a pod on the same node would
// bypass kube-proxy's translation unless the machine loads br_netfilter. portMappings (hostPort) need iptables.
func (s spec) cni() string {
	portmap := ""
	if s.Tools.Portmap {
		portmap = `,
    {"type": "portmap", "capabilities": {"portMappings": true}}`
	}
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "holdfast",
  "plugins": [
    {"type": "ptp", "ipMasq": false, "ipam": {
      "type": "host-local", "dataDir": "/run/holdfast/ipam",
      "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}%s
  ]
}
`, s.PodCIDR, portmap)
}

// containerdMajor reads the major version from the answer of `containerd --version`.
func containerdMajor(answer string) (int, error) {
	m := regexp.MustCompile(`\bv?(\d+)\.\d+\.\d+`).FindStringSubmatch(answer)
	if m == nil {
		return 0, fmt.Errorf("find the version in the answer of containerd --version: %q", strings.TrimSpace(answer))
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, fmt.Errorf("read the version of containerd: %w", err)
	}
	return major, nil
}
