package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	data       = "v.vault.test:8443"
	bundle     = `{"value":"p@ss","contentType":"text/plain","id":"https://v.vault.test:8443/secrets/db/0a1b","attributes":{"enabled":true,"created":1795581407,"updated":1795581407,"exp":1801353600},"tags":{"b":"2","a":"1"}}`
	bundleText = "Name          db\nVersion       0a1b\nEnabled       true\nUpdated       2026-11-25T04:36:47Z\n" +
		"Expires       2027-01-31T00:00:00Z\nContent type  text/plain\nTags          a=1 b=2\n"
	notThere = `404 {"error":{"code":"SecretNotFound","message":"A secret with (name/id) x was not found"}}`
)

func TestSecretCommands(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args, in string
		answers  map[string][]string
		requests []string
		want     result
	}{
		{
			name: "set sends the value as it is and does not print it", in: "p@ss\n",
			args:     "set db --tag a=1 --expires 2027-01-31 --content-type text/plain --enabled=false",
			answers:  map[string][]string{"PUT " + data + "/secrets/db?api-version=7.6": {"200 " + bundle}},
			requests: []string{"PUT " + data + `/secrets/db?api-version=7.6 {"attributes":{"enabled":false,"exp":1801353600},"contentType":"text/plain","tags":{"a":"1"},"value":"p@ss\n"}`},
			want:     result{0, bundleText, "strongroom: the value ends in a line end, which is kept\n"},
		},
		{
			name: "set as JSON leaves the value out, too", args: "set db --output json", in: "p@ss",
			answers:  map[string][]string{"PUT " + data + "/secrets/db?api-version=7.6": {`200 {"value":"p@ss","id":"i"}`}},
			requests: []string{"PUT " + data + `/secrets/db?api-version=7.6 {"value":"p@ss"}`},
			want:     result{0, "{\n  \"id\": \"i\"\n}\n", ""},
		},
		{
			name: "binary values are refused and not shown", args: "set db", in: "\xff\xfes3cret",
			want: result{1, "", "strongroom: the value is no text in UTF-8\nstrongroom: hint: store binary values as base64, and say so with --content-type\n"},
		},
		{
			name: "long values are refused", args: "set db", in: strings.Repeat("x", maxInput+1),
			want: result{1, "", "strongroom: the value is over 262144 bytes\n"},
		},
		{
			name: "dates are checked before the value is sent", args: "set db --expires 30", in: "x",
			want: result{2, "", "strongroom: --expires \"30\": want a date as in 2027-01-31 or 2027-01-31T12:00:00Z\n"},
		},
		{
			name: "a tag that is none may be a value", args: "set db --tag s3cret", in: "x",
			want: result{2, "", "strongroom: --tag: want name=value\n"},
		},
		{
			name: "show", args: "show db",
			answers:  map[string][]string{"GET " + data + "/secrets/db?api-version=7.6": {"200 " + bundle}},
			requests: []string{"GET " + data + "/secrets/db?api-version=7.6"},
			want:     result{0, bundleText + "Value         p@ss\n", ""},
		},
		{
			name: "show a version, the value alone", args: "show db --version 0a1b --value-only",
			answers:  map[string][]string{"GET " + data + "/secrets/db/0a1b?api-version=7.6": {"200 " + bundle}},
			requests: []string{"GET " + data + "/secrets/db/0a1b?api-version=7.6"},
			want:     result{0, "p@ss", ""},
		},
		{
			name: "names are one segment", args: "show a/../b?c",
			answers:  map[string][]string{"GET " + data + "/secrets/a%2F..%2Fb%3Fc?api-version=7.6": {notThere}},
			requests: []string{"GET " + data + "/secrets/a%2F..%2Fb%3Fc?api-version=7.6"},
			want:     result{1, "", "strongroom: no secret named \"a/../b?c\" in vault \"v\"\nstrongroom: hint: \"strongroom secret list --vault v\" shows the names\n"},
		},
		{
			name: "a deleted name that is not there", args: "purge db",
			answers:  map[string][]string{"DELETE " + data + "/deletedsecrets/db?api-version=7.6": {notThere}},
			requests: []string{"DELETE " + data + "/deletedsecrets/db?api-version=7.6"},
			want:     result{1, "", "strongroom: no deleted secret named \"db\" in vault \"v\"\nstrongroom: hint: \"strongroom secret list-deleted --vault v\" shows the names\n"},
		},
		{
			name: "a vault that is not there", args: "show db",
			answers:  map[string][]string{"GET " + data + "/secrets/db?api-version=7.6": {`404 {"error":{"code":"VaultNotFound","message":"m"}}`}},
			requests: []string{"GET " + data + "/secrets/db?api-version=7.6"},
			want:     result{1, "", "strongroom: no vault named \"v\"\nstrongroom: hint: \"strongroom vault list\" shows the names\n"},
		},
		{
			name: "list follows its pages", args: "list",
			answers: map[string][]string{
				"GET " + data + "/secrets?api-version=7.6":              {`200 {"value":[{"id":"https://h/secrets/a","attributes":{"enabled":true,"updated":0}}],"nextLink":"https://` + data + `/secrets?api-version=7.6&$skiptoken=t"}`},
				"GET " + data + "/secrets?api-version=7.6&$skiptoken=t": {`200 {"value":[{"id":"https://h/secrets/b","attributes":{"enabled":false,"updated":0},"contentType":"\u001b[2J"}],"nextLink":null}`},
			},
			requests: []string{"GET " + data + "/secrets?api-version=7.6", "GET " + data + "/secrets?api-version=7.6&$skiptoken=t"},
			want: result{0, "NAME  ENABLED  UPDATED               NOT BEFORE  EXPIRES  CONTENT TYPE  TAGS\n" +
				"a     true     1970-01-01T00:00:00Z  -           -        -             -\n" +
				"b     false    1970-01-01T00:00:00Z  -           -        \"\\x1b[2J\"     -\n", ""},
		},
		{
			name: "a page elsewhere is not followed", args: "list",
			answers:  map[string][]string{"GET " + data + "/secrets?api-version=7.6": {`200 {"value":[],"nextLink":"https://evil.test/x"}`}},
			requests: []string{"GET " + data + "/secrets?api-version=7.6"},
			want:     result{1, "", "strongroom: the next page of the list is not at v.vault.test:8443\n"},
		},
		{
			name: "versions as JSON", args: "versions db -o json",
			answers:  map[string][]string{"GET " + data + "/secrets/db/versions?api-version=7.6": {`200 {"value":[{"id":"i"}]}`}},
			requests: []string{"GET " + data + "/secrets/db/versions?api-version=7.6"},
			want:     result{0, "{\n  \"value\": [\n    {\n      \"id\": \"i\"\n    }\n  ]\n}\n", ""},
		},
		{
			name: "update changes what was given and no more", args: "update db --version 0a1b --expires= --enabled=true",
			answers:  map[string][]string{"PATCH " + data + "/secrets/db/0a1b?api-version=7.6": {"200 " + bundle}},
			requests: []string{"PATCH " + data + `/secrets/db/0a1b?api-version=7.6 {"attributes":{"enabled":true,"exp":null}}`},
			want:     result{0, bundleText, ""},
		},
		{
			name: "update of nothing", args: "update db",
			want: result{2, "", "strongroom: nothing to change: want --enabled, --expires, --not-before, --content-type or --tag\n"},
		},
		{
			name: "delete", args: "delete db",
			answers:  map[string][]string{"DELETE " + data + "/secrets/db?api-version=7.6": {`200 {"recoveryId":"https://h/deletedsecrets/db","deletedDate":0,"scheduledPurgeDate":86400}`}},
			requests: []string{"DELETE " + data + "/secrets/db?api-version=7.6"},
			want:     result{0, "Name       db\nDeleted    1970-01-01T00:00:00Z\nPurge due  1970-01-02T00:00:00Z\n", ""},
		},
		{
			name: "purge", args: "purge db",
			answers:  map[string][]string{"DELETE " + data + "/deletedsecrets/db?api-version=7.6": {"204 "}},
			requests: []string{"DELETE " + data + "/deletedsecrets/db?api-version=7.6"},
			want:     result{0, "", "strongroom: purged the secret \"db\"\n"},
		},
		{
			name: "backup", args: "backup db",
			answers:  map[string][]string{"POST " + data + "/secrets/db/backup?api-version=7.6": {`200 {"value":"blob"}`}},
			requests: []string{"POST " + data + "/secrets/db/backup?api-version=7.6"},
			want:     result{0, "blob\n", ""},
		},
		{
			name: "restore", args: "restore", in: "blob\n",
			answers:  map[string][]string{"POST " + data + "/secrets/restore?api-version=7.6": {"200 " + bundle}},
			requests: []string{"POST " + data + `/secrets/restore?api-version=7.6 {"value":"blob"}`},
			want:     result{0, bundleText, ""},
		},
		{
			name: "restore of JSON", args: "restore", in: `{"value":"blob"}`,
			answers:  map[string][]string{"POST " + data + "/secrets/restore?api-version=7.6": {"200 " + bundle}},
			requests: []string{"POST " + data + `/secrets/restore?api-version=7.6 {"value":"blob"}`},
			want:     result{0, bundleText, ""},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, tt.answers)
			args := append([]string{"secret"}, strings.Fields(tt.args)...)
			check(t, s.ask(t, tt.in, append(args, "--vault", "v")...), tt.want)
			diff(t, "requests", s.take(), tt.requests)
		})
	}
}

func TestValueFromFile(t *testing.T) {
	s := newStub(t, map[string][]string{"PUT " + data + "/secrets/db?api-version=7.6": {"200 " + bundle}})
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("from file"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, s.ask(t, "from input", "secret", "set", "db", "--vault", "v", "--file", file), result{0, bundleText, ""})
	diff(t, "requests", s.take(), []string{"PUT " + data + `/secrets/db?api-version=7.6 {"value":"from file"}`})
	check(t, s.ask(t, "", "secret", "set", "db", "--vault", "v", "--file", file+"x"),
		result{1, "", "strongroom: read the value: open " + file + "x: no such file or directory\n" +
			"strongroom: hint: what is there: ls '" + filepath.Dir(file) + "'\n"})
}
