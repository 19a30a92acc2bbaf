package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func sample() Entry {
	return Entry{
		Time: time.Date(2026, 1, 5, 1, 32, 1, 269122000, time.UTC), Duration: 78 * time.Millisecond,
		RequestID: "0b4c1c3e-6f0a-4c53-9d3a-8f6f3a1d2b11", CorrelationID: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
		Operation: "SecretGet", APIVersion: "7.4", Method: "GET", Host: "v1.vault.example.org", Path: "/secrets/db/0123",
		Status: 200, Assignment: "7d9a4d1c-52b3-4d0a-9f1e-0c7f5a5f1c11", Revision: 42,
		PrincipalKind: "ServicePrincipal", ObjectID: "a1b2c3d4-e5f6-4711-8899-aabbccddeeff", AppID: "b1b2c3d4-e5f6-4711-8899-aabbccddeeff",
		Principal: "web", CredentialID: "c1b2c3d4-e5f6-4711-8899-aabbccddeeff", TokenID: "d1b2c3d4-e5f6-4711-8899-aabbccddeeff",
		VaultID:      "e1b2c3d4-e5f6-4711-8899-aabbccddeeff",
		Subscription: "f1b2c3d4-e5f6-4711-8899-aabbccddeeff", Group: "rg", Vault: "v1", Collection: "secrets", Object: "db",
		Version: "4387e9f3d6e14c459867679a90fd0f79", Pinned: true, Address: "203.0.113.7", ClientInfo: "azsdk-go-azsecrets/v1.5.1", TLS: "TLS1_3", Node: "n1/7",
	}
}

func TestEntryComesBackAsItWas(t *testing.T) {
	for _, e := range []Entry{sample(), {Time: time.UnixMicro(0).UTC(), Operation: "Authentication", Count: 7, Status: 401}} {
		got, err := Decode(e.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("entry changed (-want +got):\n%s", diff)
		}
	}
}

func TestEntryIsSmall(t *testing.T) {
	if n := len(sample().Encode()); n > 400 {
		t.Errorf("an ordinary entry has %d bytes, want at most 400", n)
	}
}

// The record's members are those of the AuditEvent sample in Azure Monitor's documentation.
func TestRecordHasAzuresShape(t *testing.T) {
	b, err := json.Marshal(sample().Record(9))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"time":              "2026-01-05T01:32:01.2691220Z",
		"resourceId":        "/SUBSCRIPTIONS/F1B2C3D4-E5F6-4711-8899-AABBCCDDEEFF/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/V1",
		"operationName":     "SecretGet",
		"operationVersion":  "7.4",
		"category":          "AuditEvent",
		"resultType":        "Success",
		"resultSignature":   "OK",
		"resultDescription": "",
		"durationMs":        "78",
		"callerIpAddress":   "203.0.113.7",
		"correlationId":     "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	properties := got["properties"].(map[string]any)
	for name, want := range map[string]any{
		"id":             "https://v1.vault.example.org/secrets/db/4387e9f3d6e14c459867679a90fd0f79",
		"requestUri":     "https://v1.vault.example.org/secrets/db/0123?api-version=7.4",
		"httpStatusCode": 200.0, "clientInfo": "azsdk-go-azsecrets/v1.5.1", "tlsVersion": "TLS1_3", "isRbacAuthorized": true,
		"appliedAssignmentId": "7d9a4d1c-52b3-4d0a-9f1e-0c7f5a5f1c11",
	} {
		if properties[name] != want {
			t.Errorf("properties.%s = %v, want %v", name, properties[name], want)
		}
	}
}

func TestCallersTextCannotForgeALine(t *testing.T) {
	hostile := "x\"}\n{\"time\":\"forged\"}\r\u2028\x00\x1b[31m\xff"
	e := sample()
	e.ClientInfo, e.CorrelationID, e.Path = Clean(hostile, 80), Clean(hostile, 64), Clean(hostile, 160)
	b, err := json.Marshal(e.Record(1))
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(b), "\n\r\x00\x1b\u2028") {
		t.Errorf("the line is broken: %q", b)
	}
	if got, want := Clean(strings.Repeat("é", 100), 82), strings.Repeat("é", 39)+"..."; got != want {
		t.Errorf("cut to %q, want %q", got, want)
	}
	if got := Clean(strings.Repeat("é", 41), 82); got != strings.Repeat("é", 41) {
		t.Errorf("%q is cut though it fits", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		if _, err := Decode(e.Encode()); err != nil {
			t.Errorf("decoded entry does not encode: %v", err)
		}
	})
}
