package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// proven is an application of a page and of something that answers by TCP only. The page is served as soon as its process
// is there, or after SLOW seconds; what readiness there is comes in as HEALTH.
const proven = `
name: proven
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "mkdir -p /tmp/www; echo \"$$TEXT\" > /tmp/www/index.html; sleep $$SLOW; exec httpd -f -p 8080 -h /tmp/www"]
    environment:
      TEXT: @TEXT@
      SLOW: "@SLOW@"
    ports: ["@WEB@:8080"]
    deploy: {replicas: 2}
    healthcheck: @HEALTH@
  echo:
    image: busybox:1.36
    command: ["nc", "-ll", "-p", "7777", "-e", "cat"]
    environment:
      TEXT: @TEXT@
    ports: [{target: 7777, published: "@ECHO@", app_protocol: tcp}]
    deploy: {replicas: 2}
  worker:
    image: busybox:1.36
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    stop_grace_period: 1s
`

const (
	asksPage = `{test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 30s, start_interval: 1s}`
	asksNone = `{disable: true}`
)

// counts is what `up -o json` says of requests.
type counts struct {
	Requests, Failed int
	P99Milliseconds  float64
}

type proofResult struct {
	Proof *struct {
		counts
		Services []struct {
			counts
			Service, URL, Skipped string
			Failures              []struct {
				Reason string
				Count  int
			}
		}
	}
}

// TestProof rolls services while requests go to their ports, and wants to be told how they fared.
func TestProof(t *testing.T) {
	u := newUser(t, "p")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	web, echo := freePort(t), freePort(t)
	p := n.project(t, "proven", nil)
	write := func(text, slow, health string) {
		r := strings.NewReplacer("@TEXT@", text, "@SLOW@", slow, "@HEALTH@", health, "@WEB@", web, "@ECHO@", echo)
		p.write(t, "compose.yaml", r.Replace(proven))
	}
	up := func(t *testing.T, code int, args ...string) (outcome, proofResult) {
		t.Helper()
		r := p.want(t, code, command{dir: p.dir, args: append([]string{"up", "-d"}, args...)})
		var result proofResult
		if strings.HasPrefix(r.stdout, "{") {
			if err := json.Unmarshal([]byte(r.stdout), &result); err != nil {
				t.Fatalf("%v: %s", err, r)
			}
		}
		return r, result
	}

	write("one", "0", asksPage)
	t.Run("nothing is proven where nothing ran", func(t *testing.T) {
		if _, result := up(t, 0, "-o", "json", "--max-failures", "0"); result.Proof != nil {
			t.Errorf("there is a proof: %+v", result.Proof)
		}
	})
	t.Run("nothing is proven where nothing changed", func(t *testing.T) {
		if _, result := up(t, 0, "-o", "json"); result.Proof != nil {
			t.Errorf("there is a proof: %+v", result.Proof)
		}
	})
	t.Run("a rollout loses no request", func(t *testing.T) {
		write("two", "0", asksPage)
		r, result := up(t, 0, "-o", "json", "--max-failures", "0")
		if result.Proof == nil || len(result.Proof.Services) != 2 {
			t.Fatalf("the proof is not of two services: %s", r)
		}
		for i, want := range []string{"echo tcp://127.0.0.1:" + echo, "web http://127.0.0.1:" + web + "/"} {
			s := result.Proof.Services[i]
			if got := s.Service + " " + s.URL; got != want || s.Requests < 10 || s.Failed > 0 || s.P99Milliseconds <= 0 {
				t.Errorf("of %s it is %+v", want, s)
			}
		}
		if all := result.Proof.counts; all.Requests != result.Proof.Services[0].Requests+result.Proof.Services[1].Requests || all.Failed > 0 {
			t.Errorf("in all it is %+v", all)
		}
		t.Logf("%+v", result.Proof)
	})
	t.Run("people read it in the last line", func(t *testing.T) {
		write("three", "0", asksPage)
		r, _ := up(t, 0)
		for _, want := range []string{
			`(?m)^web: [0-9]+ requests, 0 failed, p99 [0-9,]+ ms$`,
			`(?m)^up: .*; during the rollout [0-9,]+ requests, 0 failed, p99 [0-9,]+ ms$`,
		} {
			if !regexp.MustCompile(want).MatchString(r.stderr) {
				t.Errorf("nothing matches %s: %s", want, r)
			}
		}
	})
	t.Run("it can be turned off", func(t *testing.T) {
		write("four", "0", asksPage)
		if r, result := up(t, 0, "-o", "json", "--no-proof"); result.Proof != nil {
			t.Errorf("there is a proof: %s", r)
		}
	})
	// Ready as soon as it runs, which is a lie for as long as it sleeps: the old pods go too soon.
	t.Run("a service that is not ready when it says so loses requests", func(t *testing.T) {
		write("five", "30", asksNone)
		r, _ := up(t, 18, "--max-failures", "0")
		wantText(t, r.stderr, "error: requests failed during the rollout: ", "at most 0 may: service web: ", "hint: ")
		eventually(t, time.Minute, "the new version serves", func(ctx context.Context) error {
			got, err := fetch(ctx, "http://127.0.0.1:"+web+"/")
			if err == nil && strings.TrimSpace(got) != "five" {
				err = fmt.Errorf("it serves %q", got)
			}
			return err
		})
		wantText(t, r.stdout, fmt.Sprintf("http://127.0.0.1:%s/", web)) // the rest of the result is told too
	})
	t.Run("that is no failure when nobody said so", func(t *testing.T) {
		write("six", "30", asksNone)
		_, result := up(t, 0, "-o", "json")
		if result.Proof == nil || len(result.Proof.Services) != 2 {
			t.Fatalf("the proof is %+v", result.Proof)
		}
		s := result.Proof.Services[1]
		if s.Failed == 0 || s.Failed == s.Requests || len(s.Failures) == 0 {
			t.Errorf("of web it is %+v, want some that failed, with their reasons", s)
		}
		if echo := result.Proof.Services[0]; echo.Failed > 0 {
			t.Errorf("of echo it is %+v", echo)
		}
		t.Logf("%+v", result.Proof)
	})
}
