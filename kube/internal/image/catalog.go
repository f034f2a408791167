package image

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// recipe is one archive to make.
type recipe struct {
	name  string   // of the image
	tags  []string // all with the same digest
	build func(s source) (tree, ocispec.ImageConfig, error)
}

func (r recipe) refs() []string {
	var refs []string
	for _, tag := range r.tags {
		refs = append(refs, Registry+r.name+":"+tag)
	}
	return refs
}

// file is the archive's name below the output folder.
func (r recipe) file() string { return r.name + "-" + r.tags[0] + ".tar" }

// catalog is the one list of images. nginx:2-same is nginx:2 under another name: the same digest, so a change from one to
// the other changes nothing on a node.
func catalog() []recipe {
	return []recipe{
		{"pause", []string{"1"}, own("pause")},
		{"coredns", []string{"1"}, own("coredns")},
		{"holdfast", []string{"dev"}, own("holdfast")},
		{"busybox", []string{"1"}, busybox("1")},
		{"busybox", []string{"2"}, busybox("2")},
		{"nginx", []string{"1"}, nginx("1")},
		{"nginx", []string{"2", "2-same"}, nginx("2")},
		{"redis", []string{"1"}, redis("1")},
		{"redis", []string{"2"}, redis("2")},
	}
}

// source is where the files of images come from.
type source struct {
	bin    string // folder of our own static programs
	debian debian
}

func searchPath() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}

// base is what every image has.
func base() tree {
	t := tree{}
	t.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
	t.file("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	t.file("etc/nsswitch.conf", "hosts: files dns\n")
	t.dir("tmp", fs.ModeSticky|0o777)
	return t
}

// own is an image of one of our own programs, alone in it but for the libraries of one that was built with cgo.
func own(name string) func(source) (tree, ocispec.ImageConfig, error) {
	return func(s source) (tree, ocispec.ImageConfig, error) {
		raw, err := os.ReadFile(filepath.Join(s.bin, name))
		if err != nil {
			return nil, ocispec.ImageConfig{}, fmt.Errorf("read the program: %w", err)
		}
		t := base()
		t.program(name, raw)
		if err := s.debian.libraries(t, name, raw); err != nil {
			return nil, ocispec.ImageConfig{}, err
		}
		return t, ocispec.ImageConfig{Entrypoint: []string{"/" + name}, Env: searchPath()}, nil
	}
}

func busybox(version string) func(source) (tree, ocispec.ImageConfig, error) {
	return func(s source) (tree, ocispec.ImageConfig, error) {
		raw, err := s.debian.read("/bin/busybox")
		if err != nil {
			return nil, ocispec.ImageConfig{}, err
		}
		t := base()
		applets(t, raw)
		t.file("etc/version", version+"\n")
		return t, ocispec.ImageConfig{Cmd: []string{"sh"}, Env: searchPath()}, nil
	}
}

// nginxConf writes below /tmp and to the container's log only, so that it runs on a read-only root too.
const nginxConf = `daemon off;
user nobody nogroup;
pid /tmp/nginx.pid;
error_log stderr notice;
worker_processes 1;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  types { text/html html; text/plain txt; text/css css; application/javascript js; image/svg+xml svg; }
  server_tokens off;
  server {
    listen 80;
    root /usr/share/nginx/html;
    # All files have the same time, so a browser could not tell two versions apart.
    etag off;
    if_modified_since off;
    add_header Cache-Control no-store always;
    add_header X-Version %[1]s always;
    location = /version { default_type text/plain; return 200 "%[1]s\n"; }
    location = /healthz { access_log off; return 200; }
  }
}
`

const nginxPage = "<!doctype html>\n<title>nginx %[1]s</title>\n<h1>Served by nginx, image version %[1]s</h1>\n"

func nginx(version string) func(source) (tree, ocispec.ImageConfig, error) {
	return func(s source) (tree, ocispec.ImageConfig, error) {
		t := base()
		bb, err := s.debian.read("/bin/busybox")
		if err != nil {
			return nil, ocispec.ImageConfig{}, err
		}
		applets(t, bb)
		if err := s.debian.program(t, "/usr/sbin/nginx"); err != nil {
			return nil, ocispec.ImageConfig{}, err
		}
		t.file("etc/nginx/nginx.conf", fmt.Sprintf(nginxConf, version))
		t.file("usr/share/nginx/html/index.html", fmt.Sprintf(nginxPage, version))
		t.file("etc/version", version+"\n")
		t.dir("var/log/nginx", 0o777)
		t.dir("var/lib/nginx", 0o777)
		return t, ocispec.ImageConfig{
			Entrypoint:   []string{"/usr/sbin/nginx", "-e", "stderr"},
			Env:          searchPath(),
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			// nginx's own way to stop at once is TERM; QUIT would wait for connections that clients keep open.
			StopSignal: "SIGTERM",
		}, nil
	}
}

func redis(version string) func(source) (tree, ocispec.ImageConfig, error) {
	return func(s source) (tree, ocispec.ImageConfig, error) {
		t := base()
		bb, err := s.debian.read("/bin/busybox")
		if err != nil {
			return nil, ocispec.ImageConfig{}, err
		}
		applets(t, bb)
		for _, program := range []string{"redis-server", "redis-cli"} {
			if err := s.debian.program(t, "/usr/bin/"+program); err != nil {
				return nil, ocispec.ImageConfig{}, err
			}
		}
		t.file("etc/version", version+"\n")
		t.dir("data", 0o777)
		return t, ocispec.ImageConfig{
			Entrypoint:   []string{"/usr/bin/redis-server"},
			Cmd:          []string{"--dir", "/data", "--appendonly", "yes", "--protected-mode", "no", "--bind", "0.0.0.0"},
			Env:          searchPath(),
			WorkingDir:   "/data",
			ExposedPorts: map[string]struct{}{"6379/tcp": {}},
			Volumes:      map[string]struct{}{"/data": {}},
		}, nil
	}
}
