package cli

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", ""},
		{"cloneset/web", "clonesets.apps.kruise.io web"},
		{"clone web api", "clonesets.apps.kruise.io web, clonesets.apps.kruise.io api"},
		{"clonesets.apps.kruise.io/web", "clonesets.apps.kruise.io web"},
		{"CloneSets", "clonesets.apps.kruise.io "},
		{"deploy/a sts/b", "deployments.apps a, statefulsets.apps b"},
		{"statefulset db", "statefulsets.apps db"},
		{"asts/db", "statefulsets.apps.kruise.io db"},
		{"statefulset.apps.kruise.io db", "statefulsets.apps.kruise.io db"},
		{"daemonsets.v1.apps", "daemonsets.apps "},
		{"web", "? web"},
		{"pod/web-1", "pod web-1"},
		{"web/api", `error 2: unknown kind "web": the kinds are cloneset, deployment, statefulset, daemonset, asts, ads, broadcastjob, advancedcronjob, sidecarset, uniteddeployment`},
		{"cloneset/", `error 2: "cloneset/" is not TYPE/NAME`},
		{"cloneset a/b", `error 2: "a/b": after a type come names without a type`},
	} {
		t.Run(c.args, func(t *testing.T) {
			list, err := parse(strings.Fields(c.args))
			var got []string
			for _, n := range list {
				kind := "?"
				if n.Pod {
					kind = "pod"
				} else if n.Typed {
					kind = n.Kind.resource()
				}
				got = append(got, kind+" "+n.Name)
			}
			text := strings.Join(got, ", ")
			if err != nil {
				var out strings.Builder
				code := Report(&out, err)
				text = strings.TrimSpace(strings.Replace(out.String(), "error:", fmt.Sprintf("error %d:", code), 1))
			}
			if text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// TestKinds holds that no name means two kinds.
func TestKinds(t *testing.T) {
	for _, k := range kinds() {
		for _, name := range append([]string{k.resource()}, k.Names...) {
			if got, found := kindNamed(name); !found || got.groupKind() != k.groupKind() {
				t.Errorf("%s means %v, not %v", name, got.groupKind(), k.groupKind())
			}
		}
		if len(k.Paused) > 0 && len(k.Paused) > len(k.Versions) {
			t.Errorf("%s: a path of paused has no version", k.resource())
		}
	}
}
