package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The groups of scenarios, by what they show.
const (
	guards    = "guards"
	workloads = "workloads"
)

// scenario is one story with its claims.
type scenario struct {
	name  string // as --only and the namespace have it
	group string
	title string
	about string // what happens, and what is claimed of it
	play  func(ctx context.Context, p *play) error
}

// scenarios lists all of them, in the order in which they are played: those that take a part of the cluster away come last.
func scenarios() []scenario {
	return []scenario{
		budgetScenario(),
		talkScenario(),
		sidecarScenario(),
		unitedScenario(),
		daemonScenario(),
		environmentScenario(),
		cronScenario(),
		examplesScenario(),
		floodScenario(),
		outageScenario(),
		redisScenario(), // takes a node away: the last one
	}
}

// names are what --only takes.
func names() []string {
	all := []string{guards, workloads}
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

// choose returns the scenarios that --only names, in their own order.
func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios(), nil
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("--only: there is no scenario %q: use %s", name, strings.Join(names(), ", "))
		}
	}
	return slices.DeleteFunc(scenarios(), func(s scenario) bool {
		return !slices.Contains(wanted, s.name) && !slices.Contains(wanted, s.group)
	}), nil
}
