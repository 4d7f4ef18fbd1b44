package metrics

import (
	"encoding/json"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// newHandler answers what the API server asks by itself (which resources there are) without measuring anything, and
// gives the rest to the meter.
func newHandler(m *meter) http.Handler {
	group, version := "/apis/"+v1beta1.GroupName, "/apis/"+v1beta1.SchemeGroupVersion.String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+group, func(w http.ResponseWriter, _ *http.Request) { answer(w, apiGroup()) })
	mux.HandleFunc("GET "+version, func(w http.ResponseWriter, _ *http.Request) { answer(w, resources()) })
	// Without a schema the API server would ask for it again and again, and log each time that there is none.
	mux.HandleFunc("GET /openapi/v2", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"swagger": "2.0", "info": map[string]string{"title": "metrics", "version": "1"}, "paths": map[string]any{}})
	})
	mux.HandleFunc("GET /openapi/v3", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"paths": map[string]any{}}) })
	mux.HandleFunc(version+"/", func(w http.ResponseWriter, r *http.Request) {
		measured, err := m.measured(r.Context())
		if err != nil {
			http.Error(w, "nothing measured yet: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		measured.ServeHTTP(w, r)
	})
	return mux
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object) // the reader has gone
}

func apiGroup() metav1.APIGroup {
	version := metav1.GroupVersionForDiscovery{GroupVersion: v1beta1.SchemeGroupVersion.String(), Version: v1beta1.SchemeGroupVersion.Version}
	return metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
		Name:     v1beta1.GroupName, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
}

func resources() metav1.APIResourceList {
	verbs := metav1.Verbs{"get", "list"}
	return metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: v1beta1.SchemeGroupVersion.String(),
		APIResources: []metav1.APIResource{
			{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
			{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
		},
	}
}
