package preflight

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// times are what the clock is held against.
type times struct {
	now              time.Time
	newest           time.Time // the last change of what the node writes; zero when it has written nothing
	certFrom, certTo time.Time // of the cluster's certificate authority; zero when there is none
}

func checkClock(_ context.Context, m Machine) Finding {
	t := times{now: m.Now}
	for _, pattern := range []string{"state.json", "log/*.log", "kubernetes/etcd/member/*/*"} {
		files, _ := filepath.Glob(filepath.Join(m.Dir, pattern))
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && info.ModTime().After(t.newest) {
				t.newest = info.ModTime()
			}
		}
	}
	if data, err := os.ReadFile(filepath.Join(m.Dir, "kubernetes", "pki", "ca.crt")); err == nil {
		if block, _ := pem.Decode(data); block != nil {
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				t.certFrom, t.certTo = cert.NotBefore, cert.NotAfter
			}
		}
	}
	return judgeClock(t)
}

// saneFrom is a year in which this program was not yet there; slack is what a clock may be set back by when it is put right.
const (
	saneFrom = 2026
	slack    = 2 * time.Minute
)

func judgeClock(t times) Finding {
	const set = "set the clock: timedatectl set-ntp true, or date -s TIME"
	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	switch {
	case !t.certFrom.IsZero() && t.now.Before(t.certFrom):
		return missing(fmt.Sprintf("the clock says %s, and the cluster's certificates are valid from %s on", stamp(t.now), stamp(t.certFrom)), set)
	case !t.certTo.IsZero() && t.now.After(t.certTo):
		return missing(fmt.Sprintf("the clock says %s, and the cluster's certificates were valid until %s", stamp(t.now), stamp(t.certTo)), set+"; if it is right: perch cluster delete")
	case t.now.Year() < saneFrom:
		return warn(fmt.Sprintf("the clock says %s: no registry's certificate is valid then", stamp(t.now)), set)
	case t.now.Add(slack).Before(t.newest):
		return warn(fmt.Sprintf("the clock went back: it says %s, and the node has written at %s", stamp(t.now), stamp(t.newest)), set)
	}
	return ok(stamp(t.now))
}
