package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// answerTimeout is how long the server may take for one answer, unless --request-timeout says otherwise.
const answerTimeout = 15 * time.Second

// session is one call of a verb: its streams, the user's kubeconfig, and the connection made from them.
type session struct {
	genericiooptions.IOStreams
	flags     *genericclioptions.ConfigFlags
	allSpaces bool
	now       func() time.Time

	config    *rest.Config
	client    client.Client
	mapper    meta.RESTMapper
	namespace string
}

func newSession(streams genericiooptions.IOStreams) *session {
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		c.QPS, c.Burst = 50, 300
		if c.Timeout == 0 {
			c.Timeout = answerTimeout
		}
		return c
	}
	return &session{IOStreams: streams, flags: flags, now: time.Now}
}

// run makes a verb's RunE: it connects, does the verb, and turns errors into failures with a fix.
func (s *session) run(verb func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := s.connect(); err != nil {
			return s.explain(err)
		}
		return s.explain(verb(ctx, args))
	}
}

// connect reads the kubeconfig and makes the client; it asks the server nothing yet.
func (s *session) connect() error {
	// The libraries log what they also return: the user gets one line, not five.
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())
	if err := s.load(); err != nil {
		return err
	}
	var err error
	if s.mapper, err = s.flags.ToRESTMapper(); err != nil {
		return fmt.Errorf("prepare discovery of %s: %w", s.config.Host, err)
	}
	s.client, err = client.New(s.config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: s.mapper})
	if err != nil {
		return fmt.Errorf("prepare the client of %s: %w", s.config.Host, err)
	}
	return nil
}

// load reads the kubeconfig.
func (s *session) load() error {
	loader := s.flags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return badKubeconfig(err)
	}
	inCluster := os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	if len(raw.Clusters) == 0 && *s.flags.APIServer == "" && !inCluster {
		looked := "~/.kube/config"
		if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
			looked = "KUBECONFIG=" + env
		}
		return &Failure{
			Code: CodeUnreachable, What: fmt.Sprintf("no cluster is configured (looked at %s)", looked),
			Fix: "name a kubeconfig file with --kubeconfig or KUBECONFIG",
		}
	}
	if s.config, err = s.flags.ToRESTConfig(); err != nil {
		return badKubeconfig(err)
	}
	if s.namespace, _, err = loader.Namespace(); err != nil {
		return badKubeconfig(err)
	}
	return nil
}

func badKubeconfig(err error) error {
	return &Failure{
		Code: CodeUnreachable, What: fmt.Sprintf("cannot use the kubeconfig: %v", err),
		Fix: "correct it, or name another one with --kubeconfig or KUBECONFIG", Err: err,
	}
}

// locate finds the version of a kind that the server has, the best that we understand.
func (s *session) locate(k Kind, name string) (found, error) {
	mapping, err := s.mapper.RESTMapping(k.groupKind(), k.Versions...)
	if err != nil {
		return found{}, missingKind(k, err)
	}
	namespace := s.namespace
	if s.allSpaces || mapping.Scope.Name() == meta.RESTScopeNameRoot {
		namespace = ""
	}
	return found{Kind: k, GVK: mapping.GroupVersionKind, Key: types.NamespacedName{Namespace: namespace, Name: name}}, nil
}

// missingKind explains a kind that the server does not have; other errors stay as they are.
func missingKind(k Kind, err error) error {
	if !meta.IsNoMatchError(err) {
		return fmt.Errorf("look up %s: %w", k.resource(), err)
	}
	fix := "the server is older than this version of the client understands"
	if k.Ours {
		fix = `install Holdfast with "holdfast install", or its CRDs alone with "holdfast install --only crds"`
	}
	return &Failure{
		Code: CodeNotFound, What: fmt.Sprintf("the cluster has no %s (%s)", k.Kind, k.resource()), Fix: fix, Err: err,
	}
}

// gvkOf is a shorthand for list kinds.
func gvkOf(f found) schema.GroupVersionKind {
	return f.GVK.GroupVersion().WithKind(f.GVK.Kind + "List")
}
