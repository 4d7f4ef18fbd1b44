package sandbox

import (
	"os"
	"path/filepath"
	"slices"
)

// Strays are the names of sandboxes whose control group folders are there while no process is in them, and that are none of
// those that run. A supervisor that was killed leaves them. mountinfo is the text of /proc/self/mountinfo.
func Strays(mountinfo []byte, running []string) ([]string, error) {
	c, err := HostCgroups(mountinfo, "x")
	if err != nil {
		return nil, err
	}
	lives := map[string]bool{}
	for _, root := range c.roots {
		dir := filepath.Join(root, filepath.Dir(c.path))
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				lives[e.Name()] = lives[e.Name()] || len(processesIn(filepath.Join(dir, e.Name()))) > 0
			}
		}
	}
	var names []string
	for name, has := range lives {
		if !has && !slices.Contains(running, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
