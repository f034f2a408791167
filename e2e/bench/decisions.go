package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	policyv1alpha1 "github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

const (
	// deletePath is where the operator is asked about deletions.
	deletePath = "/guard/pods/delete"
	// floodTime is how long questions come as fast as they are answered, and floodCallers how many ask at once.
	floodTime    = 6 * time.Second
	floodCallers = 4
	// answerLimit is how long the API server would wait.
	answerLimit = 3 * time.Second
)

// decisions asks the operator itself, over HTTPS, as the API server does: what is measured is a decision, not the deletion that
// follows it, which takes many times as much of the machine.
func (b *bench) decisions(ctx context.Context) error {
	if err := b.decided(ctx, ""); err != nil {
		return err
	}
	return b.withReplicas(ctx, func(ctx context.Context) error { return b.decided(ctx, fmt.Sprintf(", %d replicas", manyReplicas)) })
}

func (b *bench) decided(ctx context.Context, where string) error {
	a, err := newAsker(b.webhook)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		rate  int
		limit int32
		what  string
	}{
		{loadRate / 2, 1_000_000, "decide, allowed and written down"},
		{loadRate, 1_000_000, "decide, allowed and written down"},
		{loadRate / 2, 10_000, "decide, the same with a limit of 10,000"}, // 10 permits at a time are set aside, not 500
	} {
		what, rate := one.what+where, one.rate
		err := b.underPolicy(ctx, time.Hour, one.limit, func(ctx context.Context, p *policyv1alpha1.PodDeletionFlowControl) error {
			before, err := b.ledgerWrites(ctx, p.Name)
			if err != nil {
				return err
			}
			err = b.steady(ctx, what, deletionHook, rate, func(ctx context.Context, _ int) error {
				return a.ask(ctx, true)
			})
			if err != nil {
				return err
			}
			return b.noteWrites(ctx, p.Name, fmt.Sprintf("%s, %d/s", what, rate), rate*int(loadTime/time.Second), before)
		})
		if err != nil {
			return err
		}
	}
	return b.underPolicy(ctx, time.Hour, 1, func(ctx context.Context, _ *policyv1alpha1.PodDeletionFlowControl) error {
		if err := a.ask(ctx, true); err != nil {
			return err
		}
		if err := b.steady(ctx, "decide, denied"+where, deletionHook, loadRate, func(ctx context.Context, _ int) error {
			return a.ask(ctx, false)
		}); err != nil {
			return err
		}
		return b.flood(ctx, "decide, denied"+where, func(ctx context.Context) error { return a.ask(ctx, false) })
	})
}

// flood asks as fast as answers come.
func (b *bench) flood(ctx context.Context, what string, ask func(context.Context) error) error {
	cpu, err := b.operatorCPU()
	if err != nil {
		return err
	}
	begun := time.Now()
	var asked atomic.Int64
	failures := make([]error, floodCallers)
	var wg sync.WaitGroup
	for i := range floodCallers {
		wg.Go(func() {
			for time.Since(begun) < floodTime && failures[i] == nil {
				failures[i] = ask(ctx)
				asked.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	after, err := b.operatorCPU()
	if err != nil {
		return err
	}
	n := float64(asked.Load())
	b.results.addNote(fmt.Sprintf("%s, %d at once: decisions per second, on the machine that asks, too", what, floodCallers), missing,
		"%.0f", n/took.Seconds())
	b.results.addNote("the operator's processor seconds per 1,000 of them", "<= 0.5", "%.3f", 1000*(after-cpu).Seconds()/n)
	return nil
}

// writeFigures are what the operators have measured of the writes of a ledger, and of the decisions that were counted in it.
type writeFigures struct{ writes, decisions histogram }

func (b *bench) ledgerWrites(ctx context.Context, policy string) (writeFigures, error) {
	f := writeFigures{writes: histogram{bounds: map[float64]float64{}}, decisions: histogram{bounds: map[float64]float64{}}}
	for _, address := range b.figures() {
		for into, name := range map[*histogram]string{
			&f.writes: "holdfast_pod_deletion_ledger_write_duration_seconds", &f.decisions: "holdfast_pod_deletion_count_duration_seconds",
		} {
			one, err := scrape(ctx, http.DefaultClient, "http://"+address+"/metrics", name, `policy="`+policy+`"`)
			if err != nil {
				return f, err
			}
			into.join(&one)
		}
	}
	return f, nil
}

// noteWrites reports what the decisions since before have waited for.
func (b *bench) noteWrites(ctx context.Context, policy, where string, asked int, before writeFigures) error {
	after, err := b.ledgerWrites(ctx, policy)
	if err != nil {
		return err
	}
	writes, decisions := after.writes.since(&before.writes), after.decisions.since(&before.decisions)
	b.results.addNote("ledger writes per 100 decisions, "+where, missing, "%.1f", 100*writes.count/float64(asked))
	b.results.addNote("a ledger write, p50 and p99 ms, "+where, missing, "%.1f, %.1f", writes.quantile(.5), writes.quantile(.99))
	const atOnce = .002
	b.results.addNote("decisions that waited for one, of 100, "+where, missing, "%.1f", 100*(1-decisions.bounds[atOnce]/decisions.count))
	return nil
}

// asker asks the operator as the API server does.
type asker struct {
	url      string
	client   *http.Client
	question []byte // with placeholder for the pod's uid
}

const placeholder = "00000000-0000-0000-0000-000000000000"

func newAsker(address string) (*asker, error) {
	question, err := questionAbout(placeholder)
	if err != nil {
		return nil, err
	}
	return &asker{
		url: "https://" + address + deletePath, question: question,
		client: &http.Client{Timeout: answerLimit, Transport: &http.Transport{
			MaxIdleConnsPerHost: 100,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // an address of this machine, and nothing secret
		}},
	}, nil
}

// questionAbout is an AdmissionReview of the deletion of a pod as a cluster has it: with settings, status, and who wrote what.
func questionAbout(uid types.UID) ([]byte, error) {
	yes := true
	pod := idlePod(0, map[string]string{"app": name, "pod-template-hash": "5d4f8c7b9"})
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.UID, pod.ResourceVersion, pod.Status.Phase = uid, "12345", corev1.PodRunning
	pod.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-5d4f8c7b9", UID: "1", Controller: &yes},
	}
	env := &pod.Spec.Containers[0].Env
	for i := range 20 {
		*env = append(*env, corev1.EnvVar{Name: fmt.Sprint("SETTING_", i), Value: "some value of a setting"})
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue})
	}
	fields, err := json.Marshal(pod) // what a manager wrote is about as long as that
	if err != nil {
		return nil, fmt.Errorf("encode a pod: %w", err)
	}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: fields},
	}}
	raw, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encode a pod: %w", err)
	}
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: uid, Operation: admissionv1.Delete, Namespace: pod.Namespace, Name: pod.Name,
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			UserInfo:  authenticationv1.UserInfo{Username: "jane", Groups: []string{"dev", "system:authenticated"}},
			OldObject: runtime.RawExtension{Raw: raw},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a question: %w", err)
	}
	return text, nil
}

// ask asks about one more pod, and expects it to be allowed or not.
func (a *asker) ask(ctx context.Context, allowed bool) error {
	body := bytes.ReplaceAll(a.question, []byte(placeholder), []byte(uuid.NewUUID()))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the operator: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the operator: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	review := admissionv1.AdmissionReview{}
	if err := json.Unmarshal(text, &review); err != nil || review.Response == nil {
		return fmt.Errorf("read the answer %q: %w", text, err)
	}
	if review.Response.Allowed != allowed {
		return fmt.Errorf("allowed: %t, want %t: %v", review.Response.Allowed, allowed, review.Response.Result)
	}
	return nil
}
