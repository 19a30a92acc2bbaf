package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"strongroom/internal/dump"
)

const recipientHint = `"age-keygen" makes a pair: the public key, age1…, for dumps, and the identity that opens them, to be kept elsewhere`

// maxKeyFile bounds a file of recipients or identities.
const maxKeyFile = 1 << 20

// recipients are those of the flags: at least one. What is no recipient is not repeated, since it
// may be the secret half.
func (c *call) recipients() (all []age.Recipient, err error) {
	given, err := c.flags.GetStringArray("recipient")
	if err != nil {
		return nil, err
	}
	for i, text := range given {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, usage(recipientHint, "--recipient: number %d is none: want age1…, ssh-ed25519 … or ssh-rsa …", i+1)
		}
		all = append(all, r)
	}
	files, err := c.flags.GetStringArray("recipients-file")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		more, err := recipientsIn(name)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, usage(recipientHint, "want whom the dump is encrypted to, with --recipient or --recipients-file")
	}
	return all, nil
}

// recipientsIn reads a file of recipients, one a line, with empty lines and comments.
func recipientsIn(name string) (all []age.Recipient, err error) {
	b, err := readKeyFile(name, "recipients")
	if err != nil {
		return nil, err
	}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := parseRecipient(line)
		if err != nil {
			return nil, usage(recipientHint, "--recipients-file %s: line %d is no recipient: want age1…, ssh-ed25519 … or ssh-rsa …", name, number)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, usage(recipientHint, "--recipients-file %s: it holds no recipient", name)
	}
	return all, nil
}

func parseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "ssh-") {
		return agessh.ParseRecipient(text)
	}
	all, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(all) != 1 {
		return nil, errors.New("no recipient")
	}
	return all[0], nil
}

func readKeyFile(name, what string) ([]byte, error) {
	f, err := openFile(name, what)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, what, maxKeyFile)
}

// dumpIdentities are those of the files of --identity; none if there are none.
func (c *call) dumpIdentities() (all []age.Identity, err error) {
	files, err := c.flags.GetStringArray("identity")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := readKeyFile(name, "identity")
		if err != nil {
			return nil, err
		}
		more, err := parseIdentities(b)
		if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
			return nil, failed(`"age --decrypt" asks for the passphrase: age -d -i KEYFILE DUMP | strongroom restore --from -`, "--identity %s is locked by a passphrase", name)
		}
		if err != nil { // its text may hold a part of the key
			return nil, usage("", "--identity %s: want a file with AGE-SECRET-KEY-… or AGE-SECRET-KEY-PQ-…, or a private key of SSH", name)
		}
		all = append(all, more...)
	}
	return all, nil
}

func parseIdentities(b []byte) ([]age.Identity, error) {
	if bytes.HasPrefix(b, []byte("-----BEGIN")) {
		id, err := agessh.ParseIdentity(b)
		return []age.Identity{id}, err
	}
	return age.ParseIdentities(bytes.NewReader(b))
}

// ageIntro begins a file of age.
const ageIntro = "age-encryption.org/"

// decrypt opens the dump's encryption. Without identities it must come decrypted, as from a pipe.
func decrypt(in io.Reader, identities []age.Identity) (io.Reader, error) {
	head := make([]byte, len(ageIntro))
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read the dump: %w", err)
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	encrypted := string(head[:n]) == ageIntro
	switch {
	case n == 0:
		return nil, failed("", "the dump is empty")
	case !encrypted && len(identities) > 0:
		return nil, failed("", "found something else than a file of age, which every dump is")
	case encrypted && len(identities) == 0:
		return nil, usage("", "the dump is encrypted: want the file with the age identity, with --identity")
	case !encrypted:
		return in, nil
	}
	out, err := age.Decrypt(in, identities...)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, failed("name the identity file of one of the recipients that the dump was made with", "no identity of --identity opens the dump: it was encrypted to others")
	}
	if err != nil {
		return nil, brokenAge{err}
	}
	return unsealed{out}, nil
}

// brokenAge says what it means that the encryption does not hold.
type brokenAge struct{ err error }

func (e brokenAge) Error() string {
	return "the dump was cut short, or changed after it was made (" + e.err.Error() + ")"
}

func (e brokenAge) Unwrap() error { return dump.ErrChanged }

// unsealed names the errors of a decrypted stream.
type unsealed struct{ in io.Reader }

func (u unsealed) Read(b []byte) (int, error) {
	n, err := u.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = brokenAge{err}
	}
	return n, err
}
