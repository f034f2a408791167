package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func line(agent, user, verb, resource, subresource string, code int) string {
	return fmt.Sprintf(`{"kind":"Event","verb":%q,"userAgent":%q,"user":{"username":%q},"objectRef":{"resource":%q,"subresource":%q},`+
		`"responseStatus":{"code":%d},"requestReceivedTimestamp":"2030-01-01T00:00:00.250000Z"}`+"\n", verb, agent, user, resource, subresource, code)
}

func TestLedgerKnowsWhoWroteWhat(t *testing.T) {
	const admin = "kubernetes-admin"
	for _, test := range []struct {
		reason string
		line   string
		actor  string
		what   string
	}{
		{"the operator goes by its user agent", line("holdfast/v0 (linux)", admin, "create", "pods", "", 201), actorOperator, "create pods"},
		{"whichever of its clients wrote", line("holdfast-rooms", admin, "delete", "pods", "", 200), actorOperator, "delete pods"},
		{"the cluster's own parts are not the operator", line("holdfast-simulator", "holdfast:simulator", "patch", "pods", "status", 200), actorOther, "patch pods/status"},
		{"a subresource is named", line("holdfast/v0", admin, "patch", "pods", "status", 200), actorOperator, "patch pods/status"},
		{"the benchmark is not the operator", line(userAgent, admin, "patch", "clonesets", "", 200), actorBench, "patch clonesets"},
		{"a native controller goes by its account", line("kube", "system:serviceaccount:kube-system:replicaset-controller", "create", "pods", "", 201), actorNative, "create pods"},
		{"so does the node controller", line("kube", "system:serviceaccount:kube-system:node-controller", "update", "pods", "status", 200), actorNodes, "update pods/status"},
		{"everybody else is nobody's", line("kube", "system:kube-scheduler", "create", "pods", "binding", 201), actorOther, "create pods/binding"},
		{"reads are no writes", line("holdfast/v0", admin, "list", "pods", "", 200), actorOperator, ""},
		{"events are left out", line("holdfast/v0", admin, "create", "events", "", 201), actorOperator, ""},
		{"leases are left out", line("holdfast/v0", admin, "update", "leases", "", 200), actorOperator, ""},
		{"a dry run writes nothing", strings.Replace(line("holdfast-admission", admin, "create", "pods", "", 201), `{"kind"`,
			`{"requestURI":"/api/v1/namespaces/bench/pods?dryRun=All","kind"`, 1), actorOperator, ""},
		{"a refusal is no write", line("holdfast/v0", admin, "create", "pods", "", 429), actorOperator, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			l := newLedger()
			l.addLine([]byte(test.line))
			got := l.tally(test.actor)
			if want := map[bool]int{true: 1}[test.what != ""]; got.total() != want || got.Made[test.what] != want {
				t.Errorf("%s wrote %v, want %q", test.actor, got.Made, test.what)
			}
		})
	}
}

func TestLedgerFollowsTheLogIntoItsNextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(lines int) {
		text := strings.Repeat(line("holdfast/v0", "admin", "create", "pods", "", 201), lines)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(3)
	l := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.follow(ctx, path) }()
	await := func(want int) {
		t.Helper()
		testkit.Eventually(t, 10*time.Second, fmt.Sprintf("%d writes are counted", want), func(context.Context) error {
			if got := l.tally(actorOperator).total(); got != want {
				return fmt.Errorf("%d are", got)
			}
			return nil
		})
	}
	await(3)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	write(4)
	await(7)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTallySinceIsWhatCameBetween(t *testing.T) {
	before := tally{Made: map[string]int{"create pods": 2, "patch pods": 1}, Refused: map[int]int{409: 1}}
	after := tally{Made: map[string]int{"create pods": 5, "patch pods": 1, "delete pods": 9}, Refused: map[int]int{409: 2, 429: 5}}
	if got, want := after.since(before).String(), "9 delete pods, 3 create pods, 1 refused with 409, 5 refused with 429"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProcessFiguresAreReadFromProc(t *testing.T) {
	stat := "42 (odd ) name) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 9 0 100 1000 200"
	if cpu, err := parseCPU(stat); err != nil || cpu != 3*time.Second {
		t.Errorf("processor time %v (%v), want 3 s", cpu, err)
	}
	if _, err := parseCPU("nothing"); err == nil {
		t.Error("no error for what is no process status")
	}
	if peak, err := parseKB("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"); err != nil || peak != 2<<20 {
		t.Errorf("peak memory %d (%v), want 2 MiB", peak, err)
	}
	if _, err := parseKB("VmPeak: 9 kB\n", "VmHWM:"); err == nil {
		t.Error("no error for a field that is missing")
	}
}

func TestStolenTimeIsAShareOfAllTime(t *testing.T) {
	before := parseTicks("cpu  100 0 100 800 0 0 0 0 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	after := parseTicks("cpu  160 0 110 810 0 0 0 20 7 7\n")
	if got := after.stolenSince(before); got != 0.2 {
		t.Errorf("share %v, want 20 of 100", got)
	}
	if got := parseTicks("nothing").stolenSince(parseTicks("")); got != 0 {
		t.Errorf("share %v where nothing is known", got)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		numbers []float64
		want    float64
	}{{[]float64{4}, 4}, {[]float64{9, 1, 5}, 5}, {[]float64{1, 2, 4, 100}, 3}} {
		if got := median(test.numbers); got != test.want {
			t.Errorf("median of %v: %v, want %v", test.numbers, got, test.want)
		}
	}
}

func TestReportShowsFiguresBesideTheirAims(t *testing.T) {
	r := newResults(options{pods: 100, nodes: 10, count: 1})
	r.add(partDeployment, phaseUp, figure{Wall: 2 * time.Second, Writes: tally{Made: map[string]int{"create pods": 100}}})
	r.add(partCloneSet, phaseUp, figure{Wall: 3 * time.Second, OperatorCPU: time.Second / 2, Writes: tally{Made: map[string]int{"create pods": 105}}})
	r.add(partCloneSet, phaseInPlace, figure{Wall: 9 * time.Second, LeastReady: 90, Stolen: 0.25})
	r.addPeak(partCloneSet, 70e6)
	r.addRestart(restartFigure{Pods: 5000, Asked: "a new image", First: 800 * time.Millisecond})
	text := r.markdown(nil)
	for reason, want := range map[string]string{
		"the ratio to the Deployment":      "3.0 (1.50x)",
		"writes per pod":                   "1.050",
		"processor seconds per 1,000 pods": "5.0",
		"the fewest ready pods":            "| 90 ",
		"an aim":                           "<= 2.05",
		"peak memory":                      "| 70 ",
		"the restart":                      "0.80",
		"kinds of writes":                  "105 create pods",
		"the machine":                      "Linux",
		"that the machine was not alone":   "CloneSet, in place: 25%",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %s (%q):\n%s", reason, want, text)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args string
		want string // of the error
	}{
		{"--pods 10 --only cloneset,restart", ""},
		{"--only clonesets", `unknown part "clonesets"`},
		{"--pods 0", "at least 1"},
		{"--rest -1s", "--rest must not be negative"},
		{"now", "unexpected argument"},
	} {
		_, err := parse(strings.Fields(test.args))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}
