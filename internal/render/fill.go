package render

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// fill is one volume that must be made what Docker makes it before the container starts: with the image's content at its
// path, as long as it is empty, and with that folder's owner and mode.
type fill struct {
	volume string // name in the pod
	source string // path in the image to copy from, "" for nothing
	owner  string // uid:gid for the folder, "" as it is
	mode   string // octal, "" as it is
	root   bool   // only root can do that, whoever the container runs as
}

// fillScript fills volumes that hold nothing but lost+found. It needs a shell, cp and rm of the image. A copy that was
// interrupted is made again: a mark in the folder says that it is not whole. Who is not root (and so gives no mode) goes
// without the files that it may not read.
const fillScript = `set -e
while [ $# -gt 0 ]; do
  src=$1 dst=$2 owner=$3 mode=$4; shift 4
  mark=$dst/.perch-filling full=
  [ -e "$mark" ] || for f in "$dst"/* "$dst"/.[!.]* "$dst"/..?*; do
    [ -e "$f" ] || [ -L "$f" ] || continue
    [ "$f" = "$dst/lost+found" ] || full=1
  done
  [ -z "$full" ] || continue
  if [ -n "$src" ]; then
    : > "$mark"
    for f in "$src"/* "$src"/.[!.]* "$src"/..?*; do
      [ -e "$f" ] || [ -L "$f" ] || continue
      cp -a "$f" "$dst/" || [ -z "$mode" ]
    done
    rm -f "$mark"
  fi
  [ -z "$owner" ] || chown "$owner" "$dst"
  [ -z "$mode" ] || chmod "$mode" "$dst"
done`

// fillDir is where the volumes are while they are filled, apart from the image's own paths.
const fillDir = "/.perch-volumes"

// prepareCopy asks for the content, owner and mode that the image has at the path of a volume. Only root can give the
// folder away; to any other user a fresh volume is writable by its mode or its group.
func (b *builder) prepareCopy(m *mounts, r runs, i int, volume corev1.Volume, target string) {
	content, ok := r.image.Content[clean(target)]
	if !ok || !content.Exists {
		return
	}
	f := fill{volume: volume.Name}
	if content.Filled {
		if !r.image.Shell {
			b.note(r, fmt.Sprintf("volumes[%d]", i), "the volume begins empty: what the image has at %s cannot be copied into it, as the image has no /bin/sh and cp", target)
			return
		}
		f.source = clean(target)
	}
	who := whoRuns(r.spec, r.image)
	// An image that made the folder its user's own may lean on that: initdb of PostgreSQL wants to change its mode.
	f.root = !who.root && content.UID != 0 && who.uid != nil && content.UID == *who.uid && r.image.Shell
	if f.root {
		b.weaker(r, fmt.Sprintf("volumes[%d]", i), levelBaseline, fmt.Sprintf("an init container that runs as root gives the folder at %s to user %d, whose own it is in the image", target, content.UID))
	}
	if who.root || f.root {
		if content.UID != 0 || content.GID != 0 {
			f.owner = fmt.Sprintf("%d:%d", content.UID, content.GID)
		}
		f.mode = octal(content.Mode)
	}
	if r.image.Shell && (f.source != "" || f.owner != "") {
		m.fills = append(m.fills, f)
	}
}

// prepareTmpfs asks for the mode and owner of a tmpfs. Kubernetes lets everybody write to it.
func (b *builder) prepareTmpfs(m *mounts, r runs, volume corev1.Volume, t tmpfsOptions, key string) {
	if t.owner == "" && (t.mode == 0 || t.mode&0o777 == 0o777) {
		return
	}
	if !r.image.Shell || !whoRuns(r.spec, r.image).root {
		b.note(r, key, "the tmpfs at %s can be written by all: only a container that runs as root, with a shell in its image, can change that", t.target)
		return
	}
	f := fill{volume: volume.Name, owner: t.owner}
	if t.mode != 0 {
		f.mode = octal(t.mode)
	}
	m.fills = append(m.fills, f)
}

func octal(mode uint32) string { return "0" + strconv.FormatUint(uint64(mode), 8) }

// filler is the init container that fills the volumes of a container: the same image, run by the same user.
func (b *builder) filler(r runs, m mounts, of corev1.Container) (corev1.Container, bool) {
	if len(m.fills) == 0 {
		return corev1.Container{}, false
	}
	c := corev1.Container{
		Name:            "fill-volumes",
		Image:           of.Image,
		ImagePullPolicy: of.ImagePullPolicy,
		Command:         []string{"/bin/sh", "-c", escape(fillScript), "fill-volumes"},
		SecurityContext: of.SecurityContext.DeepCopy(),
		Resources:       *of.Resources.DeepCopy(),
	}
	if whoRuns(r.spec, r.image).root && c.SecurityContext != nil {
		// It does what Docker does before the container is there: cap_drop is not for it.
		c.SecurityContext.Capabilities = nil
	}
	if r.scratch != "" {
		c.Name = compose.NameWithin(c.Name+"-"+r.container, 63)
	}
	mounted := map[string]bool{}
	for _, f := range m.fills {
		dir := fillDir + "/" + f.volume
		c.Args = append(c.Args, f.source, dir, f.owner, f.mode)
		if !mounted[f.volume] {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: f.volume, MountPath: dir})
		}
		mounted[f.volume] = true
		if f.root {
			c.SecurityContext = asRoot(c.SecurityContext)
		}
	}
	c.Args = escapeAll(c.Args)
	return c, true
}

// asRoot is the security of an init container that is root, with what cp -a, chown and chmod need and no more.
func asRoot(of *corev1.SecurityContext) *corev1.SecurityContext {
	s := of.DeepCopy()
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	s.RunAsUser, s.RunAsGroup, s.RunAsNonRoot = new(int64(0)), new(int64(0)), new(false)
	s.Capabilities = &corev1.Capabilities{
		Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
	}
	return s
}
