package operation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

// TamperedData is the audit log's word for a request, or a look into the store, that met data which
// somebody else has changed.
const TamperedData = "TamperedData"

// A Face knows a protocol's manners: where the scope stands, what a challenge and an error look
// like. It decides nothing about rights.
type Face interface {
	// Name is a word for logs and metrics.
	Name() string
	// Data says whether the face's actions are data actions.
	Data() bool
	// Audiences says which tokens are meant for the face on this request's host.
	Audiences(c *Call) func(audience string) bool
	// CheckVersion reads and judges the api-version of the query.
	CheckVersion(c *Call) (Version, error)
	// Locate finds the vault, if the request speaks of one, and the scope of the operation's level.
	Locate(tx *db.Tx, c *Call) (resource.Scope, error)
	// Admit refuses what network rules and permission models forbid before rights are asked.
	Admit(c *Call) error
	// Refuse turns a refusal into a status and a body; c.Op may be nil. It adds the challenge
	// to the header where one is due.
	Refuse(c *Call, e *apierr.Error, h http.Header) (status int, body any)
	// BadToken turns a token that does not hold into a refusal.
	BadToken(c *Call, e *identity.TokenError) *apierr.Error
	// Headers adds what every answer of the face carries.
	Headers(c *Call, h http.Header)
}

// A Pipeline runs operations. It may be shared.
type Pipeline struct {
	DB       *db.DB
	Authz    *authz.Store
	Issuer   *identity.Issuer
	Families resource.Families
	Counter  *audit.Counter
	Log      *slog.Logger
	Node     string
	// Observe is told of every request, for metrics. operation is a declared name or "Unknown".
	Observe func(face, operation string, status int, took time.Duration)
	// OnTampered is told of each time that stored data was found not to be as we left it.
	OnTampered func()
	Admission  Admission
	// IsShort says whether the disk has room for audit entries only: then changes are refused. May be nil.
	IsShort func() bool
}

// A Request is what a face needs of a request, whether it came over a wire or from inside.
type Request struct {
	Method  string
	Path    string // escaped
	Query   string // raw
	Header  http.Header
	Body    io.Reader
	Host    resource.Host
	Address netip.Addr       // not valid on the local socket and inside
	Peer    Peer             // of a wire
	TLS     string           // TLS1_2 or TLS1_3
	Caller  *identity.Caller // set where no token is needed: the local socket and the scheduler
	Answer  http.Header      // where the headers of the answer go; nil: into a new one
}

// A Peer identifies the process at the other end of a connection.
type Peer struct {
	Local bool                      // the local socket, whose credentials were checked
	UID   func() (uid int, ok bool) // of the peer of a loopback connection; may be nil
	Run   *Run                      // the run whose proxy it came by; nil mostly
}

// A Run is a program under "strongroom run": what it is called, and the names that it knows us by.
type Run struct {
	ObjectID string            // of its identity
	Secret   [sha256.Size]byte // hash of what it shows for that; secrets are random and long, so that a plain hash will do
	Families resource.Families // the first is that of its identity endpoint
}

// A Response is what Do answers. It is complete, or its Stream is: nothing is written before the
// audit entry is durable.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Stream func(ctx context.Context, w io.Writer) error // in place of Body; nil mostly
}

// Do runs a request through the pipeline.
func (p *Pipeline) Do(ctx context.Context, t *Table, r *Request) *Response {
	c := p.newCall(t, r)
	defer c.admission.work.Leave() // when the entry is durable: what is shared is the commit above all
	answer, err := c.fromMemory(ctx)
	if errors.Is(err, db.ErrNotRemembered) || errors.Is(err, db.ErrStale) {
		c = c.again()
		answer, err = c.run(ctx)
		c.end()
		err = c.record(ctx, err)
	}
	resp := c.respond(ctx, answer, err)
	name := "Unknown"
	if c.Op != nil {
		name = c.Op.Name
	}
	took := time.Since(c.arrived)
	p.Observe(t.Face.Name(), name, resp.Status, took)
	if p.Log.Enabled(ctx, slog.LevelDebug) { // the audit log is the record of requests
		p.Log.LogAttrs(ctx, slog.LevelDebug, "request",
			slog.String("face", t.Face.Name()), slog.String("operation", name), slog.Int("status", resp.Status),
			slog.Duration("took", took), slog.String("request", c.RequestID), slog.String("vault", c.Vault.Name),
			slog.String("principal", c.Caller.ObjectID), slog.String("address", c.address))
	}
	return resp
}

func (p *Pipeline) newCall(t *Table, r *Request) *Call {
	return &Call{
		Host: r.Host, RequestID: db.NewGUID(), pipeline: p, table: t, request: r,
		arrived: time.Now().UTC().Truncate(time.Microsecond), address: addressText(r.Address),
		correlation: correlationID(r.Header), admission: &admission{},
	}
}

// again is the call as it was when the request arrived: a try that fails leaves no trace.
func (c *Call) again() *Call {
	return &Call{
		Host: c.Host, RequestID: c.RequestID, pipeline: c.pipeline, table: c.table, request: c.request,
		arrived: c.arrived, address: c.address, correlation: c.correlation, admission: c.admission,
	}
}

// fromMemory answers a request from what this process has in memory, if it can. What it asks is
// proven by the statement that stores the audit entry, see db.DB.Remember. Requests that may have a
// body are read once and are not tried.
func (c *Call) fromMemory(ctx context.Context) (answer any, err error) {
	if c.request.Method != http.MethodGet && c.request.Method != http.MethodHead {
		return nil, db.ErrNotRemembered
	}
	tx, ok := c.pipeline.DB.Remember()
	if !ok {
		return nil, db.ErrNotRemembered
	}
	c.tx, c.endTx, c.remembered = tx, func() {}, tx
	answer, err = c.run(ctx)
	c.end()
	if !errors.Is(err, db.ErrNotRemembered) {
		err = c.record(ctx, err)
	}
	return answer, err
}

// run is the order of checks: token, route, network, permission, body, existence and state.
func (c *Call) run(ctx context.Context) (answer any, err error) {
	defer func() {
		if r := recover(); r != nil {
			c.pipeline.Log.LogAttrs(ctx, slog.LevelError, "panic in a request", slog.String("request", c.RequestID),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = errors.New("panic")
		}
	}()
	segments, pathErr := canonical(c.request.Path)
	c.path = "/" + strings.Join(segments, "/")
	op, params, allow := c.table.routes.find(c.request.Method, segments)
	if op != nil && op.Access == Local && !c.request.Peer.Local {
		op, allow = nil, nil
	}
	c.Op, c.params = op, params
	if c.request.Caller != nil {
		c.Caller = *c.request.Caller
	}
	anonymous := op != nil && op.Access != Authenticated
	if anonymous {
		if err := c.enterUnknown(); err != nil {
			return nil, err
		}
	} else {
		if err := c.judge(ctx, c.authenticate); err != nil {
			return nil, c.orThrottled(err)
		}
		if op == nil || !op.hasBody() { // the others come in when their body is here
			if err := c.enter(ctx); err != nil {
				return nil, err
			}
		}
	}
	if err := c.parseQuery(); err != nil {
		return nil, err
	}
	if op == nil || pathErr != nil {
		return nil, unknownRoute(allow)
	}
	if c.Version, err = c.table.Face.CheckVersion(c); err != nil {
		return nil, err
	}
	if !anonymous {
		if err := c.judge(ctx, c.permit); err != nil {
			return nil, err
		}
	}
	return op.invoke(ctx, c)
}

// orThrottled is the refusal of a token that does not hold, or of too many of them.
func (c *Call) orThrottled(err error) error {
	if _, ok := errors.AsType[*identity.TokenError](err); ok {
		return cmp.Or(c.enterUnknown(), err)
	}
	return err
}

// permit finds the scope and decides, over the call's snapshot.
func (c *Call) permit(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.locate(c.tx); err != nil {
		return err
	}
	if err := c.enterVault(); err != nil {
		return err
	}
	return c.authorise(c.tx)
}

// authenticate finds out who asks. A request without a token is refused before the database is
// asked anything.
func (c *Call) authenticate(ctx context.Context) error {
	if c.request.Caller != nil {
		return nil
	}
	scheme, token, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(c.request.Header.Values("Authorization")) > 1 {
		return &identity.TokenError{Reason: identity.Missing}
	}
	begin := func() (*db.Tx, error) { err := c.begin(ctx); return c.tx, err }
	caller, err := c.pipeline.Issuer.Verify(begin, token, identity.Expectation{
		Family: c.Host.Family, Audiences: c.table.Face.Audiences(c),
	})
	if err != nil {
		return err
	}
	c.Caller = caller
	return nil
}

// singleParameters are those that operations read; a second one would be ignored, and is refused.
// What nobody reads may come as it likes.
var singleParameters = []string{"api-version", "maxresults", "$skiptoken", "$filter", "$top", "outcontenttype"}

// parseQuery decodes the query once; names are decoded too, since clients send api%2Dversion,
// and compare without letter case.
func (c *Call) parseQuery() error {
	values, err := url.ParseQuery(c.request.Query)
	if err != nil {
		return apierr.BadRequest("BadParameter", "The query string is malformed.")
	}
	c.Query = values
	for name := range values {
		if strings.ToLower(name) != name {
			c.Query = lowered(values)
			break
		}
	}
	for _, name := range singleParameters {
		if len(c.Query[name]) > 1 {
			return apierr.BadRequest("BadParameter", "The query parameter %s stands more than once.", name)
		}
	}
	return nil
}

// lowered is the query with names in lower case.
func lowered(values url.Values) url.Values {
	out := url.Values{}
	for name, v := range values {
		key := strings.ToLower(name)
		out[key] = append(out[key], v...)
	}
	return out
}

func unknownRoute(allow []string) error {
	if len(allow) == 0 {
		return apierr.NotFound("NotFound", "There is no such resource.")
	}
	slices.Sort(allow)
	allow = slices.Compact(allow)
	e := apierr.New(apierr.MethodNotAllowedKind, "MethodNotAllowed", "The method is not allowed here; want %s.", strings.Join(allow, ", "))
	e.Allow = strings.Join(allow, ", ")
	return e
}

// refusal turns any error into what the caller may read. Faults of ours are logged here, once.
func (c *Call) refusal(ctx context.Context, err error) *apierr.Error {
	if e, ok := errors.AsType[*identity.TokenError](err); ok {
		return c.table.Face.BadToken(c, e)
	}
	if e, ok := apierr.As(err); ok {
		return e
	}
	level, e := slog.LevelError, apierr.New(apierr.InternalKind, "InternalServerError", "An internal error occurred. Request id: %s", c.RequestID)
	if errors.Is(err, envelope.ErrTampered) {
		e.Audit = TamperedData
		c.pipeline.OnTampered()
	}
	if errors.Is(err, db.ErrUnavailable) {
		level, e = slog.LevelWarn, apierr.New(apierr.UnavailableKind, "ServiceUnavailable", "The service cannot reach its storage; nothing was changed. Request id: %s", c.RequestID)
	}
	if errors.Is(err, db.ErrNoSpace) {
		e.RetryAfter = noSpaceRetry
	}
	if errors.Is(err, db.ErrUnknownOutcome) {
		e.Message = fmt.Sprintf("The service lost its storage while it stored the change; look whether it took place. Request id: %s", c.RequestID)
	}
	c.pipeline.Log.LogAttrs(ctx, level, "request failed", slog.String("request", c.RequestID), slog.Any("error", err))
	return e
}

// respond builds the answer; err has precedence over the value.
func (c *Call) respond(ctx context.Context, answer any, err error) *Response {
	h := c.request.Answer
	if h == nil {
		h = http.Header{}
	}
	c.table.Face.Headers(c, h)
	h["X-Ms-Request-Id"] = []string{c.RequestID}
	if c.correlation != "" {
		h["X-Ms-Client-Request-Id"] = []string{c.correlation}
	}
	if stream, ok := answer.(Stream); ok && err == nil {
		h["Content-Type"] = []string{stream.ContentType}
		return &Response{Status: c.success(), Header: h, Stream: stream.Write}
	}
	if err == nil {
		var body []byte
		if body, err = encodeAnswer(answer); err == nil {
			return &Response{Status: c.success(), Header: h, Body: body}
		}
	}
	e := c.refusal(ctx, err)
	status, value := c.table.Face.Refuse(c, e, h)
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	body, err := encodeAnswer(value)
	if err != nil {
		c.pipeline.Log.LogAttrs(ctx, slog.LevelError, "an error body cannot be encoded", slog.Any("error", err))
	}
	return &Response{Status: status, Header: h, Body: body}
}

// encodeAnswer prints an answer; None has no body.
func encodeAnswer(answer any) ([]byte, error) {
	if _, none := answer.(None); none || answer == nil {
		return nil, nil
	}
	if e, ok := answer.(interface{ body() []byte }); ok {
		return e.body(), nil
	}
	b, err := json.Marshal(answer, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return b, nil
}
