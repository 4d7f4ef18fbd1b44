package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/go-runc"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/cache/remotecache"
	inlinecache "github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/executor/runcexecutor"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	snapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/winlayers"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// builder is BuildKit's controller with what must be closed after it.
type builder struct {
	controller *control.Controller
	worker     *base.Worker
	containerd *containerd.Client
	stop       context.CancelFunc
}

// open starts BuildKit on c.Containerd, after cleaning up behind a run that was killed.
func open(ctx context.Context, c Config) (_ *builder, err error) {
	cl, err := containerd.New(c.Containerd, containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(30*time.Second))
	if err != nil {
		return nil, fmt.Errorf("builder: containerd at %s: %w", c.Containerd, err)
	}
	b := &builder{containerd: cl}
	defer func() {
		if err != nil {
			err = fmt.Errorf("builder: %w", errors.Join(err, b.close()))
		}
	}()
	workerRoot := filepath.Join(c.Root, "worker")
	if err := sweepContainers(ctx, &runc.Runc{Command: c.Runc}, bundles(workerRoot)); err != nil {
		return b, err
	}
	if err := os.MkdirAll(workerRoot, 0o700); err != nil {
		return b, err
	}
	id, err := base.ID(workerRoot)
	if err != nil {
		return b, err
	}
	if err := deleteStaleLeases(ctx, cl.LeasesService(), id); err != nil {
		return b, err
	}
	opt, err := workerOptions(cl, c, id, workerRoot)
	if err != nil {
		return b, err
	}
	if b.worker, err = base.NewWorker(ctx, opt); err != nil {
		return b, errors.Join(err, opt.MetadataStore.Close())
	}
	return b, b.control(c)
}

// control puts the controller, which is BuildKit's API, on top of the worker.
func (b *builder) control(c Config) error {
	wc := &worker.Controller{}
	if err := wc.Add(b.worker); err != nil {
		return err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(c.Root, "cache.db"))
	if err != nil {
		return err
	}
	history, err := boltutil.SafeOpen(filepath.Join(c.Root, "history.db"), 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		return errors.Join(err, cache.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	none := int64(0)
	b.controller, err = control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: wc,
		Frontends:        map[string]frontend.Frontend{"dockerfile.v0": forwarder.NewGatewayForwarder(wc.Infos(), dockerfile.Build)},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"inline":   inlinecache.ResolveCacheExporterFunc(),
			"local":    localcache.ResolveCacheExporterFunc(sessions),
			"registry": registrycache.ResolveCacheExporterFunc(sessions, b.worker.RegistryHosts),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"local":    localcache.ResolveCacheImporterFunc(sessions),
			"registry": registrycache.ResolveCacheImporterFunc(sessions, b.worker.ContentStore(), b.worker.RegistryHosts),
		},
		CacheManager:   solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(wc)),
		Entitlements:   []string{"network.host", "security.insecure"}, // a build gets only what its Compose file asks for
		HistoryDB:      history,
		CacheStore:     cache,
		LeaseManager:   b.worker.LeaseManager(),
		ContentStore:   b.worker.ContentStore(),
		HistoryConfig:  &config.HistoryConfig{MaxEntries: &none}, // our records are the events; these would only fill the disk
		GarbageCollect: b.worker.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
	if err != nil {
		return errors.Join(err, cache.Close(), history.Close())
	}
	return nil
}

// close frees the cache beyond its budget, then closes everything that open opened, as far as it came.
func (b *builder) close() error {
	var errs []error
	if b.controller != nil {
		errs = append(errs, b.prune())
	}
	if b.stop != nil {
		b.stop()
	}
	switch {
	case b.controller != nil:
		errs = append(errs, b.controller.Close()) // closes the worker too
	case b.worker != nil:
		errs = append(errs, b.worker.Close())
	}
	return errors.Join(append(errs, b.containerd.Close())...)
}

// prune applies the disk budget. The controller does that by itself a minute after a build, when we may be gone.
func (b *builder) prune() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	freed := make(chan client.UsageInfo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range freed { // how much it was is nobody's concern here
		}
	}()
	err := b.worker.Prune(ctx, freed, b.worker.GCPolicy()...)
	close(freed)
	<-done
	return err
}

// workerOptions is what BuildKit's own containerd worker does, without its network proxy (a key pair at each start that
// nobody uses here) and with leases that can be told from everybody else's.
func workerOptions(cl *containerd.Client, c Config, id, root string) (base.WorkerOpt, error) {
	md, err := metadata.NewStore(filepath.Join(root, "metadata_v2.db"))
	if err != nil {
		return base.WorkerOpt{}, err
	}
	lm := leaseutil.WithNamespace(ownLeases{cl.LeasesService(), id}, namespace)
	content := snapshot.NewContentStore(cl.ContentStore(), namespace)
	networks := map[pb.NetMode]network.Provider{ // "host" is the sandbox, where pods live too
		pb.NetMode_UNSET: network.NewHostProvider(),
		pb.NetMode_HOST:  network.NewHostProvider(),
		pb.NetMode_NONE:  network.NewNoneProvider(),
	}
	executor, err := newExecutor(c, root, networks)
	if err != nil {
		return base.WorkerOpt{}, errors.Join(err, md.Close())
	}
	return base.WorkerOpt{
		ID:               id,
		Root:             root,
		MetadataStore:    md,
		NetworkProviders: networks,
		Executor:         executor,
		Snapshotter:      snapshot.NewSnapshotter(snapshotter, durable{cl.SnapshotService(snapshotter), c.Root}, namespace, nil),
		ContentStore:     content,
		Applier:          winlayers.NewFileSystemApplierWithWindows(content, cl.DiffService()),
		Differ:           winlayers.NewWalkingDiffWithWindows(content, cl.DiffService()),
		ImageStore:       cl.ImageService(),
		RegistryHosts:    registries(c.Registries),
		Platforms:        []ocispec.Platform{platforms.Normalize(platforms.DefaultSpec())},
		LeaseManager:     lm,
		GarbageCollect:   collect(lm),
		MountPoolRoot:    filepath.Join(root, "cachemounts"),
		GCPolicy: []client.PruneInfo{{
			All: true, ReservedSpace: min(1<<30, c.Keep/4), MaxUsedSpace: c.Keep, MinFreeSpace: 1 << 30,
		}},
	}, nil
}

// registries finds a registry's mirrors and certificates in the first of the folders that has one for it. They are looked for
// when an image is, so that a change needs no restart.
func registries(folders []string) docker.RegistryHosts {
	return hosts.ConfigureHosts(context.Background(), hosts.HostOptions{HostDir: func(host string) (string, error) {
		for _, f := range folders {
			if dir, err := hosts.HostDirFromRoot(f)(host); err == nil {
				return dir, nil
			}
		}
		return "", nil
	}})
}

// bundles is where runc finds what to run: a folder for each RUN, while it runs.
func bundles(root string) string { return filepath.Join(root, "executor") }

// newExecutor runs each RUN by runc itself. A task of containerd would cost a shim and a dozen more calls for what needs
// neither: nobody attaches to it, and it ends with its builder.
func newExecutor(c Config, root string, n map[pb.NetMode]network.Provider) (executor.Executor, error) {
	monitor, err := resources.NewMonitor()
	if err != nil {
		return nil, err
	}
	o := runcexecutor.Opt{
		Root:                bundles(root),
		CommandCandidates:   []string{c.Runc},
		DefaultCgroupParent: c.CgroupParent,
		ProcessMode:         oci.ProcessSandbox,
		ResourceMonitor:     monitor,
	}
	if len(c.Nameservers) > 0 {
		o.DNS = &oci.DNSConfig{Nameservers: c.Nameservers}
	}
	return runcexecutor.New(o, n)
}

// collect makes containerd's garbage collector run now: deleting a lease synchronously is how it is asked.
func collect(lm leases.Manager) func(context.Context) (gc.Stats, error) {
	return func(ctx context.Context) (gc.Stats, error) {
		l, err := lm.Create(ctx, leases.WithRandomID())
		if err != nil {
			return nil, nil //nolint:nilerr // the collector runs by itself later
		}
		return nil, lm.Delete(ctx, l, leases.SynchronousDelete)
	}
}
