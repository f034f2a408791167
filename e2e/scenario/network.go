package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// resolver asks the cluster's own DNS, at one of its pods: addresses of pods are reached from the machine, those of Services
// are not.
func (p *play) resolver(ctx context.Context) (*net.Resolver, error) {
	var servers corev1.PodList
	dns := client.MatchingLabels{"k8s-app": "kube-dns"}
	if err := p.client.List(ctx, &servers, client.InNamespace(metav1.NamespaceSystem), dns); err != nil {
		return nil, fmt.Errorf("find the cluster's DNS: %w", err)
	}
	for i := range servers.Items {
		if !pod.Ready(&servers.Items[i]) || pod.Terminating(&servers.Items[i]) {
			continue
		}
		address := net.JoinHostPort(servers.Items[i].Status.PodIP, "53")
		return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
		}}, nil
	}
	return nil, errors.New("no pod of the cluster's DNS is ready")
}

// redis sends one command and returns the answer, as text.
func redis(ctx context.Context, ip, command string) (string, error) {
	connection, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(ip, "6379"))
	if err != nil {
		return "", fmt.Errorf("reach redis: %w", err)
	}
	defer func() { _ = connection.Close() }() // the answer was read
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", fmt.Errorf("reach redis: %w", err)
	}
	if _, err := io.WriteString(connection, command+"\r\n"); err != nil {
		return "", fmt.Errorf("send %s: %w", command, err)
	}
	answers := bufio.NewReader(connection)
	line, err := answers.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read the answer to %s: %w", command, err)
	}
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "+"), strings.HasPrefix(line, ":"):
		return line[1:], nil
	case strings.HasPrefix(line, "$"):
		return bulk(answers, line[1:])
	default:
		return "", fmt.Errorf("redis answers to %s: %s", command, line)
	}
}

// bulk reads a text that comes after its length; a length of -1 means none.
func bulk(answers io.Reader, length string) (string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		return "", err //nolint:wrapcheck // no such key, or a length that is none
	}
	value := make([]byte, n)
	if _, err := io.ReadFull(answers, value); err != nil {
		return "", fmt.Errorf("read a value: %w", err)
	}
	return string(value), nil
}
