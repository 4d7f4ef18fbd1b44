package corpus

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

// fact is what an image says of itself, as far as it changes objects.
type fact struct {
	ports, volumes []string
	users          map[string]int64
	owner          int64 // of the folders at volumes
}

// facts are those of the corpus' images that are common enough to be known by heart. An image that is not among them, or is
// built, is unknown, as it is for `perch config` on a machine without a cluster.
func facts() map[string]fact {
	return map[string]fact{
		"alpine":        {},
		"elasticsearch": {ports: []string{"9200/tcp", "9300/tcp"}},
		"mariadb":       {ports: []string{"3306/tcp"}, volumes: []string{"/var/lib/mysql"}, users: map[string]int64{"mysql": 999}, owner: 999},
		"mongo":         {ports: []string{"27017/tcp"}, volumes: []string{"/data/db", "/data/configdb"}},
		"nextcloud":     {ports: []string{"80/tcp"}, volumes: []string{"/var/www/html"}},
		"nginx":         {ports: []string{"80/tcp"}, users: map[string]int64{"nginx": 101}},
		"postgres":      {ports: []string{"5432/tcp"}, volumes: []string{"/var/lib/postgresql/data"}, users: map[string]int64{"postgres": 999}, owner: 999},
		"redis":         {ports: []string{"6379/tcp"}, volumes: []string{"/data"}, users: map[string]int64{"redis": 999}, owner: 999},
		"redismod":      {ports: []string{"6379/tcp"}, volumes: []string{"/data"}},
		"wordpress":     {ports: []string{"80/tcp"}, volumes: []string{"/var/www/html"}},
	}
}

// imagesOf is what render is told of the images of a project.
func imagesOf(p *compose.Project) map[string]render.Image {
	known, out := facts(), map[string]render.Image{}
	for _, name := range sortedKeys(p.Project.Services) {
		s := p.Project.Services[name]
		ref := s.Image
		if ref == "" {
			ref = fmt.Sprintf("%s-%s:0123456789ab", p.Name, compose.Name(name))
		}
		image := render.Image{Ref: ref}
		base, _, _ := strings.Cut(path.Base(ref), ":")
		if f, ok := known[base]; ok && s.Build == nil {
			image.Config = &ocispec.ImageConfig{ExposedPorts: set(f.ports), Volumes: set(f.volumes)}
			image.Shell = true
			image.Content = map[string]render.Content{}
			for _, v := range f.volumes {
				image.Content[v] = render.Content{Exists: true, UID: f.owner, GID: f.owner, Mode: 0o755}
			}
			if uid, ok := f.users[s.User]; ok {
				image.UID, image.GID = &uid, &uid
			}
		}
		out[name] = image
	}
	for name := range p.Jobs {
		if ref := p.Jobs[name].Image; ref != "" {
			out["job/"+name] = render.Image{Ref: ref}
		}
	}
	return out
}

func set(names []string) map[string]struct{} {
	out := map[string]struct{}{}
	for _, n := range names {
		out[n] = struct{}{}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
