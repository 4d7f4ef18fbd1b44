package image

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	buildkit "github.com/moby/buildkit/client"

	"github.com/perch-k8s/perch/internal/fault"
)

func TestBuildKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": ""})
	tests := map[string]struct {
		build types.BuildConfig
		want  string
	}{
		"a network": {types.BuildConfig{Network: "backend"}, `service "web": a build is in no network: "backend"`},
		"isolation": {types.BuildConfig{Isolation: "hyperv"}, `service "web": build isolation "hyperv" is for Windows`},
		"devices": {
			types.BuildConfig{Entitlements: []string{"security.insecure", "device"}}, `service "web": the node's builder does not grant the entitlement "device"`,
		},
		"a foreign platform": {
			types.BuildConfig{Platforms: types.StringList{"linux/s390x", "windows/amd64"}},
			`service "web": build platforms linux/s390x, windows/amd64: the node runs ` + hostPlatform() + ` only`,
		},
		"no platform": {types.BuildConfig{Platforms: types.StringList{"a/b/c/d"}}, `service "web": build platform "a/b/c/d": "a/b/c/d": cannot parse platform specifier: invalid argument`},
		"a cache that is no name": {
			types.BuildConfig{CacheFrom: types.StringList{"UPPER"}},
			`service "web": build cache "UPPER": image "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase`,
		},
		"a cache with no type": {types.BuildConfig{CacheTo: types.StringList{"mode=max"}}, `service "web": build cache "mode=max": it has no type`},
		"a layout as context": {
			types.BuildConfig{AdditionalContexts: types.Mapping{"a": "oci-layout://x"}},
			`service "web": additional context "a": oci-layout://x is nothing that the node's builder fetches`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.build.Context = dir
			_, err := newRecipe(want{key: "web", build: &tt.build}, &types.Project{Name: "shop", WorkingDir: dir}, Registry{})
			if err == nil || err.Error() != tt.want || fault.KindOf(err) != fault.Build || fault.HintOf(err) == "" {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestCaches(t *testing.T) {
	t.Parallel()
	r := recipeOf(t, tree(t, map[string]string{"Dockerfile": ""}), types.BuildConfig{
		CacheFrom:  types.StringList{"acme/web:cache", "type=local,src=.cache", "type=gha", `"type=registry","ref=a/b:c"`},
		CacheTo:    types.StringList{"type=local,dest=/abs,mode=max", "type=inline", "type=s3,bucket=x"},
		ExtraHosts: types.HostsList{"gate": {"host-gateway"}, "six": {"[::1]"}},
		Privileged: true, Network: "host", Entitlements: []string{"network.host"},
	})
	var o buildkit.SolveOpt
	r.options(&o)
	want := buildkit.SolveOpt{
		CacheImports: []buildkit.CacheOptionsEntry{
			{Type: "registry", Attrs: map[string]string{"ref": "acme/web:cache"}},
			{Type: "local", Attrs: map[string]string{"src": r.project + "/.cache"}},
			{Type: "registry", Attrs: map[string]string{"ref": "a/b:c"}},
		},
		CacheExports: []buildkit.CacheOptionsEntry{
			{Type: "local", Attrs: map[string]string{"dest": "/abs", "mode": "max"}},
			{Type: "inline", Attrs: map[string]string{}},
		},
		AllowedEntitlements: []string{"network.host", "network.host", "security.insecure"},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Error(diff)
	}
	cautions := []string{
		`the node's builder has no cache of type "gha": it is left out`,
		`the node's builder has no cache of type "s3": it is left out`,
		`extra_hosts: "host-gateway" of gate is no address in a build: it is left out`,
	}
	if diff := cmp.Diff(cautions, r.caution()); diff != "" {
		t.Error(diff)
	}
	if got := extraHosts(r.config.ExtraHosts); got != "six=::1" {
		t.Errorf("hosts: %s", got)
	}
}
