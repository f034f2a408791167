package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestDiff(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"same", "{a: 1}", "{a: 1}", ""},
		{"image", "{spec: {containers: [{name: a, image: x}]}}", "{spec: {containers: [{name: a, image: z}]}}", "~ spec.containers[a].image: x -> z"},
		{"a container in front", "{c: [{name: a, image: x}]}", "{c: [{name: b}, {name: a, image: x}]}", `+ c[b]: {"name":"b"}`},
		{"a list without names", "{args: [a, b]}", "{args: [a, c, d]}", "~ args[1]: b -> c\n+ args[2]: d"},
		{"a key with dots", `{annotations: {"a.io/b": x}}`, "{annotations: {}}", "- annotations[a.io/b]: x"},
		{"empty is nothing", "{spec: {resources: {}, args: []}}", "{spec: {}}", ""},
		{"but for a volume", "{volumes: [{name: a, emptyDir: {}}]}", "{volumes: [{name: a}]}", "- volumes[a].emptyDir: {}"},
		{"null is nothing", "{metadata: {creationTimestamp: null}}", "{metadata: {}}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := map[string]any{}, map[string]any{}
			load(t, c.from, &from)
			load(t, c.to, &to)
			same(t, strings.Join(diff(from, to), "\n"), c.want)
		})
	}
}

func TestHistory(t *testing.T) {
	w := web(t)
	s := Snapshot{Workload: w, Revisions: twoRevisions(t, w), Pods: []corev1.Pod{podOf("a", "aaa"), podOf("b", "bbb"), podOf("c", "aaa")}}
	same(t, strings.Join(viewHistory(s).text(at), "\n"), `
REVISION  NAME     AGE   PODS  IN FORCE  CHANGE
1         web-aaa  120m  2     current   web=nginx:1
2         web-bbb  60m   1     update    [web].image: nginx:1 -> nginx:2`)
}

func TestUndoTarget(t *testing.T) {
	w := web(t)
	s := Snapshot{Workload: w, Revisions: twoRevisions(t, w)}
	for _, c := range []struct {
		name string
		to   int64
		want string
		code int
	}{
		{"the one before", 0, "web-aaa", CodeOK},
		{"by number", 2, "web-bbb", CodeOK},
		{"none of that number", 7, "cloneset/web has no revision 7: it has 1, 2; older ones are kept up to spec.revisionHistoryLimit", CodeNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := undoTarget(s, c.to)
			var failure *Failure
			if errors.As(err, &failure) {
				if failure.Code != c.code || err.Error() != c.want {
					t.Errorf("got %d %v", failure.Code, err)
				}
			} else if got.Name != c.want {
				t.Errorf("got %s, want %s", got.Name, c.want)
			}
		})
	}
	s.Revisions = s.Revisions[1:]
	if _, err := undoTarget(s, 0); err == nil {
		t.Error("the only revision cannot be undone")
	}
}

// TestUndoPatch holds that the template is replaced whole, only in the version read, and that the cause follows it.
func TestUndoPatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		sets  []string
		cause string
		want  string
	}{
		{"no cause", nil, "", "replace /metadata/resourceVersion, replace /spec/template"},
		{"a cause, the first annotation", nil, "fix", "replace /metadata/resourceVersion, replace /spec/template, add /metadata/annotations"},
		{
			"a cause",
			[]string{"metadata.annotations: {a: b}"},
			"fix",
			"replace /metadata/resourceVersion, replace /spec/template, add /metadata/annotations/kubernetes.io~1change-cause",
		},
		{
			"the undone cause goes",
			[]string{"metadata.annotations: {kubernetes.io/change-cause: oops}"},
			"",
			"replace /metadata/resourceVersion, replace /spec/template, remove /metadata/annotations/kubernetes.io~1change-cause",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := web(t, c.sets...)
			target := twoRevisions(t, w)[0]
			target.Cause = c.cause
			raw, err := undoPatch(w, target)
			if err != nil {
				t.Fatal(err)
			}
			var patch []struct{ Op, Path string }
			if err := json.Unmarshal(raw, &patch); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range patch {
				got = append(got, p.Op+" "+p.Path)
			}
			same(t, strings.Join(got, ", "), c.want)
			if strings.Contains(string(raw), "$patch") {
				t.Error("the revision's $patch must not reach the workload")
			}
		})
	}
}
