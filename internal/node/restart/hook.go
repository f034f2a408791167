package restart

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// leastGrace is what a container has to end by itself, however long its hook took.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow
const leastGrace = 2 * time.Second

// preStop runs the container's hook, as the kubelet does before it stops one; it does not when somebody else does. What the
// hook takes is taken from the grace, and what is left is returned. A hook that fails keeps nothing from being stopped.
func (r *Reconciler) preStop(ctx context.Context, p *corev1.Pod, c *corev1.Container, id string, grace time.Duration) time.Duration {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || grace <= 0 {
		return grace
	}
	begun := r.clock.Now()
	if err := r.run(ctx, p, c, id, grace); err != nil {
		reconcile.Event(ctx, corev1.EventTypeWarning, "FailedPreStopHook", "container %s: %v", c.Name, err)
	}
	return max(grace-r.clock.Since(begun), min(grace, leastGrace))
}

func (r *Reconciler) run(ctx context.Context, p *corev1.Pod, c *corev1.Container, id string, limit time.Duration) error {
	switch hook := c.Lifecycle.PreStop; {
	case hook.Exec != nil && len(hook.Exec.Command) > 0:
		return r.runtime.Exec(ctx, id, hook.Exec.Command, limit)
	case hook.HTTPGet != nil:
		return r.get(ctx, p, c, hook.HTTPGet, limit)
	case hook.Sleep != nil && hook.Sleep.Seconds > 0:
		timer := r.clock.NewTimer(min(limit, time.Duration(hook.Sleep.Seconds)*time.Second))
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		return ctx.Err() //nolint:wrapcheck // the daemon stops
	default:
		return nil // the API server knows no other that does anything
	}
}

// hookClient asks containers as the kubelet does: whoever answers on the pod's address is meant, whatever its certificate says.
func hookClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the kubelet: the answer is not read
			DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get asks a container over HTTP; any answer will do.
func (r *Reconciler) get(ctx context.Context, p *corev1.Pod, c *corev1.Container, hook *corev1.HTTPGetAction, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	where, err := address(p, c, hook)
	if err != nil {
		return err
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, where, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask its hook at %s: %w", where, err)
	}
	for _, header := range hook.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			ask.Host = header.Value
		} else {
			ask.Header.Add(header.Name, header.Value)
		}
	}
	answer, err := r.web.Do(ask)
	if err != nil {
		return fmt.Errorf("ask its hook: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // nothing is read from it any more
	if _, err := io.CopyN(io.Discard, answer.Body, 1<<16); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer of its hook: %w", err)
	}
	return nil
}

// address is where a hook is asked: a port by number or by the name that the container gives it, at the pod's own address unless
// the hook names another host.
func address(p *corev1.Pod, c *corev1.Container, hook *corev1.HTTPGetAction) (string, error) {
	port := hook.Port.IntValue()
	if hook.Port.Type == intstr.String && port == 0 {
		for _, known := range c.Ports {
			if known.Name == hook.Port.StrVal {
				port = int(known.ContainerPort)
			}
		}
	}
	host := hook.Host
	if host == "" {
		host = p.Status.PodIP
	}
	if port == 0 || host == "" {
		return "", fmt.Errorf("its hook names port %s of host %q, and there is none", hook.Port.String(), host)
	}
	where := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: hook.Path}
	if hook.Scheme == corev1.URISchemeHTTPS {
		where.Scheme = "https"
	}
	if path, query, has := strings.Cut(hook.Path, "?"); has {
		where.Path, where.RawQuery = path, query
	}
	return where.String(), nil
}
