// Package etcd keeps the cluster's data: one embedded member that only this process can reach.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// A single member waits for nobody: short ticks let it elect itself at once.
	tickMs, electionMs = 10, 100
	readyTimeout       = 60 * time.Second
	quota              = 8 << 30
)

// Config says where the data lies and how safe it must be.
type Config struct {
	Dir   string    // holds the data and the sockets
	Log   io.Writer // etcd's own log
	Fatal func(reason string)
	// NoSync leaves writing to the disk to the kernel: data survives a kill, not a power cut.
	NoSync bool
}

// Server is a running member.
type Server struct {
	member *embed.Etcd
	dir    *os.File
	// Endpoint is where clients in this process reach it.
	Endpoint string
}

// HasData says whether a member has run in dir before.
func HasData(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "snap", "db"))
	return err == nil
}

// Start runs a member until Close and returns once it serves.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of etcd: %w", explain(err, c.Dir))
	}
	if err := writable(c.Dir); err != nil {
		return nil, err
	}
	dir, err := os.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of etcd: %w", err)
	}
	// A socket's path may be 107 bytes only, and a data directory may be deeper. The open
	// directory gives it a short name that works within this process.
	base := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())))
	s := &Server{dir: dir, Endpoint: "unix://" + filepath.Join(base, "client.sock")}
	cfg, err := config(c, s.Endpoint, "unix://"+filepath.Join(base, "peer.sock"))
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if s.member, err = embed.StartEtcd(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", explain(err, c.Dir)), dir.Close())
	}
	return s, s.wait(ctx)
}

func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case <-s.member.Server.ReadyNotify():
		return nil
	case err := <-s.member.Err():
		s.Close()
		return fmt.Errorf("start etcd: %w", err)
	case <-ctx.Done():
		s.Close()
		return fmt.Errorf("etcd was not ready in time: %w", context.Cause(ctx))
	}
}

// Failed delivers the error that ended the member before Close.
func (s *Server) Failed() <-chan error { return s.member.Err() }

// Close stops the member and leaves the data as it is.
func (s *Server) Close() {
	s.member.Close()
	_ = s.dir.Close() // opened to read
}

func config(c Config, client, peer string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name = c.Dir, "default"
	cfg.UnsafeNoFsync = c.NoSync
	cfg.QuotaBackendBytes = quota
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", "5m"
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.WarningUnaryRequestDuration = 300 * time.Millisecond // at zero every request is logged
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(c))
	// What is advertised must look like host:port; nobody dials it in a cluster of one.
	for _, u := range []struct {
		to  *[]url.URL
		raw string
	}{
		{&cfg.ListenClientUrls, client},
		{&cfg.ListenPeerUrls, peer},
		{&cfg.AdvertiseClientUrls, "http://localhost:2379"},
		{&cfg.AdvertisePeerUrls, "http://localhost:2380"},
	} {
		parsed, err := url.Parse(u.raw)
		if err != nil {
			return nil, fmt.Errorf("parse etcd's address: %w", err)
		}
		*u.to = []url.URL{*parsed}
	}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return cfg, nil
}

// logger writes to the log file, and tells of a fatal fault (a full disk, a broken log) before
// the process ends.
func logger(c Config) *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	core := zapcore.NewCore(encoder, zapcore.AddSync(c.Log), zap.WarnLevel)
	return zap.New(core, zap.WithFatalHook(fatal{c}))
}

type fatal struct{ c Config }

// OnWrite ends the process as etcd wants it, after saying why in words.
func (f fatal) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	var reason strings.Builder
	reason.WriteString("etcd: " + entry.Message)
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok {
			reason.WriteString(": " + explain(err, f.c.Dir).Error())
		}
	}
	f.c.Fatal(reason.String())
	os.Exit(1)
}

// writable tries a write before etcd does, whose own answer to a full disk is a panic.
func writable(dir string) error {
	const need = 1 << 20
	file, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return fmt.Errorf("write to the data directory: %w", explain(err, dir))
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(make([]byte, need))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write to the data directory: %w", explain(err, dir))
	}
	if HasData(dir) {
		return nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("ask the file system of %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < minFree { //nolint:gosec // no block has a negative size
		return fmt.Errorf("%s has %d MB free, etcd needs %d MB to begin: free some space or choose another --data-dir",
			dir, free>>20, minFree>>20)
	}
	return nil
}

// minFree is what a new member writes at once: two segments of its log of 64 MB each.
const minFree = 160 << 20

// explain adds what the user can do.
func explain(err error, dir string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: the disk under %s is full; free some space and start again, nothing stored is lost", err, dir)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s cannot be written by this user; choose another --data-dir", err, dir)
	}
	return err
}
