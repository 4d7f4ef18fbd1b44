package metrics

import (
	"context"
	"log"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/scraper"
	metricsclient "sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/scraper/client/resource"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

const (
	resolution = 15 * time.Second       // between measurements, as metrics-server's own manifests have it
	firstPause = 500 * time.Millisecond // between the first ones: a rate needs two
	firstTimes = 20                     // and so many, until there are rates. Of a cluster without pods there never are
	timeout    = 5 * time.Second        // for the kubelet to answer
	keepFor    = 5 * time.Minute        // measuring goes on for so long after the last request
)

// meter measures while somebody asks.
type meter struct {
	log    *log.Logger
	config *rest.Config
	client kubernetes.Interface
	asks   chan chan<- http.Handler // each wants the API of what is measured
}

func newMeter(l *log.Logger, config *rest.Config, client kubernetes.Interface) *meter {
	return &meter{log: l, config: config, client: client, asks: make(chan chan<- http.Handler)}
}

// measured is the API of what is measured. It waits until there is something.
func (m *meter) measured(ctx context.Context) (http.Handler, error) {
	reply := make(chan http.Handler, 1)
	select {
	case m.asks <- reply:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case h := <-reply:
		return h, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run answers the asks until ctx ends.
func (m *meter) run(ctx context.Context) {
	for {
		select {
		case ask := <-m.asks:
			if err := m.measure(ctx, ask); err != nil && ctx.Err() == nil {
				m.log.Print("measuring: ", err)
				ask <- failed(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// failed is the API when measuring could not begin.
func failed(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	})
}

// measure measures for the first ask and those that follow, until none has come for a while.
func (m *meter) measure(ctx context.Context, first chan<- http.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, err := m.newRound(ctx)
	if err != nil {
		return err
	}
	for range firstTimes {
		r.store.Store(r.scraper.Scrape(ctx))
		if r.store.Ready() {
			break
		}
		select {
		case <-time.After(firstPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	first <- r.api
	m.goOn(ctx, r)
	return nil
}

// goOn measures at the usual pace, and answers.
func (m *meter) goOn(ctx context.Context, r *round) {
	every, idle := time.NewTicker(resolution), time.NewTimer(keepFor)
	defer every.Stop()
	defer idle.Stop()
	for {
		select {
		case <-every.C:
			r.store.Store(r.scraper.Scrape(ctx))
		case ask := <-m.asks:
			idle.Reset(keepFor)
			ask <- r.api
		case <-idle.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// round is what measuring needs, from its begin to its end.
type round struct {
	scraper scraper.Scraper
	store   storage.Storage
	api     http.Handler
}

// newRound starts to follow nodes and pods until ctx ends.
func (m *meter) newRound(ctx context.Context) (*round, error) {
	nodeInformers := informers.NewSharedInformerFactory(m.client, 0)
	nodes := nodeInformers.Core().V1().Nodes().Lister()
	nodeInformers.Core().V1().Nodes().Informer()
	metadataClient, err := metadata.NewForConfig(m.config)
	if err != nil {
		return nil, err
	}
	podInformers := metadatainformer.NewSharedInformerFactory(metadataClient, 0)
	pods := podInformers.ForResource(corev1.SchemeGroupVersion.WithResource("pods"))
	pods.Informer()
	nodeInformers.Start(ctx.Done())
	podInformers.Start(ctx.Done())
	nodeInformers.WaitForCacheSync(ctx.Done())
	podInformers.WaitForCacheSync(ctx.Done())

	kubelet, err := resource.NewForConfig(&metricsclient.KubeletClientConfig{
		Client: *m.config, Scheme: "https", DefaultPort: 10250, UseNodeStatusPort: true,
		AddressTypePriority: []corev1.NodeAddressType{corev1.NodeInternalIP},
	})
	if err != nil {
		return nil, err
	}
	store := storage.NewStorage(resolution)
	api, err := newAPI(m.config, m.client, store, pods.Lister(), nodes)
	if err != nil {
		return nil, err
	}
	return &round{scraper: scraper.NewScraper(nodes, kubelet, timeout, nil), store: store, api: api}, nil
}
