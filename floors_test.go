// Package holdfast holds no code: only this test of how the house stands. docs/house.md explains the floors.
package holdfast_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/holdfast-io/holdfast"

// floor is a set of packages that stand equally high: they import downward only, and on their own floor only as told.
type floor struct {
	name  string
	rooms []string // folders; everything below a folder belongs to its room
	apart bool     // rooms of this floor do not know each other
	why   string
}

// floors, from the ground up. The longest folder that holds a package decides.
func floors() []floor {
	return []floor{
		{name: "ground", rooms: []string{"api"}, why: "what users write depends on nothing of ours, so that others can import it"},
		{
			name: "frame", rooms: []string{"internal/reconcile", "internal/admission", "internal/osb", "internal/aws"}, apart: true,
			why: "frames serve every room and know none",
		},
		{name: "pod", rooms: []string{"internal/pod"}, why: "facts of one pod stand below every decision about pods"},
		{name: "disruption", rooms: []string{"internal/disruption"}, why: "whether a pod may go is asked by everybody above"},
		{name: "workload", rooms: []string{"internal/workload"}, why: "one engine serves every workload and knows none"},
		{
			name: "rooms", apart: true,
			rooms: []string{
				"internal/apps/*", "internal/policy/*", "internal/catalog/*", "internal/broker/*", "internal/csi", "internal/data/*",
				"internal/node", "internal/mesh/*", "internal/console",
			},
			why: "rooms meet through an API object or a lower floor, so that each can be read, tested and switched off alone",
		},
		{name: "operator", rooms: []string{"internal/operator", "internal/cli"}, why: "it puts the rooms together; no room knows it"},
		{name: "cmd", rooms: []string{"cmd"}, why: "a binary is made of everything else"},
		{name: "bench", rooms: []string{"internal/testkit", "e2e", "hack"}, why: "tests and tools stand beside the house; nothing in it needs them"},
	}
}

// homes are the packages in which a heavy or telling import may appear.
func homes() []home {
	return []home{
		{
			imports: []string{"github.com/aws/"}, in: []string{"internal/aws", "internal/broker/cloudformation"},
			why: "the AWS SDK is large, and calls that cost money are signed in one place",
		},
		{
			imports: []string{"k8s.io/cri-api", "k8s.io/cri-client", "github.com/containerd/"}, in: []string{"internal/node/cri"},
			why: "only the node daemon talks to a container runtime, and through one door",
		},
		{
			imports: []string{"github.com/spf13/cobra"}, in: []string{"internal/cli", "cmd", "e2e", "hack"},
			why: "commands belong to the binaries; what they call can be called without them",
		},
		{
			imports: []string{"k8s.io/kubernetes", module + "/kube"}, in: nil,
			why: "the embedded Kubernetes is a module and a binary of its own: importing it would cost every build ten minutes",
		},
		{
			imports: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "k8s.io/apiserver"}, notIn: pure(),
			why: "pure packages hold no client: their decisions are tested as tables",
		},
		{
			imports: []string{"testing", module + "/internal/testkit"}, in: []string{"internal/testkit", "e2e"},
			why: "test code does not ship",
		},
	}
}

// pure lists the packages, and single files, that decide and never read or write.
func pure() []string {
	return []string{
		"api", "internal/pod", "internal/disruption", "internal/mesh/shard",
		"internal/workload/order", "internal/workload/hook", "internal/workload/inplace", "internal/workload/claim",
		"internal/workload/node",
		"internal/workload/diff.go", "internal/workload/limit.go",
	}
}

type home struct {
	imports   []string // prefixes of import paths
	in, notIn []string // folders or files
	why       string
}

// source is one file of ours that ships.
type source struct {
	file    string // its path below the module's root
	imports []string
}

func TestFloors(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if why := wrongWay(folder(s.file), ours); why != "" {
					t.Errorf("%s imports %s: %s", s.file, ours, why)
				}
			}
			for _, h := range homes() {
				if h.refuses(s.file, imported) {
					t.Errorf("%s imports %s, which may not be there: %s (allowed in: %s)", s.file, imported, h.why, h.places())
				}
			}
		}
	}
}

// TestFloorsNotice shows that the rules notice what they are for.
func TestFloorsNotice(t *testing.T) {
	for _, c := range []struct{ reason, from, to, want string }{
		{"down", "internal/apps/cloneset", "internal/workload/order", ""},
		{"within a room", "internal/workload", "internal/workload/order", ""},
		{"a room below its parent", "internal/policy/autobudget", "internal/policy", ""},
		{"up", "internal/workload", "internal/apps/cloneset", "workload (floor 5) is below rooms (floor 6)"},
		{"the API imports a room", "api/apps/v1beta1", "internal/pod", "ground (floor 1) is below pod (floor 3)"},
		{"sideways", "internal/apps/cloneset", "internal/apps/statefulset", "a room never imports its neighbour"},
		{"sideways between parents", "internal/csi", "internal/node", "a room never imports its neighbour"},
		{"a frame imports a frame", "internal/reconcile", "internal/admission", "a room never imports its neighbour"},
		{"no floor", "internal/attic", "api", "stands on no floor"},
	} {
		if got := wrongWay(c.from, c.to); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s imports %s: got %q, want %q", c.reason, c.from, c.to, got, c.want)
		}
	}
	for _, c := range []struct {
		file, imported string
		refused        bool
	}{
		{"internal/workload/diff.go", "k8s.io/client-go/rest", true},
		{"internal/workload/act.go", "sigs.k8s.io/controller-runtime/pkg/client", false},
		{"internal/pod/pod.go", "sigs.k8s.io/controller-runtime/pkg/client", true},
		{"internal/apps/cloneset/cloneset.go", "github.com/spf13/cobra", true},
		{"internal/cli/get.go", "github.com/spf13/cobra", false},
		{"cmd/holdfast/main.go", "k8s.io/kubernetes/cmd/kubelet/app", true},
		{"internal/operator/operator.go", module + "/internal/testkit", true},
	} {
		refused := slices.ContainsFunc(homes(), func(h home) bool { return h.refuses(c.file, c.imported) })
		if refused != c.refused {
			t.Errorf("%s imports %s: refused %v, want %v", c.file, c.imported, refused, c.refused)
		}
	}
}

// TestNoReplace keeps the root module usable by others: their builds would not see what a replace line does.
func TestNoReplace(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") || strings.Contains(line, "=>") {
			t.Errorf("go.mod has a replace (%s): who imports our API would not get it", strings.TrimSpace(line))
		}
	}
}

// wrongWay says why one package may not import another, or nothing.
func wrongWay(from, to string) string {
	fromFloor, fromRoom := place(from)
	toFloor, toRoom := place(to)
	all := floors()
	switch {
	case fromFloor < 0:
		return from + " stands on no floor: give it one in floors_test.go and docs/house.md"
	case toFloor < 0:
		return to + " stands on no floor: give it one in floors_test.go and docs/house.md"
	case toFloor > fromFloor:
		return "imports go down only, and " + label(fromFloor) + " is below " + label(toFloor) + ": " + all[fromFloor].why
	case toFloor == fromFloor && all[fromFloor].apart && fromRoom != toRoom && !strings.HasPrefix(fromRoom, toRoom+"/"):
		return "a room never imports its neighbour: " + all[fromFloor].why
	default:
		return ""
	}
}

func label(at int) string {
	return floors()[at].name + " (floor " + strconv.Itoa(at+1) + ")"
}

// place is the floor and the room of a package. A room pattern parent/* makes a room of every folder of the parent, and
// one of the parent itself.
func place(pkg string) (at int, room string) {
	at = -1
	for i, f := range floors() {
		for _, pattern := range f.rooms {
			parent, many := strings.CutSuffix(pattern, "/*")
			if !within(pkg, parent) || len(parent) < len(room) {
				continue
			}
			at, room = i, parent
			if rest := strings.TrimPrefix(strings.TrimPrefix(pkg, parent), "/"); many && rest != "" {
				child, _, _ := strings.Cut(rest, "/")
				room = parent + "/" + child
			}
		}
	}
	return at, room
}

func (h home) refuses(file, imported string) bool {
	if !slices.ContainsFunc(h.imports, func(prefix string) bool { return strings.HasPrefix(imported, prefix) }) {
		return false
	}
	inside := func(folder string) bool { return within(file, folder) }
	if h.notIn != nil {
		return slices.ContainsFunc(h.notIn, inside)
	}
	return !slices.ContainsFunc(h.in, inside)
}

func (h home) places() string {
	switch {
	case h.notIn != nil:
		return "everywhere but " + strings.Join(h.notIn, ", ")
	case len(h.in) == 0:
		return "nowhere"
	default:
		return strings.Join(h.in, ", ")
	}
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func folder(file string) string { return filepath.ToSlash(filepath.Dir(file)) }

// sources reads the imports of every file of this module that is not a test.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "kube" || path == "tools" || path == "bin" || (path != "." && strings.HasPrefix(entry.Name(), "."))):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{file: filepath.ToSlash(path)}
		for _, i := range parsed.Imports {
			s.imports = append(s.imports, strings.Trim(i.Path.Value, `"`))
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatalf("read the sources: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("no sources found: is this the root of the module?")
	}
	return all
}
