package kubernetes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// dropMessages removes the files that containers could leave a last word in (terminationMessagePath), but for the newest of
// each container of a pod: the kubelet may yet read that one. It makes one for each start of a container and removes none
// before the pod goes, which is never on a node that is started and stopped every day.
func dropMessages(kubeletDir string) error {
	dirs, err := filepath.Glob(filepath.Join(kubeletDir, "pods", "*", "containers", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		files, err := byAge(dir)
		errs = append(errs, err)
		for _, f := range files[:max(0, len(files)-1)] {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

// byAge are the files of a folder, the oldest first.
func byAge(dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	return files, nil
}
