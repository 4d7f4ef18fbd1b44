package apitest_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
)

func TestStart(t *testing.T) {
	t0 := time.Now()
	path := apitest.Start(t)
	t.Log(time.Since(t0))
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	t0 = time.Now()
	t.Cleanup(func() { t.Log(time.Since(t0)) })
}
