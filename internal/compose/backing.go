package compose

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// Backing is what stands behind a named volume whose driver_opts name something other than storage of the cluster. The zero
// value is such storage: a claim.
type Backing struct {
	NFSServer string   // with NFSPath: a folder that a server exports
	NFSPath   string   // absolute
	HostPath  string   // an absolute path of the machine
	Memory    bool     // memory of the pod
	Size      string   // of a claim or of memory, as Docker writes it; "": not said
	ReadOnly  bool     // for all who mount it
	Ignored   []string // mount options that Kubernetes has no word for, in their order
}

// BackingOf reads driver and driver_opts of a volume as Docker's local driver does: type nfs, none with o: bind, and tmpfs.
// The error says what is not carried, and has no values in it: options may hold a password.
func BackingOf(v types.VolumeConfig) (Backing, error) {
	if v.Driver != "" && v.Driver != "local" {
		return Backing{}, fmt.Errorf("driver %s is not carried: volumes come from the cluster's storage class", v.Driver)
	}
	b := Backing{Size: v.DriverOpts["size"]}
	for _, name := range sortedNames(v.DriverOpts) {
		if !slices.Contains([]string{"size", "type", "o", "device"}, name) {
			return b, fmt.Errorf("driver_opts %s is not carried: volumes come from the cluster's storage class", name)
		}
	}
	options := strings.FieldsFunc(v.DriverOpts["o"], func(r rune) bool { return r == ',' || r == ' ' })
	device := v.DriverOpts["device"]
	switch kind := strings.ToLower(v.DriverOpts["type"]); {
	case kind == "nfs" || kind == "nfs4":
		return b.nfs(options, device)
	case slices.Contains(options, "bind") || slices.Contains(options, "rbind"):
		return b.host(options, device)
	case kind == "tmpfs":
		return b.memory(options)
	case kind == "" && device == "" && len(options) == 0:
		return b, nil
	case kind == "" || kind == "none":
		return b, fmt.Errorf("driver_opts without a type that is carried: a volume is of type nfs or tmpfs, or has o: bind")
	default:
		return b, fmt.Errorf("driver_opts type %s is not carried: the types are nfs, tmpfs, and none with o: bind", kind)
	}
}

func (b Backing) nfs(options []string, device string) (Backing, error) {
	server, folder, colon := strings.Cut(device, ":")
	if !colon {
		server, folder = "", device
	}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "addr":
			b.NFSServer = value
		case "ro":
			b.ReadOnly = true
		case "rw":
		default:
			b.Ignored = append(b.Ignored, name)
		}
	}
	if b.NFSServer == "" {
		b.NFSServer = server
	}
	if b.NFSServer == "" {
		return b, fmt.Errorf("driver_opts of type nfs have no addr= in o")
	}
	if !path.IsAbs(folder) {
		return b, fmt.Errorf("driver_opts device of type nfs is not a path that begins with a slash")
	}
	b.NFSPath = path.Clean(folder)
	return b, nil
}

func (b Backing) host(options []string, device string) (Backing, error) {
	for _, o := range options {
		switch name, _, _ := strings.Cut(o, "="); name {
		case "bind", "rbind", "rw":
		case "ro":
			b.ReadOnly = true
		default:
			b.Ignored = append(b.Ignored, name)
		}
	}
	if !path.IsAbs(device) {
		return b, fmt.Errorf("driver_opts device is not a path that begins with a slash")
	}
	b.HostPath = path.Clean(device)
	return b, nil
}

func (b Backing) memory(options []string) (Backing, error) {
	b.Memory = true
	for _, o := range options {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "size":
			if _, err := units.RAMInBytes(value); err != nil {
				return b, fmt.Errorf("driver_opts o: size is not a size")
			}
			b.Size = value
		case "rw":
		default:
			b.Ignored = append(b.Ignored, name)
		}
	}
	return b, nil
}
