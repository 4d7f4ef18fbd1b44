package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// A rolling update under load: how many requests fail, and how many must be sent at least for that to mean anything.
const (
	rolloutRequests = 10_000
	rolloutWorkers  = 8   // visitors who ask one after the other, each time on a new connection
	rolloutBefore   = 500 // requests before the change
	rolloutPause    = 5 * time.Millisecond
	plainName       = "plain" // of the Deployment that nobody prepared
	plainPort       = 14001
	requestTimeout  = 10 * time.Second // a visitor's patience
)

// load is a steady stream of requests.
type load struct {
	url    string
	mu     sync.Mutex
	sent   int
	failed int
	first  error
	enough chan struct{} // closed when rolloutRequests were sent
	begun  chan struct{} // closed when rolloutBefore were sent
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// startLoad asks until at least rolloutRequests were sent and end was called.
func startLoad(ctx context.Context, url string) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{url: url, enough: make(chan struct{}), begun: make(chan struct{}), stop: stop}
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	for range rolloutWorkers {
		l.done.Go(func() {
			for ctx.Err() == nil {
				err := get(ctx, client, url)
				if ctx.Err() == nil {
					l.count(err)
					_ = pause(ctx, rolloutPause)
				}
			}
		})
	}
	return l
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return err
}

func (l *load) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	switch l.sent {
	case rolloutBefore:
		close(l.begun)
	case rolloutRequests:
		close(l.enough)
	}
	if err != nil {
		l.failed++
		l.first = cmp.Or(l.first, err)
	}
}

// wait waits for one of the load's channels.
func wait(ctx context.Context, channel <-chan struct{}) error {
	select {
	case <-channel:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end waits until enough was sent and ends the stream.
func (l *load) end(ctx context.Context) error {
	err := wait(ctx, l.enough)
	l.stop()
	l.done.Wait()
	return err
}

// rollouts rolls the three replicas of the example's page under load, by up, and beside it the same image as a Deployment
// that nobody prepared, by kubectl apply.
func (b *bench) rollouts(ctx context.Context, r *report) error {
	began := strconv.FormatInt(time.Now().UnixNano(), 36)
	// The application ends as soon as it is told to, as most do: what it does else, on its own, is no merit of the platform.
	if err := b.app.set("DRAIN_DELAY", "0s"); err != nil {
		return err
	}
	if _, err := b.perch.run(ctx, "up", "--detach"); err != nil {
		return err
	}
	for round := range b.rounds {
		value := fmt.Sprintf("%s-%d", began, round)
		err := b.rollout(ctx, r, "rolling update of 3 replicas, perch up", pageURL, func(ctx context.Context) error {
			if err := b.app.set("BENCH", value); err != nil {
				return err
			}
			_, err := b.perch.run(ctx, "up", "--detach")
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := b.plain(ctx, began); err != nil {
		return err
	}
	for round := range b.rounds {
		value := fmt.Sprintf("%s-plain-%d", began, round)
		err := b.rollout(ctx, r, "the same, kubectl apply, unprepared", fmt.Sprintf("http://127.0.0.1:%d/", plainPort), func(ctx context.Context) error {
			return b.plain(ctx, value)
		})
		if err != nil {
			return err
		}
	}
	_, err := b.perch.run(ctx, "kubectl", "delete", "-n", namespace, "deployment,service", plainName)
	return err
}

// rollout makes a change under load and reports how the requests fared.
func (b *bench) rollout(ctx context.Context, r *report, name, url string, change func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
	defer cancel()
	l := startLoad(ctx, url)
	err := wait(ctx, l.begun)
	took := time.Now()
	if err == nil {
		err = change(ctx)
	}
	r.seconds(name, time.Since(took))
	if err := errors.Join(err, l.end(ctx)); err != nil {
		return err
	}
	r.count(name+": requests", l.sent)
	r.count(name+": failed requests", l.failed)
	if l.first != nil {
		fmt.Fprintf(b.log, "bench: %s: the first that failed: %v\n", name, l.first)
	}
	return nil
}

// plain applies what a first attempt at Kubernetes looks like: the image, its environment and three replicas, behind a
// Service. It waits until that is rolled out.
func (b *bench) plain(ctx context.Context, value string) error {
	live, err := b.perch.output(ctx, "kubectl", "get", "deployment", "-n", namespace, "web", "-o", "json")
	if err != nil {
		return err
	}
	objects, err := unprepared(live, value)
	if err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, b.perch.path, "kubectl", "apply", "-n", namespace, "-f", "-")
	apply.Dir, apply.Env, apply.Stdin = b.perch.dir, b.perch.env, bytes.NewReader(objects)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w\n%s", err, out)
	}
	_, err = b.perch.run(ctx, "kubectl", "rollout", "status", "-n", namespace, "deployment/"+plainName, "--timeout", "2m")
	return err
}

// unprepared makes a Deployment from a live one with nothing that makes its rollout safe: no probes, no hooks, no strategy,
// no time to stop.
func unprepared(live []byte, value string) ([]byte, error) {
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image   string
						Args    []string
						Command []string
						Env     []json.RawMessage
						EnvFrom []json.RawMessage
					} `json:"containers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(live, &d); err != nil {
		return nil, err
	}
	if len(d.Spec.Template.Spec.Containers) == 0 {
		return nil, errors.New("the Deployment of the example has no container")
	}
	c := d.Spec.Template.Spec.Containers[0]
	type object = map[string]any
	env := []any{object{"name": "BENCH", "value": value}}
	for _, e := range c.Env {
		var named struct{ Name string }
		if err := json.Unmarshal(e, &named); err != nil {
			return nil, err
		}
		if named.Name != "BENCH" {
			env = append(env, e)
		}
	}
	container := object{
		"name": plainName, "image": c.Image, "imagePullPolicy": "IfNotPresent", "env": env, "envFrom": c.EnvFrom,
		"ports": []any{object{"containerPort": 4000}},
	}
	if len(c.Command) > 0 {
		container["command"] = c.Command
	}
	if len(c.Args) > 0 {
		container["args"] = c.Args
	}
	labels := object{"app": plainName}
	return json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": []any{
		object{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": plainName},
			"spec": object{
				"replicas": 3, "selector": object{"matchLabels": labels},
				"template": object{"metadata": object{"labels": labels}, "spec": object{"containers": []any{container}}},
			},
		},
		object{
			"apiVersion": "v1", "kind": "Service", "metadata": object{"name": plainName},
			"spec": object{"type": "LoadBalancer", "selector": labels, "ports": []any{object{"port": plainPort, "targetPort": 4000}}},
		},
	}})
}
