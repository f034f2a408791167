package pki

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// Cluster is every certificate, key and kubeconfig of a control plane.
type Cluster struct {
	store *Store
	url   string
	ca    *Authority

	CA, FrontProxyCA                     Pair
	APIServer, KubeletClient, FrontProxy Pair
	Admin, ControllerManager, Scheduler  string // kubeconfigs
	Simulator, Addons                    string // kubeconfigs of our own parts
	ServiceAccountKey, EncryptionConfig  string
}

// Options are what the certificates of a cluster depend on.
type Options struct {
	Dir     string
	URL     string   // of the API server, as written in the kubeconfigs
	Hosts   []string // further names and addresses of the API server
	HasData bool     // etcd holds data already, so the key that encrypted it may not be missing
	Now     func() time.Time
}

// NewCluster makes what is missing and renews what is about to end.
func NewCluster(o Options) (*Cluster, error) {
	store, err := Open(o.Dir, o.Now)
	if err != nil {
		return nil, err
	}
	c := &Cluster{store: store, url: o.URL}
	if err := c.servers(o.Hosts); err != nil {
		return nil, err
	}
	if err := c.clients(); err != nil {
		return nil, err
	}
	if c.ServiceAccountKey, err = store.SigningKey("service-account"); err != nil {
		return nil, err
	}
	c.EncryptionConfig, err = store.encryption(o.HasData)
	return c, err
}

func (c *Cluster) servers(more []string) error {
	ca, err := c.store.Authority("ca", "holdfast-ca")
	if err != nil {
		return err
	}
	front, err := c.store.Authority("front-proxy-ca", "holdfast-front-proxy-ca")
	if err != nil {
		return err
	}
	c.ca = ca
	c.CA, c.FrontProxyCA = Pair{ca.Cert, ca.Key}, Pair{front.Cert, front.Key}
	names := []string{
		"localhost", "127.0.0.1", "10.96.0.1", "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	if c.APIServer, err = ca.Issue(Request{Name: "apiserver", CommonName: "kube-apiserver", Hosts: append(names, more...)}); err != nil {
		return err
	}
	c.KubeletClient, err = ca.Issue(Request{
		Name: "apiserver-kubelet-client", CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"},
	})
	if err != nil {
		return err
	}
	c.FrontProxy, err = front.Issue(Request{Name: "front-proxy-client", CommonName: "front-proxy-client"})
	return err
}

func (c *Cluster) clients() error {
	masters := []string{"system:masters"}
	for _, client := range []struct {
		to     *string
		name   string
		user   string
		groups []string
	}{
		{&c.Admin, "admin", "admin", masters},
		{&c.ControllerManager, "controller-manager", "system:kube-controller-manager", nil},
		{&c.Scheduler, "scheduler", "system:kube-scheduler", nil},
		{&c.Simulator, "simulator", "holdfast:simulator", masters},
		{&c.Addons, "addons", "holdfast:addons", masters},
	} {
		path, err := c.Client(client.name, client.user, client.groups...)
		if err != nil {
			return err
		}
		*client.to = path
	}
	return nil
}

// Client returns the path of a kubeconfig for that user, with a certificate of its own.
func (c *Cluster) Client(name, user string, groups ...string) (string, error) {
	return c.client(name, c.url, Request{Name: name, CommonName: user, Organization: groups})
}

// Node is what a kubelet and its kube-proxy authenticate with.
type Node struct {
	Serving                     Pair
	Kubeconfig, ProxyKubeconfig string
}

// Node returns the credentials of one node, which reaches the API server at url.
func (c *Cluster) Node(name, ip, url string) (Node, error) {
	serving, err := c.ca.Issue(Request{
		Name: "node-" + name + "-serving", CommonName: "system:node:" + name,
		Organization: []string{"system:nodes"}, Hosts: []string{name, ip},
	})
	if err != nil {
		return Node{}, err
	}
	kubelet, err := c.client("node-"+name, url, Request{
		Name: "node-" + name, CommonName: "system:node:" + name, Organization: []string{"system:nodes"},
	})
	if err != nil {
		return Node{}, err
	}
	proxy, err := c.client("node-"+name+"-proxy", url, Request{Name: "kube-proxy", CommonName: "system:kube-proxy"})
	return Node{Serving: serving, Kubeconfig: kubelet, ProxyKubeconfig: proxy}, err
}

func (c *Cluster) client(file, url string, req Request) (string, error) {
	pair, err := c.ca.Issue(req)
	if err != nil {
		return "", err
	}
	path := c.store.Path(file + ".kubeconfig")
	return path, Kubeconfig(path, url, c.CA.Cert, pair, req.CommonName)
}

// Kubeconfig writes a kubeconfig that holds its certificates in itself.
func Kubeconfig(path, url, ca string, pair Pair, user string) error {
	files := make([][]byte, 3)
	for i, name := range []string{ca, pair.Cert, pair.Key} {
		raw, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("write kubeconfig %s: %w", path, err)
		}
		files[i] = raw
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["holdfast"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: files[0]}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: files[1], ClientKeyData: files[2]}
	config.Contexts["holdfast"] = &clientcmdapi.Context{Cluster: "holdfast", AuthInfo: user}
	config.CurrentContext = "holdfast"
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", path, err)
	}
	return WriteFile(path, raw)
}

// encryption returns the file that tells the API server how to encrypt secrets; its key is made once.
func (s *Store) encryption(hasData bool) (string, error) {
	path := s.Path("encryption.yaml")
	switch _, err := os.Stat(path); {
	case err == nil:
		return path, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the encryption key: %w", err)
	case hasData:
		return "", fmt.Errorf("%s is gone, but secrets in etcd were encrypted with its key: "+
			"put it back, or remove the whole data directory to begin anew", path)
	}
	key := make([]byte, 32) // what secretbox wants
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("make the encryption key: %w", err)
	}
	raw, err := yaml.Marshal(&apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: []string{"secrets"},
			// No identity provider: a secret that is not encrypted is refused, not read.
			Providers: []apiserverv1.ProviderConfiguration{{Secretbox: &apiserverv1.SecretboxConfiguration{
				Keys: []apiserverv1.Key{{Name: "1", Secret: base64.StdEncoding.EncodeToString(key)}},
			}}},
		}},
	})
	if err != nil {
		return "", fmt.Errorf("write the encryption key: %w", err)
	}
	return path, WriteFile(path, raw)
}
