package secrets

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
)

// Folder is where the secrets files of a project are: the folder of its Compose file.
type Folder struct {
	Dir   string // absolute
	Shown string // how messages name it; "" for the working directory
}

// File is one secrets file.
type File struct {
	Name   string // in its folder
	Target string // "": all
}

var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// FileOf is the secrets file of a target, whether it is there or not; that of "" is for all.
func FileOf(target string) (File, error) {
	switch {
	case target == "":
		return File{Name: "secrets.age"}, nil
	case !targetName.MatchString(target):
		return File{}, fault.New(fault.Usage, "letters, digits, dots, hyphens and underscores", "target %q: no file can be named after it", target)
	}
	return File{Name: "secrets." + target + ".age", Target: target}, nil
}

// Files are the secrets files that are there: the one for all first, the others by name.
func (f Folder) Files() ([]File, error) {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return nil, err
	}
	var all []File
	for _, e := range entries {
		if e.Name() == "secrets.age" {
			all = append(all, File{Name: e.Name()})
		}
		if name, ok := strings.CutPrefix(e.Name(), "secrets."); ok {
			if target, ok := strings.CutSuffix(name, ".age"); ok && targetName.MatchString(target) {
				all = append(all, File{Name: e.Name(), Target: target})
			}
		}
	}
	slices.SortFunc(all, func(a, b File) int { return cmp.Compare(a.Target, b.Target) })
	return all, nil
}

// Show is how messages name a file of the folder.
func (f Folder) Show(name string) string { return filepath.Join(f.Shown, name) }

// Recipients are those who can read the secrets; none when there is no such file.
func (f Folder) Recipients() (Recipients, error) {
	data, err := os.ReadFile(filepath.Join(f.Dir, RecipientsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Recipients{}, nil
	}
	if err != nil {
		return Recipients{}, fault.New(fault.ComposeFile, "", "%s: %s", f.Show(RecipientsFile), reason(err))
	}
	return ParseRecipients(f.Show(RecipientsFile), data)
}

// Read decrypts one file. It is nil, and no key is looked for, when the file is not there.
func (f Folder) Read(file File, keys *Keys) (Values, error) {
	_, values, err := f.read(file, keys)
	return values, err
}

// read answers the bytes of the file too.
func (f Folder) read(file File, keys *Keys) (data []byte, values Values, err error) {
	data, err = os.ReadFile(filepath.Join(f.Dir, file.Name))
	shown := f.Show(file.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fault.New(fault.ComposeFile, "make it readable for the user that runs perch", "%s: %s", shown, reason(err))
	}
	recipients, _ := f.Recipients() // they are for the message only
	text, err := keys.unseal(shown, data, recipients.List())
	if err != nil {
		return data, nil, err
	}
	if values, err = Parse(text); err == nil {
		err = values.Check()
	}
	if err != nil {
		return data, nil, fault.New(fault.ComposeFile, "mend it: perch secrets edit", "%s: what is encrypted in it: %w", shown, err)
	}
	return data, values, nil
}

// Variables are the secrets that count for a target: its own, and of those for all the ones that it has no own of.
func (f Folder) Variables(target string, keys *Keys) (Values, error) {
	files := []File{{Name: "secrets.age"}}
	if target != "" {
		own, err := FileOf(target)
		if err != nil {
			return nil, err
		}
		files = append(files, own)
	}
	all := Values{}
	for _, file := range files {
		values, err := f.Read(file, keys)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, values)
	}
	return all, nil
}

// Begin makes the recipients file, with the public key of this user in it, when there is none. It answers that key's
// private half's file, and whether that was made too; "" when nothing was to do.
func (f Folder) Begin(keys *Keys, name string) (keyFile string, made bool, err error) {
	recipients, err := f.Recipients()
	if err != nil || len(recipients.List()) > 0 {
		return "", false, err
	}
	public, keyFile, made, err := keys.Own()
	if err != nil {
		return "", false, err
	}
	if _, err := recipients.Add(public, name); err != nil {
		return "", false, err
	}
	return keyFile, made, replace(filepath.Join(f.Dir, RecipientsFile), recipients.Text())
}

// Update changes the values of one file while nobody else does. A file without values is removed. It answers whether
// something changed; else nothing is written, since encrypting anew would look like a change to git.
func (f Folder) Update(file File, keys *Keys, change func(Values) (Values, error)) (changed bool, err error) {
	unlock, err := f.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	before, values, err := f.read(file, keys)
	if err != nil {
		return false, err
	}
	if values == nil {
		values = Values{}
	}
	next, err := change(maps.Clone(values))
	if err != nil {
		return false, err
	}
	if err := next.Check(); err != nil {
		return false, err
	}
	if maps.Equal(values, next) {
		return false, nil
	}
	path := filepath.Join(f.Dir, file.Name)
	if len(next) == 0 {
		return true, os.Remove(path)
	}
	sealed, err := f.sealFor(keys, next)
	if err != nil {
		return false, err
	}
	if now, err := os.ReadFile(path); !bytes.Equal(now, before) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fault.New(fault.Other, "run it again", "%s: somebody else changed it meanwhile", f.Show(file.Name))
	}
	return true, replace(path, sealed)
}

// sealFor encrypts values for the recipients, of whom this user must be one: or the values would be lost to who wrote them.
func (f Folder) sealFor(keys *Keys, values Values) ([]byte, error) {
	recipients, err := f.Recipients()
	if err != nil {
		return nil, err
	}
	publics, _, err := keys.Public()
	if err != nil {
		return nil, err
	}
	if !recipients.has(publics) {
		return nil, fault.New(fault.ComposeFile, keys.hint(recipients.List()), "%s: none of your keys is in it: you could not read what you write",
			f.Show(RecipientsFile))
	}
	return seals(recipients, values)
}

func seals(to Recipients, values Values) ([]byte, error) {
	text, err := values.Text()
	if err != nil {
		return nil, err
	}
	return to.encrypt(text)
}

// ChangeRecipients changes who can read the secrets, and encrypts all files anew. The recipients file is written last, so
// that a run that was killed can be run again. keep is asked when this user would not be among them. It answers the files
// that were encrypted.
func (f Folder) ChangeRecipients(keys *Keys, change func(*Recipients) error, keep func() error) ([]File, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	recipients, err := f.Recipients()
	if err != nil {
		return nil, err
	}
	if err := change(&recipients); err != nil {
		return nil, err
	}
	files, err := f.Files()
	if err != nil {
		return nil, err
	}
	publics, _, err := keys.Public()
	if err != nil {
		return nil, err
	}
	if !recipients.has(publics) {
		if err := keep(); err != nil {
			return nil, err
		}
	}
	sealed := make([][]byte, len(files))
	for i, file := range files { // all of them before the first is written
		values, err := f.Read(file, keys)
		if err != nil {
			return nil, err
		}
		if sealed[i], err = seals(recipients, values); err != nil {
			return nil, err
		}
	}
	for i, file := range files {
		if err := replace(filepath.Join(f.Dir, file.Name), sealed[i]); err != nil {
			return nil, err
		}
	}
	return files, replace(filepath.Join(f.Dir, RecipientsFile), recipients.Text())
}

// lock keeps other runs from writing. The folder itself is locked, so that no file is left for it; where a file system has
// no such lock, a look before writing must do.
func (f Folder) lock() (unlock func(), err error) {
	dir, err := os.Open(f.Dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	for _, none := range []error{unix.EBADF, unix.ENOLCK, unix.ENOTSUP, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, none) {
			err = nil
		}
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return func() { _ = dir.Close() }, nil
}

// replace writes a file that is there whole or not at all, and on disk before it has its name. Others may read it: it is
// encrypted, or has public keys, and is committed.
func replace(path string, data []byte) error {
	if resolved, err := filepath.EvalSymlinks(path); err == nil { // a link stays one
		path = resolved
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
