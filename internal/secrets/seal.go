package secrets

import (
	"bytes"
	"errors"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/perch-k8s/perch/internal/fault"
)

// seal encrypts data, armored: a diff of git shows that it changed, and a mail or a paste does not break it.
func seal(out io.Writer, data []byte, to []age.Recipient) error {
	lines := armor.NewWriter(out)
	w, err := age.Encrypt(lines, to...)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return errors.Join(w.Close(), lines.Close())
}

// unseal decrypts what seal made. shown is how errors name the file, who are those that could read it. What a library says
// of a file that is not encrypted may quote it, and is passed on nowhere.
func (k *Keys) unseal(shown string, data []byte, who []Recipient) ([]byte, error) {
	if err := foreign(shown, data); err != nil {
		return nil, err
	}
	keys, err := k.open()
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fault.New(fault.ComposeFile, k.hint(who), "%s: cannot be decrypted: there is no private key%s", shown, k.tried(keys))
	}
	identities := make([]age.Identity, len(keys))
	for i, one := range keys {
		identities[i] = one.identity
	}
	k.failed = nil
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), identities...)
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(r, 2*largest))
	}
	_, noMatch := errors.AsType[*age.NoIdentityMatchError](err)
	switch {
	case err == nil:
		return data, nil
	case k.failed != nil:
		kind := fault.KindOf(k.failed)
		if kind == fault.Other {
			return nil, k.failed // the user broke it off
		}
		return nil, fault.New(kind, fault.HintOf(k.failed), "%s: cannot be decrypted: %w", shown, k.failed)
	case noMatch:
		return nil, fault.New(fault.ComposeFile, k.hint(who), "%s: cannot be decrypted: it is not encrypted for any key of yours%s", shown, k.tried(keys))
	}
	return nil, fault.New(fault.ComposeFile, "take the last good one from git: git checkout -- "+shown, "%s: cannot be decrypted: it is damaged or cut off", shown)
}

// foreign tells of files that never were encrypted, or that git has merged.
func foreign(shown string, data []byte) error {
	text := bytes.TrimSpace(data)
	switch {
	case bytes.HasPrefix(text, []byte(armor.Header)):
		if bytes.Contains(text, []byte("\n<<<<<<< ")) {
			break
		}
		return nil
	case bytes.HasPrefix(text, []byte("<<<<<<< ")):
	default:
		return fault.New(fault.ComposeFile, "if it has secrets in the clear: move it away, run perch secrets import, and change what was committed",
			"%s: this is no file that age encrypted", shown)
	}
	return fault.New(fault.ComposeFile, "keep one side (git checkout --ours -- "+shown+"), and set again what the other one changed",
		"%s: git could not merge it: it has both sides", shown)
}

// tried is where keys were found or not used, for a message.
func (k *Keys) tried(keys []key) string {
	var words []byte
	for _, one := range keys {
		words = append(append(words, ", "...), one.file...)
	}
	for _, one := range k.passed {
		words = append(append(words, ", "...), "not used: "+one...)
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + string(words[2:]) + ")"
}

// hint says who can help, and how.
func (k *Keys) hint(who []Recipient) string {
	add := "perch secrets recipients add, with what perch secrets key prints here"
	if publics, _, err := k.Public(); err == nil && len(publics) > 0 {
		add = `perch secrets recipients add "` + publics[0] + `"`
	}
	if len(who) == 0 {
		return "name your key with PERCH_AGE_IDENTITY, or let one who can read it run: " + add
	}
	return "it can be read by " + names(who) + ": let one of them run: " + add
}
