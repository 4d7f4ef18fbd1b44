package release

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/registry"
	repo "helm.sh/helm/v4/pkg/repo/v1"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/fault"
)

// fetchTimeout bounds one chart's download.
const fetchTimeout = 2 * time.Minute

// largestChart is how big an archive or an index may be.
const largestChart = 64 << 20

// namedVersions is how many versions an error names.
const namedVersions = 10

// Source is where somebody else's Helm chart is. One of Repo, OCI and Path is set.
type Source struct {
	Repo    string // http or https URL of a chart repository
	Name    string // of the chart in Repo
	OCI     string // oci://REGISTRY/PATH/NAME
	Version string // one version, of Repo and OCI
	Path    string // absolute: a folder or an archive
}

func (s Source) String() string {
	switch {
	case s.Path != "":
		return s.Path
	case s.OCI != "":
		return s.OCI + ":" + s.Version
	}
	return s.Name + " " + s.Version + " of " + s.Repo
}

// Fetch gets a chart. What was downloaded before is taken from the cache, a folder ("" is none), since a version of a chart does
// not change. Credentials for registries and repositories are those of the Docker config. The digest of the result is that of
// its files alone.
func Fetch(ctx context.Context, s Source, cache string) (chart.Chart, error) {
	if s.Path != "" {
		c, err := loader.Load(s.Path)
		if err != nil {
			return chart.Chart{}, fault.New(fault.Usage, "look at it: perch helm lint "+s.Path, "chart %s: %w", s, err)
		}
		return fetched(c, s)
	}
	file := ""
	if cache != "" {
		file = filepath.Join(cache, cacheName(s))
		if data, err := os.ReadFile(file); err == nil {
			if c, err := loader.LoadArchive(bytes.NewReader(data)); err == nil {
				return fetched(c, s)
			} // what cannot be read is downloaded once more
		}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	download := fromRepo
	if s.OCI != "" {
		download = fromRegistry
	}
	data, err := download(ctx, s)
	if err != nil {
		return chart.Chart{}, err
	}
	c, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		return chart.Chart{}, fmt.Errorf("chart %s: what was downloaded is no chart: %w", s, err)
	}
	if file != "" {
		_ = keep(file, data) // next time it is downloaded again
	}
	return fetched(c, s)
}

// fetched is a chart as files. All that it depends on must be in it.
func fetched(c *chartv2.Chart, s Source) (chart.Chart, error) {
	if c.Metadata == nil || c.Metadata.Validate() != nil {
		return chart.Chart{}, fault.New(fault.Usage, "look at it: perch helm lint", "chart %s: its Chart.yaml is not valid", s)
	}
	if c.Metadata.Type == "library" {
		return chart.Chart{}, fault.New(fault.Usage, "", "chart %s: it is a library and installs nothing", s)
	}
	for _, d := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(have *chartv2.Chart) bool { return have.Name() == d.Name }) {
			return chart.Chart{}, fault.New(fault.Usage, "fetch what it depends on: perch helm dependency build "+s.Path,
				"chart %s: it depends on chart %s, which is not in its charts folder", s, d.Name)
		}
	}
	out := chart.Chart{Name: c.Name(), Version: c.Metadata.Version}
	for _, f := range c.Raw {
		out.Files = append(out.Files, chart.File{Name: f.Name, Data: f.Data})
	}
	slices.SortFunc(out.Files, func(a, b chart.File) int { return cmp.Compare(a.Name, b.Name) })
	out.Digest = chart.DigestOf(out.Files)
	return out, nil
}

// cacheName tells charts of different places apart.
func cacheName(s Source) string {
	sum := sha256.Sum256([]byte(s.Repo + "\n" + s.Name + "\n" + s.OCI))
	name := s.Name
	if s.OCI != "" {
		name = s.OCI[strings.LastIndexByte(s.OCI, '/')+1:]
	}
	clean := strings.Map(func(r rune) rune {
		if r == '/' || r == filepath.Separator {
			return '-'
		}
		return r
	}, name+"-"+s.Version)
	return clean + "-" + hex.EncodeToString(sum[:6]) + ".tgz"
}

// keep writes a file so that it is there whole or not at all.
func keep(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".chart-")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// fromRepo downloads from a chart repository.
func fromRepo(ctx context.Context, s Source) ([]byte, error) {
	where, err := repo.ResolveReferenceURL(s.Repo, "index.yaml")
	if err != nil {
		return nil, fmt.Errorf("chart repository %s: %w", s.Repo, err)
	}
	data, err := get(ctx, s.Repo, where)
	if err != nil {
		return nil, err
	}
	index, err := readIndex(data)
	if err != nil {
		return nil, fault.New(fault.Usage, "a chart repository is a folder with an index.yaml behind HTTP", "chart repository %s: %w", s.Repo, err)
	}
	versions, there := index.Entries[s.Name]
	if !there {
		names := make([]string, 0, len(index.Entries))
		for name := range index.Entries {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, fault.New(fault.Usage, "the charts there are: "+few(names), "chart repository %s: there is no chart %q", s.Repo, s.Name)
	}
	at := slices.IndexFunc(versions, func(v *repo.ChartVersion) bool { return v.Metadata != nil && sameVersion(v.Version, s.Version) })
	if at < 0 || len(versions[at].URLs) == 0 {
		var have []string
		for _, v := range versions { // the newest first
			have = append(have, v.Version)
		}
		return nil, noVersion(s, have)
	}
	if where, err = repo.ResolveReferenceURL(s.Repo, versions[at].URLs[0]); err != nil {
		return nil, fmt.Errorf("chart %s: %w", s, err)
	}
	if data, err = get(ctx, s.Repo, where); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if want := strings.TrimPrefix(versions[at].Digest, "sha256:"); want != "" && !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
		return nil, fmt.Errorf("chart %s: the archive is not the one that the repository's index names: its digest differs", s)
	}
	return data, nil
}

// readIndex parses an index.yaml, which Helm reads from a file only.
func readIndex(data []byte) (*repo.IndexFile, error) {
	temp, err := os.CreateTemp("", "perch-index-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // a file of the temporary folder
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Close()); err != nil {
		return nil, err
	}
	index, err := repo.LoadIndexFile(temp.Name())
	if err != nil {
		return nil, err
	}
	index.SortEntries()
	return index, nil
}

func sameVersion(a, b string) bool { return strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v") }

func noVersion(s Source, have []string) error {
	hint := "there is no version of it"
	if len(have) > 0 {
		hint = "the versions there are: " + few(have)
	}
	from := s.Repo
	if s.OCI != "" {
		from = s.OCI
	}
	return fault.New(fault.Usage, hint, "%s: there is no version %s of chart %s", from, s.Version, cmp.Or(s.Name, s.OCI[strings.LastIndexByte(s.OCI, '/')+1:]))
}

// few names the first of many.
func few(names []string) string {
	if len(names) > namedVersions {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedVersions], ", "), len(names)-namedVersions)
	}
	return strings.Join(names, ", ")
}

// host is a server to the Docker config's eyes.
type host string

var _ authn.Resource = host("")

func (h host) String() string      { return string(h) }
func (h host) RegistryStr() string { return string(h) }

// get downloads a file of a repository. Credentials are sent to the repository's own server only.
func get(ctx context.Context, repository, where string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, fmt.Errorf("chart repository %s: %w", repository, err)
	}
	if of, err := url.Parse(repository); err == nil && of.Scheme == request.URL.Scheme && of.Host == request.URL.Host {
		if err := authenticate(request); err != nil {
			return nil, err
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, unreachable(repository, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fault.New(fault.Other, "log in: docker login "+request.URL.Host, "chart repository %s: %s: %s", repository, where, response.Status)
	default:
		return nil, fault.New(fault.Other, "look at x-perch.chart of the service", "chart repository %s: %s: %s", repository, where, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, largestChart+1))
	if err != nil {
		return nil, unreachable(repository, err)
	}
	if len(data) > largestChart {
		return nil, fmt.Errorf("chart repository %s: %s is bigger than %d MiB", repository, where, largestChart>>20)
	}
	return data, nil
}

func unreachable(where string, err error) error {
	return fault.New(fault.Other, "see whether this machine reaches it: curl "+where, "chart repository %s cannot be read: %w", where, err)
}

func authenticate(request *http.Request) error {
	a, err := authn.DefaultKeychain.Resolve(host(request.URL.Host))
	if err != nil {
		return fmt.Errorf("credentials for %s: %w", request.URL.Host, err)
	}
	if a == authn.Anonymous {
		return nil
	}
	c, err := a.Authorization()
	if err != nil {
		return fmt.Errorf("credentials for %s: %w", request.URL.Host, err)
	}
	if c.Username != "" {
		request.SetBasicAuth(c.Username, c.Password)
	}
	return nil
}

// within gives requests our context: Helm's registry client makes them with none.
type within struct {
	ctx  context.Context //nolint:containedctx // there is no other way in
	next http.RoundTripper
}

var _ http.RoundTripper = within{}

func (w within) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.next.RoundTrip(r.WithContext(w.ctx))
}

// fromRegistry downloads from an OCI registry: over TLS, and on this machine without where the registry has none.
func fromRegistry(ctx context.Context, s Source) ([]byte, error) {
	data, err := pull(ctx, s)
	if err != nil && isLoopback(s.OCI) && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		data, err = pull(ctx, s, registry.ClientOptPlainHTTP())
	}
	return data, err
}

func pull(ctx context.Context, s Source, options ...registry.ClientOption) ([]byte, error) {
	client, err := registry.NewClient(append(options, registry.ClientOptHTTPClient(&http.Client{Transport: within{ctx, http.DefaultTransport}}))...)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", s, err)
	}
	name := strings.TrimPrefix(s.OCI, "oci://")
	result, err := client.Pull(name + ":" + strings.ReplaceAll(s.Version, "+", "_"))
	if err == nil {
		return result.Chart.Data, nil
	}
	if ctx.Err() != nil {
		return nil, fault.New(fault.Other, "", "chart %s: it took longer than %s: %w", s, fetchTimeout, ctx.Err())
	}
	if tags, tagsErr := client.Tags(name); tagsErr == nil && !slices.ContainsFunc(tags, func(tag string) bool { return sameVersion(tag, s.Version) }) {
		return nil, noVersion(s, tags)
	}
	hint := "log in, if it wants that: docker login " + strings.Split(name, "/")[0]
	return nil, fault.New(fault.Other, hint, "chart %s cannot be pulled: %w", s, err)
}

// isLoopback tells whether a registry is on this machine.
func isLoopback(oci string) bool {
	u, err := url.Parse(oci)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
