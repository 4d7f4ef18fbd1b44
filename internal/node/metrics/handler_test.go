package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	return w
}

// What the API server asks by itself, each half minute, starts nothing: there is nobody to take a meter's asks here.
func TestDiscoveryMeasuresNothing(t *testing.T) {
	h := newHandler(newMeter(nil, nil, nil))
	for _, path := range []string{"/apis/metrics.k8s.io", "/apis/metrics.k8s.io/v1beta1", "/openapi/v2", "/openapi/v3"} {
		if got := get(t, h, path); got.Code != http.StatusOK {
			t.Errorf("%s: HTTP status %d: %s", path, got.Code, got.Body)
		}
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(get(t, h, "/apis/metrics.k8s.io/v1beta1").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.APIResources) != 2 || list.APIResources[0].Name != "nodes" || list.APIResources[1].Name != "pods" || !list.APIResources[1].Namespaced {
		t.Errorf("the resources are %v", list.APIResources)
	}
}

func TestMeasurementsAreAskedFor(t *testing.T) {
	h := newHandler(newMeter(nil, nil, nil))
	if got := get(t, h, "/apis/metrics.k8s.io/v1beta1/nodes"); got.Code != http.StatusServiceUnavailable {
		t.Errorf("with nobody to measure: HTTP status %d", got.Code)
	}
}

func TestFailedMeasuring(t *testing.T) {
	if got := get(t, failed(errors.New("no kubelet")), "/"); got.Code != http.StatusServiceUnavailable || got.Body.String() != "no kubelet\n" {
		t.Errorf("HTTP status %d: %s", got.Code, got.Body)
	}
}
