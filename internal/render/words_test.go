package render

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

// TestEscape: what Kubernetes expands must come out as the words that went in.
func TestEscape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": "plain", "$HOME": "$HOME", "$(date)": "$$(date)", "$$": "$$$", "$$(x)": "$$$$(x)", "a$": "a$", "$": "$", "${X}": "${X}",
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestBinaryConfig: a ConfigMap's data is text; other bytes have a place of their own and are not encoded twice.
func TestBinaryConfig(t *testing.T) {
	t.Parallel()
	b := &builder{project: &compose.Project{Project: &types.Project{Name: "shop"}}}
	data := map[string][]byte{"text": []byte("ü"), "bytes": {0xff, 0x00}}
	m := b.configMap("x", "x", data)
	if diff := cmp.Diff(map[string]string{"text": "ü"}, m.Data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"bytes": {0xff, 0x00}}, m.BinaryData); diff != "" {
		t.Errorf("binaryData (-want +got):\n%s", diff)
	}
}

func TestFetched(t *testing.T) {
	t.Parallel()
	cases := []struct {
		words []string
		want  string
		ok    bool
	}{
		{[]string{"curl", "-f", "http://localhost/"}, "http://localhost/", true},
		{[]string{"/usr/bin/curl", "-sSf", "-o", "/dev/null", "localhost:80/x"}, "localhost:80/x", true},
		{[]string{"curl", "--fail", "--silent", "http://localhost"}, "http://localhost", true},
		{[]string{"curl", "http://localhost"}, "", false},
		{[]string{"curl", "-f", "-H", "Host: x", "http://localhost"}, "", false},
		{[]string{"curl", "-fk", "https://localhost"}, "", false},
		{[]string{"wget", "-qO-", "http://localhost/health"}, "http://localhost/health", true},
		{[]string{"wget", "--post-data=x", "http://localhost/health"}, "", false},
		{[]string{"pg_isready", "-U", "app"}, "", false},
		{[]string{"curl"}, "", false},
	}
	for _, c := range cases {
		if got, ok := fetched(c.words); ok != c.ok || (ok && got != c.want) {
			t.Errorf("fetched(%q) = %q, %t; want %q, %t", c.words, got, ok, c.want, c.ok)
		}
	}
}
