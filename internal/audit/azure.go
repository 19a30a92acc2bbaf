package audit

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Record is an entry in the shape of Azure's AuditEvent log (Azure Monitor, category
// AuditEvent), as one JSON line, with our own additions below properties.
type Record struct {
	Time              string     `json:"time"`
	ResourceID        string     `json:"resourceId"`
	OperationName     string     `json:"operationName"`
	OperationVersion  string     `json:"operationVersion"`
	Category          string     `json:"category"`
	ResultType        string     `json:"resultType"`
	ResultSignature   string     `json:"resultSignature"`
	ResultDescription string     `json:"resultDescription"`
	DurationMs        string     `json:"durationMs"`
	CallerIPAddress   string     `json:"callerIpAddress"`
	CorrelationID     string     `json:"correlationId"`
	Identity          Identity   `json:"identity"`
	Properties        Properties `json:"properties"`
}

// Identity is who asked, under the claim names that Azure uses.
type Identity struct {
	Claim map[string]string `json:"claim"`
}

// Properties are the members that vary by operation.
type Properties struct {
	ID                  string `json:"id,omitempty"`
	ClientInfo          string `json:"clientInfo,omitempty"`
	RequestURI          string `json:"requestUri,omitempty"`
	HTTPStatusCode      int64  `json:"httpStatusCode"`
	TLSVersion          string `json:"tlsVersion,omitempty"`
	IsRbacAuthorized    bool   `json:"isRbacAuthorized"`
	AppliedAssignmentID string `json:"appliedAssignmentId,omitempty"`

	Position         int64  `json:"position"`
	RequestID        string `json:"requestId"`
	Ordinal          int64  `json:"ordinal,omitzero"`
	PrincipalKind    string `json:"principalKind,omitempty"`
	CredentialID     string `json:"credentialId,omitempty"`
	TokenID          string `json:"tokenId,omitempty"`
	VaultID          string `json:"vaultId,omitempty"`
	Version          string `json:"version,omitempty"`
	VersionPinned    bool   `json:"versionPinned,omitzero"`
	ErrorCode        string `json:"errorCode,omitempty"`
	MissingAction    string `json:"missingAction,omitempty"`
	MissingScope     string `json:"missingScope,omitempty"`
	GrantedRole      string `json:"grantedRole,omitempty"`
	GrantedTo        string `json:"grantedTo,omitempty"`
	AuthRevision     int64  `json:"authorisationRevision,omitzero"`
	Node             string `json:"node,omitempty"`
	Detail           string `json:"detail,omitempty"`
	Count            int64  `json:"count,omitzero"`
	CountedAsSamples bool   `json:"counted,omitzero"`
}

// Record returns the entry in Azure's shape; position is its place in the log.
func (e Entry) Record(position int64) Record {
	return Record{
		Time:              e.Time.Format("2006-01-02T15:04:05.0000000Z"),
		ResourceID:        e.resourceID(),
		OperationName:     e.Operation,
		OperationVersion:  e.APIVersion,
		Category:          "AuditEvent",
		ResultType:        "Success", // Azure's own habit: the outcome is in the signature
		ResultSignature:   signature(int(e.Status)),
		ResultDescription: e.Code,
		DurationMs:        strconv.FormatInt(int64((e.Duration+time.Millisecond/2)/time.Millisecond), 10),
		CallerIPAddress:   e.Address,
		CorrelationID:     e.CorrelationID,
		Identity:          Identity{Claim: e.claims()},
		Properties: Properties{
			ID: e.objectURL(), ClientInfo: e.ClientInfo, RequestURI: e.requestURL(),
			HTTPStatusCode: e.Status, TLSVersion: e.TLS,
			IsRbacAuthorized: e.Assignment != "", AppliedAssignmentID: e.Assignment,
			Position: position, RequestID: e.RequestID, Ordinal: e.Ordinal,
			PrincipalKind: e.PrincipalKind, CredentialID: e.CredentialID, TokenID: e.TokenID,
			VaultID: e.VaultID, Version: e.Version, VersionPinned: e.Pinned, ErrorCode: e.Code,
			MissingAction: e.MissingAction, MissingScope: e.MissingScope,
			GrantedRole: e.GrantedRole, GrantedTo: e.GrantedTo,
			AuthRevision: e.Revision, Node: e.Node, Detail: e.Detail, Count: e.Count, CountedAsSamples: e.Count > 0,
		},
	}
}

func (e Entry) resourceID() string {
	switch {
	case e.Vault != "" && e.Subscription != "":
		return strings.ToUpper("/subscriptions/" + e.Subscription + "/resourceGroups/" + e.Group +
			"/providers/Microsoft.KeyVault/vaults/" + e.Vault)
	case e.Group != "":
		return strings.ToUpper("/subscriptions/" + e.Subscription + "/resourceGroups/" + e.Group)
	case e.Subscription != "":
		return strings.ToUpper("/subscriptions/" + e.Subscription)
	}
	return ""
}

func (e Entry) objectURL() string {
	if e.Object == "" || e.Host == "" {
		return ""
	}
	u := "https://" + e.Host + "/" + e.Collection + "/" + e.Object
	if e.Version != "" {
		u += "/" + e.Version
	}
	return u
}

func (e Entry) requestURL() string {
	if e.Host == "" {
		return ""
	}
	u := "https://" + e.Host + e.Path
	if e.APIVersion != "" {
		u += "?api-version=" + e.APIVersion
	}
	return u
}

func (e Entry) claims() map[string]string {
	c := map[string]string{}
	for name, value := range map[string]string{
		"http://schemas.microsoft.com/identity/claims/objectidentifier": e.ObjectID,
		"oid":   e.ObjectID,
		"appid": e.AppID,
		"name":  e.Principal,
		"iss":   e.Issuer,
	} {
		if value != "" {
			c[name] = value
		}
	}
	return c
}

// signature is the HTTP reason as Azure writes it.
func signature(status int) string {
	if status == http.StatusTooManyRequests {
		return "TooManyRequests"
	}
	return http.StatusText(status)
}
