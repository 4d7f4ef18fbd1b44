package secrets

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/perch-k8s/perch/internal/fault"
)

// RecipientsFile is the name of the file of public keys. It is one for all secrets of a project, is committed, and is as
// age's own command takes it with -R.
const RecipientsFile = "secrets.recipients"

// Recipient is one who can read the secrets.
type Recipient struct {
	Key  string `json:"key"`  // age1…, or the kind and the key of an SSH key, without its comment
	Name string `json:"name"` // the comment of an SSH key, or the comment line above one of age; "": none
}

func (r Recipient) String() string {
	if r.Name != "" {
		return r.Name
	}
	return shortKey(r.Key)
}

// shortKey is enough of a key to know it by.
func shortKey(key string) string {
	const begin, end = 22, 8
	if len(key) <= begin+end {
		return key
	}
	return key[:begin] + "…" + key[len(key)-end:]
}

// Recipients are the lines of the recipients file. Comments and empty lines stay where they are.
type Recipients struct{ lines []string }

// firstLines stand at the head of a recipients file that is made.
const firstLines = "# Who can read the secrets of this project: public keys of age and SSH, one a line.\n" +
	"# Change it with perch secrets recipients add|rm, which encrypts the secrets anew."

// ParseRecipients reads a recipients file. shown is how errors name it.
func ParseRecipients(shown string, data []byte) (Recipients, error) {
	var r Recipients
	if text := strings.TrimRight(string(data), "\n"); text != "" {
		r.lines = strings.Split(text, "\n")
	}
	for i, line := range r.lines {
		if isKey(line) {
			if _, err := recipientOf(line); err != nil {
				return r, fault.New(fault.ComposeFile, fault.HintOf(err), "%s:%d: %w", shown, i+1, err)
			}
		}
	}
	return r, nil
}

func isKey(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && line[0] != '#'
}

// recipientOf reads one line. The line is in no error: it may be a private key.
func recipientOf(line string) (age.Recipient, error) {
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "age1"):
		list, err := age.ParseRecipients(strings.NewReader(line))
		if err != nil {
			return nil, fault.New(fault.Usage, "look for a letter that is missing", "not a public key of age")
		}
		return list[0], nil
	case strings.HasPrefix(line, "AGE-SECRET-KEY-"), strings.Contains(line, "PRIVATE KEY"):
		return nil, fault.New(fault.Usage, "take it out, make a new key, and give its public half, which begins with age1 or ssh-", "this is a private key")
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, fault.New(fault.Usage, "a line begins with age1, ssh-ed25519 or ssh-rsa", "not a public key")
	}
	r, err := agessh.ParseRecipient(authorized(public))
	if err != nil {
		return nil, fault.New(fault.Usage, "use a key of the kind ssh-ed25519, or ssh-rsa of 2048 bits or more", "age takes no such key (%s)", public.Type())
	}
	return r, nil
}

// keyOf is a key as it is compared: without comment.
func keyOf(line string) string {
	line = strings.TrimSpace(line)
	if public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
		return authorized(public)
	}
	return line
}

// at is the recipient of a line.
func (r Recipients) at(i int) Recipient {
	one := Recipient{Key: keyOf(r.lines[i])}
	if _, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(r.lines[i]))); err == nil {
		one.Name = comment
	} else if i > 0 {
		if name, ok := strings.CutPrefix(strings.TrimSpace(r.lines[i-1]), "# "); ok && (i == 1 || !strings.HasPrefix(r.lines[i-2], "#")) {
			one.Name = name
		}
	}
	return one
}

// List are all recipients, in the order of the file.
func (r Recipients) List() []Recipient {
	var all []Recipient
	for i, line := range r.lines {
		if isKey(line) {
			all = append(all, r.at(i))
		}
	}
	return all
}

// has tells whether one of these public keys is among the recipients.
func (r Recipients) has(public []string) bool {
	return slices.ContainsFunc(r.List(), func(one Recipient) bool { return slices.Contains(public, one.Key) })
}

// Add adds the key of a line, with a name that may be "". It tells whether it was not there before.
func (r *Recipients) Add(line, name string) (bool, error) {
	line = strings.TrimSpace(line)
	if _, err := recipientOf(line); err != nil {
		return false, err
	}
	if r.has([]string{keyOf(line)}) {
		return false, nil
	}
	if strings.ContainsAny(name, "\r\n") {
		return false, fault.New(fault.Usage, "", "a name is one line")
	}
	if len(r.lines) == 0 {
		r.lines = strings.Split(firstLines, "\n")
	}
	switch {
	case strings.HasPrefix(line, "age1") && name != "":
		r.lines = append(r.lines, "", "# "+name, line)
	case strings.HasPrefix(line, "age1"):
		r.lines = append(r.lines, "", line)
	case name != "":
		r.lines = append(r.lines, keyOf(line)+" "+name)
	default:
		r.lines = append(r.lines, line)
	}
	return true, nil
}

// Remove takes out every recipient that has this key or this name, and answers them.
func (r *Recipients) Remove(keyOrName string) ([]Recipient, error) {
	var removed []Recipient
	drop := map[int]bool{}
	for i, line := range r.lines {
		if !isKey(line) {
			continue
		}
		if one := r.at(i); one.Key == keyOf(keyOrName) || one.Name == keyOrName {
			removed = append(removed, one)
			drop[i] = true
			if one.Name != "" && strings.HasPrefix(one.Key, "age1") {
				drop[i-1] = true
			}
		}
	}
	if len(removed) == 0 {
		return nil, fault.New(fault.Usage, "those there are: "+names(r.List()), "no recipient has this key or name: %q", shortKey(keyOrName))
	}
	if len(removed) == len(r.List()) {
		return nil, fault.New(fault.Usage, "add another one first: perch secrets recipients add", "this is the last recipient: nobody could read the secrets")
	}
	var left []string
	for i, line := range r.lines {
		if drop[i] || line == "" && len(left) > 0 && left[len(left)-1] == "" {
			continue
		}
		left = append(left, line)
	}
	r.lines = left
	return removed, nil
}

// Text is the content of the file.
func (r Recipients) Text() []byte {
	return []byte(strings.TrimRight(strings.Join(r.lines, "\n"), "\n") + "\n")
}

// names are recipients as a message has them.
func names(list []Recipient) string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = one.String()
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// encrypt is data for all recipients, as text.
func (r Recipients) encrypt(data []byte) ([]byte, error) {
	var to []age.Recipient
	for _, line := range r.lines {
		if isKey(line) {
			one, err := recipientOf(line)
			if err != nil {
				return nil, err
			}
			to = append(to, one)
		}
	}
	if len(to) == 0 {
		return nil, fault.New(fault.ComposeFile, "add one: perch secrets recipients add", "%s has no public key", RecipientsFile)
	}
	var out bytes.Buffer
	if err := seal(&out, data, to); err != nil {
		return nil, fault.New(fault.Other, "keys that resist quantum computers (age1pq) and others do not go together", "encrypt: %w", err)
	}
	return out.Bytes(), nil
}

var _ fmt.Stringer = Recipient{}
