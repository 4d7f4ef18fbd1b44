package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/perch-k8s/perch/internal/fault"
)

// KeyFiles say where private keys are looked for. All that are there are tried; a passphrase is asked for only when no other
// key opens the file and the key that has one would.
type KeyFiles struct {
	Given string   // named by the user, so it must be there and be good; "": none
	Own   string   // an age identity of this user; OwnPublic makes it
	SSH   []string // private keys of SSH, ed25519 and RSA; those of no use are passed over

	// Ask asks for the passphrase of a private key. nil: there is nobody to ask.
	Ask func(file string) ([]byte, error)
}

// Keys are the private keys of this user, read when they are first needed. They remember what a passphrase opened.
type Keys struct {
	files KeyFiles
	open  func() ([]key, error)

	passed []string // files that are of no use, and why
	failed error    // why a key that has a passphrase was not opened
}

// key is one private key.
type key struct {
	file     string
	public   string // as a line of the recipients file
	identity age.Identity
	locked   bool // it has a passphrase
}

// NewKeys are the keys of those files.
func NewKeys(files KeyFiles) *Keys {
	k := &Keys{files: files}
	k.open = sync.OnceValues(k.read)
	return k
}

// read reads all files. Keys with a passphrase come last, so that it is not asked for in vain.
func (k *Keys) read() ([]key, error) {
	var all []key
	if file := k.files.Given; file != "" {
		found, err := k.readFile(file)
		if err != nil {
			return nil, fault.New(fault.ComposeFile, "name a file with a private key of age or SSH, or unset PERCH_AGE_IDENTITY",
				"PERCH_AGE_IDENTITY: %s: %s", file, reason(err))
		}
		all = append(all, found...)
	}
	for _, file := range append([]string{k.files.Own}, k.files.SSH...) {
		if file == "" {
			continue
		}
		found, err := k.readFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			k.passed = append(k.passed, file+": "+reason(err))
		default:
			all = append(all, found...)
		}
	}
	slices.SortStableFunc(all, func(a, b key) int {
		switch {
		case a.locked == b.locked:
			return 0
		case a.locked:
			return 1
		}
		return -1
	})
	return all, nil
}

func (k *Keys) readFile(file string) ([]key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		one, err := k.sshKey(file, data)
		return []key{one}, err
	}
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("no identity file of age (plugins are not known here)") // its own words may have some of the key
	}
	keys := make([]key, 0, len(identities))
	for _, identity := range identities {
		keys = append(keys, key{file: file, public: publicOf(identity), identity: identity})
	}
	return keys, nil
}

// publicOf is the public key of an age identity, "" for kinds that came after this was written.
func publicOf(identity age.Identity) string {
	switch identity := identity.(type) {
	case *age.X25519Identity:
		return identity.Recipient().String()
	case *age.HybridIdentity:
		return identity.Recipient().String()
	}
	return ""
}

func (k *Keys) sshKey(file string, pem []byte) (key, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		return k.lockedKey(file, pem, missing.PublicKey)
	}
	if err != nil {
		return key{}, errors.New("no private key of SSH that is known here")
	}
	identity, err := agessh.ParseIdentity(pem)
	if err != nil {
		return key{}, errors.New("age takes keys of the kinds ed25519 and RSA only")
	}
	return key{file: file, public: authorized(signer.PublicKey()), identity: identity}, nil
}

// lockedKey is a private key with a passphrase. Its public half is in it, or in the file beside it when it is of an old form.
func (k *Keys) lockedKey(file string, pem []byte, public ssh.PublicKey) (key, error) {
	if public == nil {
		data, err := os.ReadFile(file + ".pub")
		if err != nil {
			return key{}, fmt.Errorf("it has a passphrase, and its public half cannot be read: %s", reason(err))
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(data); err != nil {
			return key{}, fmt.Errorf("it has a passphrase, and %s.pub is no public key", filepath.Base(file))
		}
	}
	identity, err := agessh.NewEncryptedSSHIdentity(public, pem, func() ([]byte, error) { return k.ask(file) })
	if err != nil {
		return key{}, errors.New("age takes keys of the kinds ed25519 and RSA only")
	}
	return key{file: file, public: authorized(public), identity: &lockedIdentity{identity, k, file}, locked: true}, nil
}

func (k *Keys) ask(file string) (passphrase []byte, err error) {
	if k.files.Ask == nil {
		k.failed = fault.New(fault.ComposeFile, "run it on a terminal, or name another key with PERCH_AGE_IDENTITY",
			"the key %s has a passphrase, and there is no terminal to ask for it", file)
		return nil, k.failed
	}
	passphrase, k.failed = k.files.Ask(file)
	return passphrase, k.failed
}

// lockedIdentity remembers why a key could not be opened: age keeps no errors of others.
type lockedIdentity struct {
	inner *agessh.EncryptedSSHIdentity
	keys  *Keys
	file  string
}

var _ age.Identity = (*lockedIdentity)(nil)

// Unwrap is that of age.Identity.
func (l *lockedIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	l.keys.failed = nil
	data, err := l.inner.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) && l.keys.failed == nil {
		l.keys.failed = fault.New(fault.ComposeFile, "try again", "the key %s was not opened: the passphrase is wrong", l.file)
	}
	return data, err
}

func authorized(public ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// Public are the public keys of this user, as lines of a recipients file, with the files that the private ones are in.
func (k *Keys) Public() (public, files []string, err error) {
	all, err := k.open()
	for _, one := range all {
		if one.public != "" {
			public, files = append(public, one.public), append(files, one.file)
		}
	}
	return public, files, err
}

// Own is the public key of this user that others encrypt for: that of the first private key there is. When there is none,
// an age identity is made, 0600.
func (k *Keys) Own() (public, file string, made bool, err error) {
	publics, files, err := k.Public()
	if err != nil {
		return "", "", false, err
	}
	if len(publics) > 0 {
		return publics[0], files[0], false, nil
	}
	if k.files.Own == "" {
		return "", "", false, fault.New(fault.Usage, "set HOME, or name a file with PERCH_AGE_IDENTITY", "there is no private key, and no place to make one")
	}
	if len(k.passed) > 0 && strings.HasPrefix(k.passed[0], k.files.Own+": ") {
		return "", "", false, fault.New(fault.Other, "move it away, and a new one is made", "%s", k.passed[0])
	}
	public, err = makeIdentity(k.files.Own)
	k.open = sync.OnceValues(k.read)
	return public, k.files.Own, true, err
}

// makeIdentity writes a new age identity. One that is there stays.
func makeIdentity(file string) (public string, err error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	public = identity.Recipient().String()
	return public, writeNew(file, fmt.Sprintf("# public key: %s\n%s\n", public, identity))
}

func writeNew(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// reason is the cause of a file error without the path, which the message has already.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
