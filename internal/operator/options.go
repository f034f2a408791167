package operator

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Options are the flags of the operator.
type Options struct {
	Kubeconfig      string
	SystemNamespace string
	QPS             float32
	Burst           int

	LeaderElect bool
	Identity    string

	WebhookBind    string
	WebhookURLHost string
	MetricsBind    string
	HealthBind     string
	ShutdownDelay  time.Duration

	Enable      []string
	Disable     []string
	Concurrency int
	LogLevel    string
	LogFormat   string
}

// Off is the address of a server that is not wanted.
const Off = "off"

// Defaults are the flags' values when none is given. Every server listens on loopback until it is told otherwise.
func Defaults() Options {
	return Options{
		SystemNamespace: "holdfast-system",
		QPS:             200,
		Burst:           400,
		LeaderElect:     true,
		WebhookBind:     "127.0.0.1:9443",
		MetricsBind:     "127.0.0.1:8080",
		HealthBind:      "127.0.0.1:8081",
		Concurrency:     4,
		LogLevel:        "info",
		LogFormat:       "json",
	}
}

// AddFlags binds the options to fs.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig,
		"kubeconfig of the cluster; default: the Pod's service account, else $KUBECONFIG, else ~/.kube/config")
	fs.StringVar(&o.SystemNamespace, "system-namespace", o.SystemNamespace,
		"namespace of the operator's own lease, certificate and service")
	fs.Float32Var(&o.QPS, "kube-api-qps", o.QPS,
		"requests per second to the API server, besides those of the lease, the certificate and events")
	fs.IntVar(&o.Burst, "kube-api-burst", o.Burst, "requests that may be sent at once above --kube-api-qps")
	fs.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect,
		"run the controllers in one replica at a time; only switch it off where no second operator can run")
	fs.StringVar(&o.Identity, "leader-elect-identity", o.Identity, "name of this replica in the lease; default: host name and a random part")
	fs.StringVar(&o.WebhookBind, "webhook-bind", o.WebhookBind, `address that admission and conversion are served on, or "off"`)
	fs.StringVar(&o.WebhookURLHost, "webhook-url-host", o.WebhookURLHost,
		"host by which the API server reaches an operator beside the cluster: the operator then registers its webhooks itself, by URL. "+
			"Default: none in a Pod (the manifests register the Service), else 127.0.0.1")
	fs.StringVar(&o.MetricsBind, "metrics-bind", o.MetricsBind, `address of /metrics, or "off"`)
	fs.StringVar(&o.HealthBind, "health-bind", o.HealthBind, `address of /healthz and /readyz, or "off"`)
	fs.DurationVar(&o.ShutdownDelay, "shutdown-delay", o.ShutdownDelay,
		"time that admission is still served after a stop was asked for, until the Service has stopped sending requests here")
	fs.StringSliceVar(&o.Enable, "enable", o.Enable, "parts to run; default: all. Known: "+strings.Join(partNames(Rooms()), ", "))
	fs.StringSliceVar(&o.Disable, "disable", o.Disable, "parts not to run")
	fs.IntVar(&o.Concurrency, "concurrency", o.Concurrency, "objects of one kind that are worked on at a time")
	fs.StringVar(&o.LogLevel, "log-level", o.LogLevel, "info, debug or trace")
	fs.StringVar(&o.LogFormat, "log-format", o.LogFormat, "json or text")
}

// Misuse is an error in what the user asked for, not in what happened.
type Misuse struct{ Err error } //nolint:errname // reads as what it is: operator.Misuse

func (m *Misuse) Error() string { return m.Err.Error() }
func (m *Misuse) Unwrap() error { return m.Err }

func misuse(format string, args ...any) error {
	return &Misuse{Err: fmt.Errorf(format, args...)}
}

// Validate names the first flag that cannot be obeyed, and what to write instead.
func (o *Options) Validate() error {
	switch {
	case o.SystemNamespace == "":
		return misuse("--system-namespace is empty: name the namespace that the operator keeps its lease and certificate in")
	case o.QPS <= 0:
		return misuse("--kube-api-qps is %v: give a rate above 0, such as 200", o.QPS)
	case o.Burst < 1:
		return misuse("--kube-api-burst is %d: give at least 1; twice --kube-api-qps is usual", o.Burst)
	case o.Concurrency < 1:
		return misuse("--concurrency is %d: give at least 1", o.Concurrency)
	case o.ShutdownDelay < 0:
		return misuse("--shutdown-delay is %s: give 0 or more", o.ShutdownDelay)
	}
	if err := checkLog(o.LogLevel, o.LogFormat); err != nil {
		return err
	}
	for _, bind := range []struct{ flag, address string }{
		{"--webhook-bind", o.WebhookBind}, {"--metrics-bind", o.MetricsBind}, {"--health-bind", o.HealthBind},
	} {
		if err := checkAddress(bind.flag, bind.address); err != nil {
			return err
		}
	}
	if o.Kubeconfig != "" {
		if f, err := os.Open(o.Kubeconfig); err != nil {
			return misuse("--kubeconfig: %w: name a file that this user may read", err)
		} else if err := f.Close(); err != nil {
			return misuse("--kubeconfig: %w", err)
		}
	}
	_, _, err := o.parts(Rooms())
	return err
}

func checkLog(level, format string) error {
	switch {
	case verbosity(level) < 0:
		return misuse("--log-level is %q: use info, debug or trace", level)
	case format != "json" && format != "text":
		return misuse("--log-format is %q: use json or text", format)
	}
	return nil
}

func checkAddress(flag, address string) error {
	if address == Off {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return misuse("%s is %q: use host:port, such as 127.0.0.1:8080, or %q", flag, address, Off)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return misuse("%s is %q: the port must be a number from 0 (any free one) to 65535", flag, address)
	}
	return nil
}

// parts splits the rooms into those that are to run and those that are switched off.
func (o *Options) parts(rooms []Room) (on, off []Room, err error) {
	known := partNames(rooms)
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--enable", o.Enable}, {"--disable", o.Disable}} {
		for _, name := range list.names {
			if !slices.Contains(known, name) {
				return nil, nil, misuse("%s: there is no part %q; the parts are %s", list.flag, name, strings.Join(known, ", "))
			}
		}
	}
	for _, room := range rooms {
		if slices.Contains(o.Disable, room.Name) || (len(o.Enable) > 0 && !slices.Contains(o.Enable, room.Name)) {
			off = append(off, room)
		} else {
			on = append(on, room)
		}
	}
	return on, off, nil
}

func partNames(rooms []Room) []string {
	names := make([]string, 0, len(rooms))
	for _, room := range rooms {
		names = append(names, room.Name)
	}
	return names
}

func verbosity(level string) int {
	return slices.Index([]string{"info", "debug", "trace"}, level)
}
