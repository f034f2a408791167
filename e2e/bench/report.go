package main

import (
	"fmt"
	"strings"
	"time"
)

// missing stands for what a part does not do, or what was not measured.
const missing = "-"

// table is a Markdown table.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String writes the table with its columns aligned, so that it also reads well as text.
func (t *table) String() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var text strings.Builder
	line := func(cells []string) {
		for i, cell := range cells {
			text.WriteString("| " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+1))
		}
		text.WriteString("|\n")
	}
	line(t.head)
	for _, width := range widths {
		text.WriteString("|" + strings.Repeat("-", width+2))
	}
	text.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	return text.String()
}

// markdown is the whole report. failure is why the benchmark ended early, or nil.
func (r *results) markdown(failure error) string {
	o := r.options
	var text strings.Builder
	text.WriteString("# Performance\n\n")
	fmt.Fprintf(&text, "Written by `make bench` (`go run ./e2e/bench`): %d pods on %d simulated nodes, DaemonSets on %d, %s; updates may\n"+
		"take %s away at a time. Each kind runs beside its native counterpart in one run on one cluster, with the operator as a\n"+
		"process of its own, everything at %d requests a second with bursts of %d. The benchmark, the control plane, the simulated\n"+
		"nodes and the operator share the machine. The control plane runs with GOGC=200. A container that is changed in place is away for\n"+
		"%s (`holdfast-kube up --simulated-restart-delay`), as where the aims come from.\n\n",
		o.pods, o.nodes, o.daemonNodes, repetitions(o.count), budget, qps, burst, restartDelay)
	if o.rest > 0 {
		fmt.Fprintf(&text, "Each part and phase began after a rest of %s (`--rest`).\n\n", o.rest)
	}
	if failure != nil {
		fmt.Fprintf(&text, "**The run ended early: %v**\n\n", failure)
	}
	text.WriteString("Machine: " + machine() + "\n\n")
	text.WriteString("## Seconds until the pods are as asked\n\n" + r.seconds().String())
	text.WriteString("\nUp: 0 to all pods ready. Recreate and in place: all pods ready at the new image and no old one left.\n" +
		"Down: no pod left. On a busy machine simulated nodes may report late; Kubernetes then calls their pods unready, whatever the\n" +
		"workload does: lost with their node.\n" + r.theft())
	text.WriteString("\n## Writes per pod\n\n" + r.writes().String())
	text.WriteString("\nRequests that the API server carried out for the workload's own controllers (for the Deployment: its\n" +
		"controller and the ReplicaSet controller), status writes included, by the server's audit log; events and leases are not in it.\n" +
		"Refused are those answered with an error, which mostly is a conflict (409).\n")
	text.WriteString("\nIn the last repetition:\n\n" + r.verbs())
	text.WriteString("\n## Processor time and memory\n\n" + r.processor().String())
	text.WriteString("\nProcessor seconds per 1,000 pods. The native controllers run inside the control plane's process, so they have\n" +
		"no figure of their own: compare operator + cluster, where cluster is the whole control plane with etcd and the simulated nodes.\n")
	if len(r.restarts) > 0 {
		text.WriteString("\n## Restart of the operator\n\n" + r.restartTable().String())
		text.WriteString("\nThe operator is stopped, something is asked for, and it is started again: the time from the start of its\n" +
			"process until the API server received its first write to a pod.\n")
	}
	text.WriteString(r.more())
	text.WriteString(reference())
	return text.String()
}

// reference is what the aims were derived from.
func reference() string {
	t := &table{head: []string{
		"", "up", "recreate", "in place", "down", "writes per pod up / in place", "CPU s up / recreate / in place", "peak MB",
	}}
	t.add("native Deployment", "18.2", "24.5", missing, "10.3", "2.3 / -", "7.1 / 8.0 / -", "107")
	t.add("OpenKruise 1.9.0 CloneSet", "37.1", "60.2", "62.2", "15.0", "4.1 / 4.0", "10.1 / 20.5 / 14.5", "144 (5,000 pods: 320)")
	t.add("native StatefulSet, Parallel", "18.2", "86.7", missing, "10.1", missing, "- / 66 / -", missing)
	t.add("OpenKruise 1.9.0 StatefulSet, Parallel", "26.8", "38.0", "60.9", "13.3", "- / 4.0", missing, "144")
	return "\n## What the aims come from\n\n" +
		"Measured once on a machine of 2 cores with 100 simulated nodes, all at 1,000 requests a second, 1,000 pods. Its\n" +
		"nodes were KWOK's, with a stage that keeps a container that is changed in place away for 1 to 2 s:\n\n" + t.String()
}

// theft says in which phases the figures are not the machine's own, as on a virtual machine that has used up its share.
func (r *results) theft() string {
	var worst []string
	for _, p := range r.shown() {
		for _, phase := range p.phases {
			if share, ok := r.of(p.name, phase, func(f figure) float64 { return f.Stolen }); ok && share > stolenNoted {
				worst = append(worst, fmt.Sprintf("%s, %s: %.0f%%", p.title, phase, 100*share))
			}
		}
	}
	if len(worst) == 0 {
		return ""
	}
	return "\nIn these phases the hypervisor gave more than " + fmt.Sprintf("%.0f%%", 100*stolenNoted) +
		" of the processor time to other machines, which makes them slower:\n" + strings.Join(worst, "; ") + ".\n"
}

func repetitions(n int) string {
	if n == 1 {
		return "measured once"
	}
	return fmt.Sprintf("medians of %d repetitions", n)
}

// shown are the parts that have rows of their own and were measured.
func (r *results) shown() []part {
	var rows []part
	for _, p := range parts() {
		if p.title != "" && r.figures[p.name] != nil {
			rows = append(rows, p)
		}
	}
	return rows
}

func phases() []string { return []string{phaseUp, phaseRecreate, phaseInPlace, phaseDown} }

// cell writes a median with its ratio to the part that it is compared with, where both were measured.
func (r *results) cell(p part, phase, format string, number func(figure) float64, beside string) string {
	value, measured := r.of(p.name, phase, number)
	if !measured {
		return missing
	}
	text := fmt.Sprintf(format, value)
	if base, ok := r.of(beside, phase, number); ok && base > 0 {
		text += fmt.Sprintf(" (%.2fx)", value/base)
	}
	return text
}

func wall(f figure) float64 { return f.Wall.Seconds() }

// seconds is the table of wall times.
func (r *results) seconds() *table {
	t := &table{head: []string{"", phaseUp, phaseRecreate, phaseInPlace, phaseDown, "fewest ready during updates"}}
	for _, p := range r.shown() {
		row := []string{p.title}
		for _, phase := range phases() {
			row = append(row, r.cell(p, phase, "%.1f", wall, p.beside))
		}
		t.add(append(row, r.leastReady(p))...)
	}
	t.add("aim for CloneSet", "<= Deployment", "<= Deployment", "<= 25", "<= Deployment", fmt.Sprint(r.options.pods-r.options.pods/10))
	t.add("aim for Advanced StatefulSet", "<= 18", "<= 25", "<= 25", "<= 10", fmt.Sprint(r.options.pods-r.options.pods/10))
	return t
}

// leastReady is the smallest number of ready pods that any update of a part got down to.
func (r *results) leastReady(p part) string {
	least, lost := -1, 0
	for _, phase := range []string{phaseRecreate, phaseInPlace} {
		for _, f := range r.figures[p.name][phase] {
			if least < 0 || f.LeastReady < least {
				least = f.LeastReady
			}
			lost += f.NodeLosses
		}
	}
	if least < 0 {
		return missing
	}
	if lost > 0 {
		return fmt.Sprintf("%d (%d lost with their node)", least, lost)
	}
	return fmt.Sprint(least)
}

// writes is the table of API writes per pod.
func (r *results) writes() *table {
	t := &table{head: []string{"", phaseUp, phaseRecreate, phaseInPlace, phaseDown, "refused"}}
	for _, p := range r.shown() {
		perPod := func(f figure) float64 { return float64(f.Writes.total()) / float64(p.pods(r.options)) }
		row, refused := []string{p.title}, 0
		for _, phase := range phases() {
			row = append(row, r.cell(p, phase, "%.3f", perPod, ""))
			for _, f := range r.figures[p.name][phase] {
				refused += f.Writes.refused()
			}
		}
		t.add(append(row, fmt.Sprint(refused))...)
	}
	t.add("aim for CloneSet", "<= 1.05", missing, "<= 1.05", missing, missing)
	t.add("aim with the gate", "<= 2.05", missing, "<= 3.05", missing, missing)
	return t
}

// verbs lists what the writes of the last repetition were.
func (r *results) verbs() string {
	var text strings.Builder
	for _, p := range r.shown() {
		for _, phase := range phases() {
			if all := r.figures[p.name][phase]; len(all) > 0 {
				fmt.Fprintf(&text, "- %s, %s: %s\n", p.title, phase, all[len(all)-1].Writes)
			}
		}
	}
	return text.String()
}

// processor is the table of processor time and memory.
func (r *results) processor() *table {
	t := &table{head: []string{"", phaseUp, phaseRecreate, phaseInPlace, phaseDown, "operator's peak MB"}}
	for _, p := range r.shown() {
		per1000 := func(cpu func(figure) time.Duration) func(figure) float64 {
			return func(f figure) float64 { return cpu(f).Seconds() * 1000 / float64(p.pods(r.options)) }
		}
		operator := per1000(func(f figure) time.Duration { return f.OperatorCPU })
		cluster := per1000(func(f figure) time.Duration { return f.ClusterCPU })
		own, all := []string{p.title + ": operator"}, []string{p.title + ": cluster"}
		for _, phase := range phases() {
			own = append(own, r.cell(p, phase, "%.1f", operator, ""))
			all = append(all, r.cell(p, phase, "%.1f", cluster, ""))
		}
		if !workloads()[p.name].native {
			t.add(append(own, megabytes(r.peaks[p.name]))...)
		}
		t.add(append(all, missing)...)
	}
	t.add("aim for the operator", "<= 5.0", "<= 10.2", "<= 7.2", missing, "< 80 at 1,000 pods")
	return t
}

// megabytes is the median of sizes in MB.
func megabytes(sizes []int64) string {
	if len(sizes) == 0 {
		return missing
	}
	numbers := make([]float64, len(sizes))
	for i, size := range sizes {
		numbers[i] = float64(size) / 1e6
	}
	return fmt.Sprintf("%.0f", median(numbers))
}

// restartTable is the table of the operator's restarts.
func (r *results) restartTable() *table {
	t := &table{head: []string{
		"pods", "asked for meanwhile", "seconds to the first useful write", "operator's peak MB", "seconds 0 to all pods",
	}}
	for _, f := range r.restarts {
		first, up := fmt.Sprintf("%.2f", f.First.Seconds()), fmt.Sprintf("%.1f", f.Up.Seconds())
		t.add(fmt.Sprint(f.Pods), f.Asked, first, megabytes([]int64{f.Peak}), up)
	}
	t.add("aim at 5,000", missing, "<= 1", "< 150", missing)
	return t
}
