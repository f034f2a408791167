package node

import (
	"encoding/json"
	"os"
	"strings"
)

// status is what a node's init says of itself in status.json.
type status struct {
	Containerd bool   `json:"containerd"`
	Images     bool   `json:"images"`
	Kubelet    bool   `json:"kubelet"`
	Proxy      bool   `json:"kubeProxy"`
	Failed     string `json:"failed,omitempty"` // why the node cannot come up
}

// Ready tells that all parts serve.
func (s status) Ready() bool { return s.waitsFor() == "" }

func (s status) waitsFor() string {
	var parts []string
	for _, p := range []struct {
		name  string
		ready bool
	}{{"containerd", s.Containerd}, {"images", s.Images}, {"kubelet", s.Kubelet}, {"kube-proxy", s.Proxy}} {
		if !p.ready {
			parts = append(parts, p.name)
		}
	}
	return strings.Join(parts, ", ")
}

func readStatus(file string) status {
	var s status
	if raw, err := os.ReadFile(file); err == nil && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return status{}
}
