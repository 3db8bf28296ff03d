// Command kube-apiserver-with-etcd is a whole Kubernetes control plane for a test run, in one process: kube-apiserver as it
// is released, and a one-member etcd that listens on a unix socket only. So one binary, one pid, one TCP port (the one that
// kube-apiserver is told), and any number of them can run side by side, in any network namespace.
//
//	kube-apiserver-with-etcd --etcd-dir DIR [--fsync] -- <kube-apiserver flags>
//
// DIR keeps etcd's data and its socket (etcd.sock), so a server that was killed comes back with what it knew.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const (
	// etcd answers within milliseconds of its start; a minute is for a machine that does a dozen other things.
	etcdStartLimit = time.Minute
	// sun_path is 108 bytes with its terminating zero.
	socketPathLimit = 107
)

func main() {
	etcdDir := flag.String("etcd-dir", "", "where etcd keeps its data and its socket (required)")
	fsync := flag.Bool("fsync", false, "let etcd wait for the disk at every write; off, a killed process loses nothing, a killed machine may")
	flag.Parse()
	if *etcdDir == "" {
		fmt.Fprintln(os.Stderr, "kube-apiserver-with-etcd: give --etcd-dir DIR")
		os.Exit(2)
	}

	etcd, socket, err := startEtcd(*etcdDir, *fsync)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-apiserver-with-etcd: etcd:", err)
		os.Exit(1)
	}
	var stopping atomic.Bool // closing etcd is reported on the same channel as its failures
	go func() {
		if err := <-etcd.Err(); err != nil && !stopping.Load() {
			fmt.Fprintln(os.Stderr, "kube-apiserver-with-etcd: etcd stopped:", err)
			os.Exit(1)
		}
	}()

	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{"--etcd-servers=unix://" + socket}, flag.Args()...))
	status := cli.Run(command) // returns on SIGTERM or SIGINT, after the open requests have ended
	stopping.Store(true)
	etcd.Close()
	os.Exit(status)
}

// startEtcd returns when etcd serves. Its peers' side listens nowhere, and the addresses that it
// would advertise stay at their defaults: nobody asks a single member for either.
func startEtcd(dir string, fsync bool) (*embed.Etcd, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", err
	}
	socket := filepath.Join(dir, "etcd.sock")
	if len(socket) > socketPathLimit {
		return nil, "", fmt.Errorf("%s is too long for a unix socket (at most %d bytes): choose a shorter --etcd-dir", socket, socketPathLimit)
	}
	// Before etcd would make it: the socket comes first.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	// What a killed predecessor left: a bind to an existing path fails.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}

	config := embed.NewConfig()
	config.Name = "test"
	config.Dir = filepath.Join(dir, "data")
	config.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	config.ListenPeerUrls = nil
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = !fsync
	config.LogLevel = "error"
	config.LogOutputs = []string{"stderr"}

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, socket, nil
	case err := <-etcd.Err():
		etcd.Close()
		return nil, "", err
	case <-time.After(etcdStartLimit):
		etcd.Close()
		return nil, "", fmt.Errorf("not ready within %s", etcdStartLimit)
	}
}
