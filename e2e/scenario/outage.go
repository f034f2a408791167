package main

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

func outageScenario() scenario {
	return scenario{
		name: "outage", group: guards, title: "every replica of the operator is away",
		about: `
The operator's Deployment is scaled to 0 while a pod on a real node is on its way out and another one has finished. What kubelets
do must go on, what the guards protect must stay, and whoever needs to get out must be able to. Then the operator comes back.`,
		play: playOutage,
	}
}

const outageManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {policy.kruise.io/delete-protection: Cascading}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "registry.local/nginx:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {policy.kruise.io/delete-protection: Always}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy.kruise.io/v1beta1
kind: PodUnavailableBudget
metadata: {name: web}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxUnavailable: 0}
---
apiVersion: v1
kind: Pod
metadata: {name: slow, labels: {app: slow}}
spec:
  terminationGracePeriodSeconds: 20
  containers: [{name: main, image: "registry.local/busybox:1", command: [sh, -c, "trap '' TERM; while true; do sleep 1; done"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: finished, labels: {app: finished}}
spec: {restartPolicy: Never, containers: [{name: main, image: "registry.local/busybox:1", command: ["true"]}]}
`

func playOutage(ctx context.Context, p *play) error {
	if err := p.apply(ctx, outageManifest); err != nil {
		return err
	}
	p.atEnd(p.tidyOutage)
	for name, phase := range map[string]corev1.PodPhase{"slow": corev1.PodRunning, "finished": corev1.PodSucceeded} {
		if err := p.reaches(ctx, name, phase); err != nil {
			return err
		}
	}
	web, err := p.onePod(ctx, "web")
	if err != nil {
		return err
	}
	if err := p.enforced(ctx, "web", 0); err != nil {
		return err
	}
	slow := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "slow"}}
	if err := p.client.Get(ctx, client.ObjectKeyFromObject(slow), slow); err != nil {
		return fmt.Errorf("read pod slow: %w", err)
	}
	if err := p.client.Delete(ctx, slow); err != nil {
		return fmt.Errorf("delete pod slow: %w", err)
	}
	if err := p.takeOperatorAway(ctx); err != nil {
		return err
	}
	p.atEnd(p.bringOperatorBack)
	p.claimProtected(ctx, web, slow)
	if err := p.wayOut(ctx, web); err != nil {
		return err
	}
	return p.comeBack(ctx)
}

// reaches waits until the pod is in the phase.
func (p *play) reaches(ctx context.Context, name string, phase corev1.PodPhase) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}}
	return p.until(ctx, time.Minute, fmt.Sprintf("pod %s is %s", name, phase), func(ctx context.Context) (bool, error) {
		err := p.client.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		return pod.Status.Phase == phase, client.IgnoreNotFound(err)
	})
}

// onePod waits until the application has one pod that runs, and returns it.
func (p *play) onePod(ctx context.Context, app string) (*corev1.Pod, error) {
	var found *corev1.Pod
	return found, p.until(ctx, time.Minute, "a pod of "+app+" runs", func(ctx context.Context) (bool, error) {
		pods, err := p.pods(ctx, map[string]string{"app": app})
		if err != nil || len(pods) == 0 {
			return false, err
		}
		found = pods[0]
		return found.Status.Phase == corev1.PodRunning, nil
	})
}

// scaleOperator sets the number of replicas and waits until there are so many.
func (p *play) scaleOperator(ctx context.Context, n int) error {
	operator := p.ref("apps/v1", "Deployment", "holdfast-operator")
	operator.SetNamespace(systemNamespace)
	if err := p.merge(ctx, operator, `{"spec":{"replicas":%d}}`, n); err != nil {
		return err
	}
	return p.until(ctx, 2*time.Minute, fmt.Sprintf("%d replicas of the operator are ready", n), func(ctx context.Context) (bool, error) {
		if err := p.refresh(ctx, operator); err != nil {
			return false, err
		}
		pods, err := p.operatorPods(ctx)
		return len(pods) == n && number(operator, "status", "readyReplicas") == int64(n), err
	})
}

// takeOperatorAway kills every replica, and lets none come back.
func (p *play) takeOperatorAway(ctx context.Context) error {
	running, err := p.operatorProcesses(ctx)
	if err != nil {
		return err
	}
	operator := p.ref("apps/v1", "Deployment", "holdfast-operator")
	operator.SetNamespace(systemNamespace)
	if err := p.merge(ctx, operator, `{"spec":{"replicas":0}}`); err != nil {
		return err
	}
	for _, r := range running {
		r.kill()
	}
	cluster.Saw("killed all %d replicas of the operator", len(running))
	return p.scaleOperator(ctx, 0)
}

// claimProtected claims what holds while nobody answers.
func (p *play) claimProtected(ctx context.Context, web, slow *corev1.Pod) {
	begun := time.Now()
	err := p.gone(ctx, slow)
	p.claim(err == nil, "a kubelet finishes the pod that was on its way out (after %.1f s)%s", time.Since(begun).Seconds(), unless(err))

	finished := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "finished"}}
	err = p.client.Delete(ctx, finished)
	p.claim(err == nil, "a pod that has finished can be deleted%s", unless(err))

	service := p.ref("v1", "Service", "web")
	err = p.client.Delete(ctx, service)
	p.claimRefused(err, forbidden, "a Service labelled Always is not deleted, by the admission policy alone")
	err = p.client.Delete(ctx, p.ref("apps/v1", "Deployment", "web"))
	p.claimRefused(err, forbidden, "nor a Deployment labelled Cascading that has a replica")

	begun = time.Now()
	err = p.client.Delete(ctx, web.DeepCopy())
	p.claimRefused(err, "failed calling webhook", "a guarded pod is not deleted (refused after %.1f s)", time.Since(begun).Seconds())

	other := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "other"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.local/nginx:1"}}},
	}
	err = p.client.Create(ctx, other)
	p.claim(err == nil, "a pod that nothing of ours concerns can be made%s", unless(err))
	system := p.ref("v1", "ConfigMap", "e2e-outage")
	system.SetNamespace(metav1.NamespaceSystem)
	err = p.client.Create(ctx, system)
	p.claim(err == nil, "kube-system can be worked in%s", unless(err))
	if err == nil {
		err = p.client.Delete(ctx, system)
		p.claim(err == nil, "and things be deleted there%s", unless(err))
	}
}

// wayOut does what the documentation says for when the operator cannot be brought back.
func (p *play) wayOut(ctx context.Context, web *corev1.Pod) error {
	hooks := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "holdfast"}}
	err := p.client.Delete(ctx, hooks)
	p.claim(err == nil, "the documented way out works: kubectl delete validatingwebhookconfiguration holdfast%s", unless(err))
	err = p.until(ctx, 15*time.Second, "the pod can be deleted", func(ctx context.Context) (bool, error) {
		return p.client.Delete(ctx, web.DeepCopy()) == nil, nil
	})
	p.claim(err == nil, "after it the guarded pod can be deleted%s", unless(err))
	err = p.client.Delete(ctx, p.ref("v1", "Service", "web"))
	p.claimRefused(err, forbidden, "and the admission policy still protects the Service")
	return nil
}

// comeBack installs the operator again, and claims that the guards are back.
func (p *play) comeBack(ctx context.Context) error {
	begun := time.Now()
	if err := p.bringOperatorBack(ctx); err != nil {
		return err
	}
	p.figure("holdfast install brings everything back in", "%.1f s", time.Since(begun).Seconds())
	web, err := p.onePod(ctx, "web")
	if err != nil {
		return err
	}
	err = p.until(ctx, 30*time.Second, "the budget guards the pod again", func(ctx context.Context) (bool, error) {
		return refusedBy(p.client.Delete(ctx, web.DeepCopy(), client.DryRunAll), "PodUnavailableBudget"), nil
	})
	p.claim(err == nil, "after it the budget guards the pod again%s", unless(err))
	return nil
}

// bringOperatorBack installs it again, unless that was done.
func (p *play) bringOperatorBack(ctx context.Context) error {
	if p.installed(ctx) {
		return nil
	}
	return p.Holdfast(ctx, "install", "--replicas", fmt.Sprint(replicas), "--timeout", "3m")
}

// tidyOutage takes the protection away, so that the namespace can go.
func (p *play) tidyOutage(ctx context.Context) error {
	if err := p.remove(ctx, p.ref("policy.kruise.io/v1beta1", "PodUnavailableBudget", "web")); err != nil {
		return err
	}
	const label = `{"metadata":{"labels":{"policy.kruise.io/delete-protection":null}}}`
	for _, u := range []client.Object{p.ref("v1", "Service", "web"), p.ref("apps/v1", "Deployment", "web")} {
		if err := p.merge(ctx, u, label); err != nil {
			return err
		}
	}
	return nil
}
