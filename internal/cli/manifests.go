package cli

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/perch-k8s/perch/internal/fault"
)

// manifest is a file of Kubernetes objects, or what was piped in.
type manifest struct {
	name     string // as it was named; "standard input"
	path     string // absolute
	text     string
	searched bool // found in a folder: it may be something else
}

// manifests reads files, what is in folders and below them (.yaml, .yml, .json), and standard input for -.
func (a *app) manifests(args []string, write bool) ([]manifest, error) {
	var all []manifest
	for _, arg := range args {
		if arg == "-" {
			if write {
				return nil, fault.New(fault.Usage, "leave out --write, and the manifests are printed", "what is piped in cannot be written to its file")
			}
			data, err := io.ReadAll(a.env.In)
			if err != nil {
				return nil, err
			}
			all = append(all, manifest{name: "standard input", text: string(data)})
			continue
		}
		found, err := a.manifestsAt(arg)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (a *app) manifestsAt(arg string) ([]manifest, error) {
	var all []manifest
	root := a.absolute(arg)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		searched := path != root
		wanted := []string{".yaml", ".yml", ".json"}
		if err != nil || entry.IsDir() || searched && !slices.Contains(wanted, filepath.Ext(path)) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := arg
		if searched {
			inside, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			name = filepath.Join(arg, inside)
		}
		all = append(all, manifest{name: name, path: path, text: string(data), searched: searched})
		return nil
	})
	if err != nil {
		return nil, fault.New(fault.Usage, "", "%w", err)
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Usage, "name a file", "%s: there is no .yaml, .yml or .json in it", arg)
	}
	return all, nil
}

// replaceFile gives a file another content at once, with its mode; a link stays a link.
func replaceFile(path, text string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".perch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // it is gone when all went well
	_, err = temp.WriteString(text)
	if err == nil {
		err = temp.Chmod(info.Mode().Perm())
	}
	if err2 := temp.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
