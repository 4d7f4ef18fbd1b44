package secrets_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
)

// marker stands for a secret. No message and no file may have it.
const marker = "mArKeR-7x3-value"

// ageKey makes an age identity file and is its path and public key.
func ageKey(t *testing.T) (file, public string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return written(t, "# mine\n"+identity.String()+"\n"), identity.Recipient().String()
}

// sshKey makes an SSH key of a kind, with a passphrase when there is one, and is its path and public key.
func sshKey(t *testing.T, kind, passphrase string) (file, public string) {
	t.Helper()
	var key any
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "somebody@laptop")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "somebody@laptop", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, string(pem.EncodeToMemory(block))), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " somebody@laptop"
}

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func given(file string) *secrets.Keys { return secrets.NewKeys(secrets.KeyFiles{Given: file}) }

func fileOf(t *testing.T, target string) secrets.File {
	t.Helper()
	file, err := secrets.FileOf(target)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func set(t *testing.T, f secrets.Folder, target string, keys *secrets.Keys, values secrets.Values) {
	t.Helper()
	changed, err := f.Update(fileOf(t, target), keys, func(all secrets.Values) (secrets.Values, error) {
		maps.Copy(all, values)
		return all, nil
	})
	if err != nil || !changed {
		t.Fatalf("set: %v, changed: %t", err, changed)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRoundTrip: for every kind of key, what was set is read again, and stands nowhere in the clear.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	values := secrets.Values{"DB_PASSWORD": marker, "TLS_KEY": "-----BEGIN X-----\n" + marker + "\n-----END X-----\n", "Umlaut": "p\"ä': #" + marker}
	for kind, make := range map[string]func() (file, public string){
		"age":         func() (string, string) { return ageKey(t) },
		"ssh-ed25519": func() (string, string) { return sshKey(t, "ed25519", "") },
		"ssh-rsa":     func() (string, string) { return sshKey(t, "rsa", "") },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			file, public := make()
			f := secrets.Folder{Dir: t.TempDir()}
			if _, made, err := f.Begin(given(file), "me"); err != nil || made {
				t.Fatalf("begin: %v, made a key: %t", err, made)
			}
			set(t, f, "", given(file), values)
			got, err := f.Read(fileOf(t, ""), given(file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(values, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			text := content(t, filepath.Join(f.Dir, "secrets.age"))
			if !strings.HasPrefix(text, "-----BEGIN AGE ENCRYPTED FILE-----\n") || strings.Contains(text, marker) {
				t.Errorf("the file is\n%s", text)
			}
			if list := content(t, filepath.Join(f.Dir, secrets.RecipientsFile)); !strings.Contains(list, strings.Fields(public)[len(strings.Fields(public))/2]) {
				t.Errorf("%s is not in\n%s", public, list)
			}
			left, err := os.ReadDir(f.Dir)
			if err != nil || len(left) != 2 {
				t.Errorf("the folder has %v, %v", left, err)
			}
		})
	}
}

// TestUnchanged: what changes nothing writes nothing, since each encryption has other bytes.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	file, _ := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir()}
	if _, _, err := f.Begin(given(file), ""); err != nil {
		t.Fatal(err)
	}
	set(t, f, "", given(file), secrets.Values{"A": marker})
	before := content(t, filepath.Join(f.Dir, "secrets.age"))
	changed, err := f.Update(fileOf(t, ""), given(file), func(v secrets.Values) (secrets.Values, error) {
		v["A"] = marker
		return v, nil
	})
	if err != nil || changed || content(t, filepath.Join(f.Dir, "secrets.age")) != before {
		t.Errorf("changed: %t, %v", changed, err)
	}
	changed, err = f.Update(fileOf(t, ""), given(file), func(secrets.Values) (secrets.Values, error) { return secrets.Values{}, nil })
	if err != nil || !changed {
		t.Errorf("the last one removed: changed: %t, %v", changed, err)
	}
	if files, err := f.Files(); err != nil || len(files) > 0 {
		t.Errorf("left: %v, %v", files, err)
	}
}

// TestTargets: the target's own secrets win over those for all.
func TestTargets(t *testing.T) {
	t.Parallel()
	file, _ := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir()}
	if got, err := f.Variables("prod", secrets.NewKeys(secrets.KeyFiles{Given: "/not/there"})); err != nil || len(got) > 0 {
		t.Errorf("without files no key is looked for: %v, %v", got, err)
	}
	if _, _, err := f.Begin(given(file), ""); err != nil {
		t.Fatal(err)
	}
	set(t, f, "", given(file), secrets.Values{"A": "all", "B": "all"})
	set(t, f, "prod", given(file), secrets.Values{"B": "prod", "C": "prod"})
	set(t, f, "test-2", given(file), secrets.Values{"B": "test"})
	for target, want := range map[string]secrets.Values{
		"": {"A": "all", "B": "all"}, "prod": {"A": "all", "B": "prod", "C": "prod"}, "other": {"A": "all", "B": "all"},
	} {
		got, err := f.Variables(target, given(file))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v -want +got:\n%s", target, err, diff)
		}
	}
	files, err := f.Files()
	want := []secrets.File{{Name: "secrets.age"}, {Name: "secrets.prod.age", Target: "prod"}, {Name: "secrets.test-2.age", Target: "test-2"}}
	if diff := cmp.Diff(want, files); err != nil || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	if _, err := secrets.FileOf("../x"); fault.KindOf(err) != fault.Usage {
		t.Errorf("a target with a slash: %v", err)
	}
}

// TestCannotDecrypt: each way in which a file is not to be read has its own words, and none of them quotes the file.
func TestCannotDecrypt(t *testing.T) {
	t.Parallel()
	mine, _ := ageKey(t)
	other, _ := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir(), Shown: "app"}
	if _, _, err := f.Begin(given(mine), "alice"); err != nil {
		t.Fatal(err)
	}
	set(t, f, "", given(mine), secrets.Values{"A": marker})
	good := content(t, filepath.Join(f.Dir, "secrets.age"))
	for name, c := range map[string]struct {
		text string
		keys *secrets.Keys
		want []string
	}{
		"wrong key":      {good, given(other), []string{"app/secrets.age", "not encrypted for any key of yours", other, "read by alice", `recipients add "age1`}},
		"no key":         {good, secrets.NewKeys(secrets.KeyFiles{Own: "/not/there"}), []string{"there is no private key", "read by alice", "perch secrets key"}},
		"bad key":        {good, given(written(t, marker)), []string{"PERCH_AGE_IDENTITY", "no identity file of age"}},
		"key not there":  {good, given("/not/there"), []string{"PERCH_AGE_IDENTITY: /not/there: no such file"}},
		"in the clear":   {"A: " + marker + "\n", given(mine), []string{"no file that age encrypted", "perch secrets import"}},
		"empty":          {"", given(mine), []string{"no file that age encrypted"}},
		"cut off":        {good[:len(good)-90], given(mine), []string{"damaged or cut off", "git checkout"}},
		"cut in a line":  {good[:len(good)/2], given(mine), []string{"damaged or cut off"}},
		"letter changed": {strings.Replace(good, good[len(good)-60:len(good)-50], "AAAAAAAAAA", 1), given(mine), []string{"damaged or cut off"}},
		"merged by git":  {"<<<<<<< HEAD\n" + good + "=======\n" + good + ">>>>>>> other\n", given(mine), []string{"both sides", "--ours"}},
		"merged in part": {strings.Replace(good, "\n", "\n<<<<<<< HEAD\n", 2), given(mine), []string{"both sides"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := secrets.Folder{Dir: t.TempDir(), Shown: "app"}
			for name, text := range map[string]string{"secrets.age": c.text, secrets.RecipientsFile: "# alice\nage1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n"} {
				if err := os.WriteFile(filepath.Join(f.Dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := f.Read(fileOf(t, ""), c.keys)
			if fault.KindOf(err) != fault.ComposeFile {
				t.Fatalf("error %v", err)
			}
			text := err.Error() + "\n" + fault.HintOf(err)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in:\n%s", want, text)
				}
			}
			if strings.Contains(text, marker) {
				t.Errorf("the secret is in:\n%s", text)
			}
			_, err = f.Update(fileOf(t, ""), c.keys, func(secrets.Values) (secrets.Values, error) { return secrets.Values{"B": "new"}, nil })
			if err == nil || content(t, filepath.Join(f.Dir, "secrets.age")) != c.text {
				t.Errorf("a file that cannot be read was written: %v", err)
			}
		})
	}
}

// TestPassphrase: it is asked for once, only when no other key does it, and a wrong one is said to be wrong.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "rsa"} {
		locked, public := sshKey(t, kind, "open sesame")
		open, openPublic := ageKey(t)
		f := secrets.Folder{Dir: t.TempDir()}
		asked := 0
		keys := func(pass string, err error) *secrets.Keys {
			return secrets.NewKeys(secrets.KeyFiles{Own: "/not/there", SSH: []string{locked}, Ask: func(file string) ([]byte, error) {
				asked++
				if file != locked {
					t.Errorf("asked for %s", file)
				}
				return []byte(pass), err
			}})
		}
		good := keys("open sesame", nil)
		if _, made, err := f.Begin(good, ""); err != nil || made || asked > 0 {
			t.Fatalf("begin: %v, made %t, asked %d times", err, made, asked)
		}
		set(t, f, "", good, secrets.Values{"A": marker})
		for range 2 {
			if got, err := f.Read(fileOf(t, ""), good); err != nil || got["A"] != marker {
				t.Fatalf("read: %v", err)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		if !strings.Contains(content(t, filepath.Join(f.Dir, secrets.RecipientsFile)), strings.Fields(public)[1]) {
			t.Error("the public key is not that of the private one")
		}
		if _, err := f.Read(fileOf(t, ""), keys("wrong", nil)); fault.KindOf(err) != fault.ComposeFile || !strings.Contains(err.Error(), "passphrase is wrong") {
			t.Errorf("wrong passphrase: %v", err)
		}
		stop := errors.New("broken off")
		if _, err := f.Read(fileOf(t, ""), keys("", stop)); !errors.Is(err, stop) {
			t.Errorf("broken off: %v", err)
		}
		nobody := secrets.NewKeys(secrets.KeyFiles{SSH: []string{locked}})
		if _, err := f.Read(fileOf(t, ""), nobody); fault.KindOf(err) != fault.ComposeFile || !strings.Contains(err.Error(), "no terminal") {
			t.Errorf("nobody to ask: %v", err)
		}
		if _, err := f.ChangeRecipients(good, func(r *secrets.Recipients) error {
			_, err := r.Add(openPublic, "ci")
			return err
		}, nil); err != nil {
			t.Fatal(err)
		}
		asked = 0
		both := secrets.NewKeys(secrets.KeyFiles{Own: open, SSH: []string{locked}, Ask: func(string) ([]byte, error) { asked++; return nil, stop }})
		if got, err := f.Read(fileOf(t, ""), both); err != nil || got["A"] != marker || asked > 0 {
			t.Errorf("with another key too: %v, asked %d times", err, asked)
		}
	}
}

// TestFirstKey: without any private key one is made, for this user alone, and it is used from then on.
func TestFirstKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := filepath.Join(dir, "config", "perch", "identity.txt")
	files := secrets.KeyFiles{Own: own, SSH: []string{filepath.Join(dir, "id_ed25519")}}
	f := secrets.Folder{Dir: dir}
	keys := secrets.NewKeys(files)
	file, made, err := f.Begin(keys, "me@here")
	if err != nil || !made || file != own {
		t.Fatalf("begin: %s, %t, %v", file, made, err)
	}
	for path, want := range map[string]os.FileMode{own: 0o600, filepath.Dir(own): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	set(t, f, "", keys, secrets.Values{"A": marker})
	if got, err := f.Read(fileOf(t, ""), secrets.NewKeys(files)); err != nil || got["A"] != marker {
		t.Errorf("read: %v", err)
	}
	if _, made, err := f.Begin(secrets.NewKeys(files), ""); err != nil || made {
		t.Errorf("again: made %t, %v", made, err)
	}
	public, _, made, err := secrets.NewKeys(files).Own()
	if err != nil || made || !strings.Contains(content(t, filepath.Join(dir, secrets.RecipientsFile)), "# me@here\n"+public+"\n") {
		t.Errorf("own: %s, %v in\n%s", public, err, content(t, filepath.Join(dir, secrets.RecipientsFile)))
	}
	broken := secrets.NewKeys(secrets.KeyFiles{Own: written(t, "AGE-SECRET-KEY-1"+marker)})
	if _, _, made, err := broken.Own(); err == nil || made || strings.Contains(err.Error(), marker) {
		t.Errorf("an identity file that is not one: made %t, %v", made, err)
	}
}

// TestRecipients: who is added can read, who is removed cannot any more, all files are encrypted anew, and nobody shuts
// themselves out unasked.
func TestRecipients(t *testing.T) {
	t.Parallel()
	mine, _ := ageKey(t)
	theirs, theirPublic := sshKey(t, "ed25519", "")
	third, thirdPublic := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir()}
	if _, _, err := f.Begin(given(mine), "me"); err != nil {
		t.Fatal(err)
	}
	set(t, f, "", given(mine), secrets.Values{"A": marker})
	set(t, f, "prod", given(mine), secrets.Values{"A": marker})
	add := func(line, name string) func(r *secrets.Recipients) error {
		return func(r *secrets.Recipients) error {
			_, err := r.Add(line, name)
			return err
		}
	}
	files, err := f.ChangeRecipients(given(mine), add(theirPublic, ""), nil)
	if err != nil || len(files) != 2 {
		t.Fatalf("add: %v, %v", files, err)
	}
	if _, err := f.ChangeRecipients(given(theirs), add(thirdPublic, "ci"), nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{mine, theirs, third} {
		for _, target := range []string{"", "prod"} {
			if got, err := f.Read(fileOf(t, target), given(key)); err != nil || got["A"] != marker {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	list, err := f.Recipients()
	if got := fmt.Sprint(list.List()); err != nil || got != "[me somebody@laptop ci]" {
		t.Errorf("list %s, %v", got, err)
	}
	remove := func(name string) func(r *secrets.Recipients) error {
		return func(r *secrets.Recipients) error {
			_, err := r.Remove(name)
			return err
		}
	}
	kept := errors.New("kept")
	keep := func() error { return kept }
	if _, err := f.ChangeRecipients(given(mine), remove("me"), keep); !errors.Is(err, kept) {
		t.Errorf("removing oneself: %v", err)
	}
	if _, err := f.ChangeRecipients(given(mine), remove("somebody@laptop"), keep); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(fileOf(t, "prod"), given(theirs)); err == nil {
		t.Error("who was removed can read")
	}
	if _, err := f.Read(fileOf(t, "prod"), given(third)); err != nil {
		t.Errorf("who stayed cannot read: %v", err)
	}
	if _, err := f.ChangeRecipients(given(mine), remove(thirdPublic), keep); err != nil {
		t.Fatal(err)
	}
	if text := content(t, filepath.Join(f.Dir, secrets.RecipientsFile)); strings.Contains(text, "# ci") || !strings.Contains(text, "# me\nage1") {
		t.Errorf("left:\n%s", text)
	}
	for _, name := range []string{"nobody", "me"} {
		if _, err := f.ChangeRecipients(given(mine), remove(name), keep); fault.KindOf(err) != fault.Usage {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if _, err := f.Update(fileOf(t, ""), given(theirs), func(v secrets.Values) (secrets.Values, error) { return v, nil }); err == nil {
		t.Error("who cannot read writes")
	}
	// One who can read, but whose key is in the file no more, must not write what they cannot read.
	if err := os.WriteFile(filepath.Join(f.Dir, secrets.RecipientsFile), []byte(theirPublic+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Update(fileOf(t, ""), given(mine), func(secrets.Values) (secrets.Values, error) { return secrets.Values{"B": "x"}, nil }); fault.KindOf(err) != fault.ComposeFile {
		t.Errorf("none of one's keys among the recipients: %v", err)
	}
}

func TestRecipientsWrong(t *testing.T) {
	t.Parallel()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		identity.String():                "private key",
		"age1" + strings.Repeat("q", 58): "not a public key of age",
		"alice":                          "not a public key",
		"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg= x": "age takes no such key",
	} {
		_, err := secrets.ParseRecipients("app/secrets.recipients", []byte("# a\n\n"+line+"\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "app/secrets.recipients:3: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err != nil && strings.Contains(err.Error()+fault.HintOf(err), line) {
			t.Errorf("it quotes the line: %v", err)
		}
	}
}

// TestConcurrent: of many who set side by side, nobody's value is lost, and a reader sees a whole file at any time.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	file, _ := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir()}
	if _, _, err := f.Begin(given(file), ""); err != nil {
		t.Fatal(err)
	}
	const many = 20
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			_, err := f.Update(fileOf(t, ""), given(file), func(v secrets.Values) (secrets.Values, error) {
				v[fmt.Sprintf("N%d", i)] = marker
				return v, nil
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := f.Read(fileOf(t, ""), given(file)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := f.Read(fileOf(t, ""), given(file)); err != nil || len(got) != many {
		t.Errorf("%d of %d are there: %v", len(got), many, err)
	}
}

// TestChangedBehind: a file that another program replaced meanwhile, which knows of no lock, is not written over.
func TestChangedBehind(t *testing.T) {
	t.Parallel()
	file, _ := ageKey(t)
	f := secrets.Folder{Dir: t.TempDir()}
	if _, _, err := f.Begin(given(file), ""); err != nil {
		t.Fatal(err)
	}
	set(t, f, "", given(file), secrets.Values{"A": "one"})
	path := filepath.Join(f.Dir, "secrets.age")
	_, err := f.Update(fileOf(t, ""), given(file), func(v secrets.Values) (secrets.Values, error) {
		if err := os.WriteFile(path, []byte("checked out by git"), 0o600); err != nil {
			t.Fatal(err)
		}
		v["A"] = "two"
		return v, nil
	})
	if err == nil || !strings.Contains(err.Error(), "meanwhile") || content(t, path) != "checked out by git" {
		t.Errorf("error %v", err)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	base := secrets.Values{"kept": "1", "changed": "1", "removed": "1", "both": "1", "same": "1", "lost": "1"}
	edited := secrets.Values{"kept": "1", "changed": "2", "both": "2", "same": "2", "lost": "2", "added": "2"}
	now := secrets.Values{"kept": "9", "changed": "1", "removed": "1", "both": "3", "same": "2", "new": "9"}
	merged, conflicts := secrets.Merge(base, edited, now)
	want := secrets.Values{"kept": "9", "changed": "2", "both": "2", "same": "2", "lost": "2", "added": "2", "new": "9"}
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"both", "lost"}, conflicts); diff != "" {
		t.Errorf("conflicts -want +got:\n%s", diff)
	}
}

func TestCheckAndLine(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]secrets.Values{
		"empty": {"A": ""}, "zero": {"A": "x\x00"}, "no text": {"A": "\xff\xfe"}, "name": {"A-B": "x"}, "digit": {"1A": "x"},
		"setting": {"COMPOSE_FILE": "x"}, "large": {"A": strings.Repeat("x", 1<<20)}, "value in the name": {"A=" + marker: "x"},
	} {
		if err := v.Check(); fault.KindOf(err) != fault.Usage || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for in, want := range map[string]string{
		"x\n": "x", "x\r\n": "x", "x": "x", "": "", "\n": "", "x\n\n": "x\n\n", "a\nb\n": "a\nb\n", "a\nb": "a\nb", " x \n": " x ",
	} {
		if got := secrets.Line([]byte(in)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
