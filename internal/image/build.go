package image

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	buildkit "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/tonistiigi/fsutil"

	"github.com/perch-k8s/perch/internal/progress"
)

const (
	contextMount    = "context"
	dockerfileMount = "dockerfile"
)

// buildDockerfile has BuildKit build t's recipe and store it under each of refs. Base is the image that it was built on. For a
// registry layers are compressed, and nothing is unpacked: no pod of the node has the image.
func (rs *resolver) buildDockerfile(ctx context.Context, cl *client, t *task, refs, parents []string) (base string, err error) {
	b, err := rs.openBuilder()
	if err != nil {
		return "", err
	}
	export := map[string]string{"name": strings.Join(refs, ","), "store": "true", "unpack": "true", "compression": "uncompressed"}
	if rs.options.Registry.On() {
		export["unpack"], export["compression"], export["oci-mediatypes"] = "false", "gzip", "true"
	}
	o := buildkit.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: rs.attributes(t, parents),
		SharedKey:     t.recipe.config.Context, // the builder keeps what was sent under it: only changes travel
		Exports:       []buildkit.ExportEntry{{Type: buildkit.ExporterImage, Attrs: export}},
	}
	cleanup, err := t.recipe.mounts(&o)
	defer cleanup()
	if err != nil {
		return "", err
	}
	if o.Session, err = rs.attachables(t.recipe); err != nil {
		return "", err
	}
	t.recipe.options(&o)
	for _, text := range t.recipe.caution() {
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Warned, Text: text})
	}
	m := newMeter(t.id, rs.report, rs.options.Verbose)
	statuses := make(chan *buildkit.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range statuses {
			m.update(s)
		}
	}()
	_, err = b.Solve(ctx, nil, o, statuses)
	<-done
	if err != nil {
		return "", t.recipe.explain(ctx, err, m)
	}
	return cl.baseOf(ctx, refs[0], m.bases, t.recipe.matcher())
}

// attributes are the Dockerfile frontend's settings.
func (rs *resolver) attributes(t *task, parents []string) map[string]string {
	r := t.recipe
	c := r.config
	a := map[string]string{
		"filename":           defaultDockerfile,
		"platform":           r.platform(),
		"image-resolve-mode": "local", // an image in the store needs no registry
		"cmdline":            "perch", // else a "# syntax=" line is taken as the name of an image to run
	}
	switch {
	case r.dockerfile != "":
		a["filename"] = filepath.Base(r.dockerfile)
	case fetched(c.Context) && c.Dockerfile != "" && c.DockerfileInline == "":
		a["filename"] = c.Dockerfile
	}
	if fetched(c.Context) {
		a["context"] = c.Context
	}
	if fetched(c.Context) && c.DockerfileInline != "" {
		a["dockerfilekey"] = dockerfileMount
	}
	attest(a, "provenance", c.Provenance)
	attest(a, "sbom", c.SBOM)
	if rs.options.Pull || c.Pull {
		a["image-resolve-mode"] = "pull"
	}
	if rs.options.NoCache || c.NoCache {
		a["no-cache"] = ""
	} else if len(c.NoCacheFilter) > 0 {
		a["no-cache"] = strings.Join(c.NoCacheFilter, ",")
	}
	if c.Target != "" {
		a["target"] = c.Target
	}
	for k, v := range c.Args {
		if v != nil {
			a["build-arg:"+k] = *v
		}
	}
	for k, v := range c.Labels {
		a["label:"+k] = v
	}
	if c.ShmSize > 0 {
		a["shm-size"] = strconv.FormatInt(int64(c.ShmSize), 10)
	}
	if c.Network == "none" || c.Network == "host" {
		a["force-network-mode"] = c.Network
	}
	a["add-hosts"] = extraHosts(c.ExtraHosts)
	a["ulimit"] = ulimits(r)
	next := 0
	for i, n := range r.contexts {
		switch {
		case n.dir != "":
			a["context:"+n.name] = "local:" + mountName(i)
		case n.owner != "":
			a["context:"+n.name] = "docker-image://" + parents[next]
			next++
		default:
			a["context:"+n.name] = n.image
		}
	}
	maps.DeleteFunc(a, func(k, v string) bool { return v == "" && k != "no-cache" && !strings.Contains(k, ":") })
	return a
}

func extraHosts(hosts map[string][]string) string {
	var out []string
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		for _, ip := range hosts[host] {
			if a := address(ip); a != nil { // not host-gateway: there is no gateway to name
				out = append(out, host+"="+a.String())
			}
		}
	}
	return strings.Join(out, ",")
}

func ulimits(r *recipe) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.config.Ulimits)) {
		u := r.config.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		out = append(out, fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	return strings.Join(out, ",")
}

// mountName is what the folder of the nth additional context is called between the builder and us.
func mountName(n int) string { return fmt.Sprintf("context-%d", n) }

// mounts are the folders the builder may ask for. The ignore file is applied by the frontend, which reads it itself.
func (r *recipe) mounts(o *buildkit.SolveOpt) (cleanup func(), err error) {
	cleanup = func() {}
	dockerfileDir := filepath.Dir(r.dockerfile)
	if r.config.DockerfileInline != "" {
		tmp, err := os.MkdirTemp("", "perch-dockerfile")
		if err != nil {
			return cleanup, err
		}
		cleanup = func() { os.RemoveAll(tmp) } //nolint:errcheck // a file of a few lines in the temporary folder
		if err := os.WriteFile(filepath.Join(tmp, defaultDockerfile), []byte(r.config.DockerfileInline), 0o600); err != nil {
			return cleanup, err
		}
		dockerfileDir = tmp
	}
	dirs := map[string]string{contextMount: r.config.Context, dockerfileMount: dockerfileDir}
	if fetched(r.config.Context) {
		delete(dirs, contextMount)
		if r.config.DockerfileInline == "" {
			delete(dirs, dockerfileMount)
		}
	}
	for i, c := range r.contexts {
		if c.dir != "" {
			dirs[mountName(i)] = c.dir
		}
	}
	o.LocalMounts = map[string]fsutil.FS{}
	for name, dir := range dirs {
		if o.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return cleanup, r.fault("", "%w", err)
		}
	}
	return cleanup, nil
}

// attachables answer what a build asks this side for: registry credentials, secrets, SSH keys.
func (rs *resolver) attachables(r *recipe) ([]session.Attachable, error) {
	out := []session.Attachable{
		authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: authConfig}),
	}
	secrets := map[string][]byte{}
	for i, ref := range r.config.Secrets {
		value, err := rs.secret(r, i)
		if err != nil {
			return nil, err
		}
		id := ref.Target
		if id == "" {
			id = ref.Source
		}
		secrets[strings.TrimPrefix(id, "/run/secrets/")] = value
	}
	if len(secrets) > 0 {
		out = append(out, secretsprovider.FromMap(secrets))
	}
	if len(r.config.SSH) == 0 {
		return out, nil
	}
	var agents []sshprovider.AgentConfig
	for _, k := range r.config.SSH {
		a := sshprovider.AgentConfig{ID: k.ID}
		if k.Path != "" {
			a.Paths = strings.Split(k.Path, ",")
		} else if sock := rs.options.Project.Environment["SSH_AUTH_SOCK"]; sock != "" {
			a.Paths = []string{sock}
		}
		agents = append(agents, a)
	}
	agent, err := sshprovider.NewSSHAgentProvider(agents)
	if err != nil {
		return nil, r.fault("start an ssh-agent, or name a key under build.ssh", "ssh: %w", err)
	}
	return append(out, agent), nil
}

// secret is the value of r's nth build secret.
func (rs *resolver) secret(r *recipe, n int) ([]byte, error) {
	def := r.secrets[n]
	switch {
	case def.File != "":
		b, err := os.ReadFile(def.File)
		if err != nil {
			return nil, r.fault("", "build secret %q: %w", r.config.Secrets[n].Source, err)
		}
		return b, nil
	case def.Environment != "":
		v, ok := rs.options.Project.Environment[def.Environment]
		if !ok {
			return nil, r.fault("set it", "build secret %q: the variable %s is not set", r.config.Secrets[n].Source, def.Environment)
		}
		return []byte(v), nil
	}
	return []byte(def.Content), nil
}
