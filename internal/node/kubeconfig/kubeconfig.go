// Package kubeconfig puts the node's context into the user's kubeconfig and takes it out again. It keeps everything else
// in the file, takes the same lock as kubectl, and replaces the file at once.
package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/perch-k8s/perch/internal/fault"
)

const (
	staleAfter = 10 * time.Second // a lock so old was left by a program that was killed
	lockFor    = 15 * time.Second
	lockStep   = 20 * time.Millisecond
)

// Merge puts the one context of node (a kubeconfig) into the file under the name, with the cluster and user of the same
// name. It becomes the current context only when the file has none: a user's choice of cluster is not ours.
func Merge(ctx context.Context, file, name string, node []byte) error {
	own, err := clientcmd.Load(node)
	if err != nil {
		return fmt.Errorf("the node's kubeconfig: %w", err)
	}
	from := own.Contexts[own.CurrentContext]
	if from == nil || own.Clusters[from.Cluster] == nil || own.AuthInfos[from.AuthInfo] == nil {
		return errors.New("the node's kubeconfig has no current context")
	}
	return edit(ctx, file, func(c *api.Config) bool {
		c.Clusters[name] = own.Clusters[from.Cluster]
		c.AuthInfos[name] = own.AuthInfos[from.AuthInfo]
		entry := c.Contexts[name] // it may have a namespace, which is the user's choice as well
		if entry == nil {
			entry = api.NewContext()
		}
		entry.Cluster, entry.AuthInfo = name, name
		c.Contexts[name] = entry
		if c.Contexts[c.CurrentContext] == nil {
			c.CurrentContext = name
		}
		return true
	})
}

// Remove takes the context of that name out of the file, with its cluster and user. A file that held nothing else is
// removed.
func Remove(ctx context.Context, file, name string) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return edit(ctx, file, func(c *api.Config) bool {
		if c.Contexts[name] == nil && c.Clusters[name] == nil && c.AuthInfos[name] == nil {
			return false
		}
		delete(c.Contexts, name)
		delete(c.Clusters, name)
		delete(c.AuthInfos, name)
		if c.CurrentContext == name {
			c.CurrentContext = ""
		}
		return true
	})
}

// edit changes the file under kubectl's lock. change tells whether there is something to write.
func edit(ctx context.Context, file string, change func(*api.Config) bool) error {
	made, err := makeParents(filepath.Dir(file))
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, file+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	config, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, os.ErrNotExist) {
		config, err = api.NewConfig(), nil
	}
	if err != nil {
		return fault.New(fault.Other, "mend or move the file, or set KUBECONFIG to another one", "%s: %w", file, err)
	}
	if !change(config) {
		return nil
	}
	if len(config.Contexts)+len(config.Clusters)+len(config.AuthInfos) == 0 {
		if made {
			return nil
		}
		return os.Remove(file)
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return replace(file, data)
}

func makeParents(dir string) (made bool, err error) {
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	return true, os.MkdirAll(dir, 0o750)
}

// lock makes the lock file that kubectl makes too. A stale one is broken: its owner was killed. So is one of a time
// to come: the clock was set back since.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockFor)
	defer cancel()
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = f.Close()
			return func() { _ = os.Remove(path) }, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()).Abs() > staleAfter {
			_ = os.Remove(path)
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Locked, "rm "+path, "the kubeconfig is locked by another program: %s", path)
		case <-time.After(lockStep):
		}
	}
}

// replace writes beside the file, following a link to where it really is, and renames. The mode is 0600: it holds keys.
func replace(file string, data []byte) error {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".kubeconfig-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
