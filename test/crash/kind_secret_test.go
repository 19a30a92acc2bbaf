//go:build unix

package crash

import (
	"fmt"
	"net/http"
	"strings"
)

// A secret is its versions, by their values, the latest of them, and the content type of each.
var secretKind = &kind{name: "secret", often: 10, see: seeSecret, steps: []*step{
	{
		op: "SecretSet", can: lives("", active), refused: http.StatusConflict,
		ask: func(x *thing, mark string) request {
			return x.home.data("SecretSet", "PUT", "/secrets/"+x.name, fmt.Sprintf(`{"value":%q,"contentType":"new"}`, mark))
		},
		does: func(s state, mark string) { s[life], s["latest"], s["value "+mark] = active, mark, "new" },
		learn: func(x *thing, mark string, body []byte) error {
			got, err := decode[bundle](body)
			x.ids["version "+mark] = lastSegment(got.ID)
			return wantEqual(err, got.Value, mark)
		},
	},
	{
		op: "SecretGet", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request { return x.home.data("SecretGet", "GET", "/secrets/"+x.name, "") },
		learn: func(x *thing, _ string, body []byte) error {
			got, err := decode[bundle](body)
			if !x.sure {
				return err
			}
			return wantEqual(err, got.Value, x.belief["latest"])
		},
	},
	{
		op: "SecretUpdate", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, mark string) request {
			return x.home.data("SecretUpdate", "PATCH", "/secrets/"+x.name, fmt.Sprintf(`{"contentType":%q}`, mark))
		},
		does: func(s state, mark string) { s["value "+s["latest"]] = mark },
	},
	{
		op: "SecretDelete", can: lives(active), refused: http.StatusNotFound,
		ask:  func(x *thing, _ string) request { return x.home.data("SecretDelete", "DELETE", "/secrets/"+x.name, "") },
		does: func(s state, _ string) { s[life] = deleted },
	},
	{
		op: "SecretRecover", can: lives(deleted), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request {
			return x.home.data("SecretRecover", "POST", "/deletedsecrets/"+x.name+"/recover", "")
		},
		does: func(s state, _ string) { s[life] = active },
	},
	{
		op: "SecretPurge", can: lives(deleted), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request {
			return x.home.data("SecretPurge", "DELETE", "/deletedsecrets/"+x.name, "")
		},
		does: func(s state, _ string) { s.clear() },
	},
	{
		op: "SecretBackup", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request {
			return x.home.data("SecretBackup", "POST", "/secrets/"+x.name+"/backup", "")
		},
		does: func(s state, mark string) { s["(backup "+mark+")"] = s.encode() },
		learn: func(x *thing, mark string, body []byte) error {
			got, err := decode[bundle](body)
			x.ids["backup"], x.ids["blob"] = mark, got.Value
			return err
		},
	},
	{
		op: "SecretRestore", can: lives(""), refused: http.StatusConflict,
		pick: func(x *thing) (string, bool) { return x.ids["backup"], x.ids["backup"] != "" },
		ask: func(x *thing, _ string) request {
			return x.home.data("SecretRestore", "POST", "/secrets/restore", fmt.Sprintf(`{"value":%q}`, x.ids["blob"]))
		},
		does: func(s state, mark string) { s.put(decodeState(s["(backup "+mark+")"])) },
	},
}}

// A bundle is a secret, a version or a deleted secret, as the data plane shows it.
type bundle struct {
	ID          string `json:"id"`
	Value       string `json:"value"`
	ContentType string `json:"contentType"`
}

func lastSegment(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// seeSecret reads a secret by all ways, which have to agree.
func seeSecret(c *client, x *thing) (state, error) {
	s := state{}
	var latest bundle
	status, err := look(c, x.home.data("SecretGet", "GET", "/secrets/"+x.name, ""), &latest, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	gone, err := look(c, x.home.data("SecretGetDeleted", "GET", "/deletedsecrets/"+x.name, ""), nil, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	switch {
	case status == http.StatusOK && gone == http.StatusOK:
		return nil, x.disagree("it is there and it is deleted")
	case status == http.StatusOK:
		s[life], s["latest"] = active, latest.Value
	case gone == http.StatusOK:
		s[life] = deleted
		return s, nil // its versions are looked at when it is recovered
	}
	versions, err := listAll(c, x.home.data("SecretListVersions", "GET", "/secrets/"+x.name+"/versions", ""), http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	return s, seeVersions(c, x, s, versions)
}

// seeVersions reads each version that is listed.
func seeVersions(c *client, x *thing, s state, versions []item) error {
	if s[life] == "" && len(versions) > 0 {
		return x.disagree("it has %d versions and does not exist", len(versions))
	}
	for _, v := range versions {
		var got bundle
		if _, err := look(c, x.home.data("SecretGet", "GET", "/secrets/"+x.name+"/"+lastSegment(v.ID), ""), &got); err != nil {
			return err
		}
		part := "value " + got.Value
		if s[part] != "" {
			return x.doubled("two versions hold %q", got.Value)
		}
		if known := x.ids["version "+got.Value]; known != "" && known != lastSegment(v.ID) {
			return x.doubled("%q was acknowledged as version %s and is version %s", got.Value, known, lastSegment(v.ID))
		}
		if got.ContentType != v.ContentType {
			return x.disagree("version %s has content type %q and is listed with %q", v.ID, got.ContentType, v.ContentType)
		}
		s[part] = got.ContentType
	}
	if s[life] != "" && s["value "+s["latest"]] == "" {
		return x.disagree("its latest value %q is in no version", s["latest"])
	}
	return nil
}
