package apiserver

import (
	"context"
	"time"

	"gopkg.in/go-jose/go-jose.v2/jwt"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// early issues tokens that are valid from before they are made, as certificates are. Pods that were started while the clock
// was ahead would be refused otherwise when it is set right, since the kubelet renews a token near its end only.
type early struct {
	serviceaccount.TokenGenerator
}

// GenerateToken is Kubernetes' own, for a token that begins earlier and ends when it should.
func (e early) GenerateToken(ctx context.Context, claims *jwt.Claims, private any) (string, error) {
	begins := *claims
	begins.NotBefore, begins.IssuedAt = before(claims.NotBefore), before(claims.IssuedAt)
	return e.TokenGenerator.GenerateToken(ctx, &begins, private)
}

func before(date *jwt.NumericDate) *jwt.NumericDate {
	if date == nil {
		return nil
	}
	earlier := *date - jwt.NumericDate(pki.ValidBefore/time.Second)
	return &earlier
}
