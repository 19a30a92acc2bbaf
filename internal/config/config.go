// Package config reads the settings of a server: built-in defaults, then a YAML file, then
// STRONGROOM_ variables, then flags, each over the one before.
//
// The danger is a server that runs with other settings than its operator believes: a
// misspelt limit, a second line for the same key, "30" taken for seconds. So whatever is not
// understood is an error that names the key, what was wanted, what was found and the place,
// and start-up prints which layer decided what. Passwords and passphrases are never settings,
// only the files that hold them are: settings end up in process lists, logs and tickets.
//
// Each fact about a key stands once, on its field in this file. The comment is the text of
// the manual, and the tags are
//
//	yaml     the key, snake_case
//	default  the value when no layer gives one
//	derived  how the default follows from other keys, for the manual; Complete computes it
//	range    smallest..largest, for numbers and durations
//	oneof    the words allowed, with | between
//	form     a named form of text, see forms
package config

import (
	"path/filepath"
	"time"
)

// A Config is everything an operator can set. The zero value is complete: zero fields mean
// their defaults, which Complete fills in.
type Config struct {
	// The folder that holds what the server writes: the SQLite database, the local
	// certificate authority, the local socket. Only the server's own user needs it.
	// `strongroom dev` uses `.strongroom` in the current folder.
	DataDir string `yaml:"data_dir" default:"/var/lib/strongroom" form:"path"`

	// The address of the TLS listener, host:port. All faces answer here (vaults, sign-in,
	// management, graph) and the host name of the request chooses one. An empty host means
	// every interface.
	Listen string `yaml:"listen" default:"127.0.0.1:8443" form:"address"`

	// The address of health checks and metrics, host:port, or `off`. Plain HTTP without
	// sign-in: keep it where only the monitoring reaches it.
	MetricsListen string `yaml:"metrics_listen" default:"127.0.0.1:8444" form:"address or off"`

	// The address of the profiler (Go's net/http/pprof: CPU, allocations, locks), host:port on
	// loopback, or `off`. A profile shows what the server does and how much memory it has, never
	// what is in the memory. To measure costs some speed.
	DebugListen string `yaml:"debug_listen" default:"off" form:"address or off"`

	// The address of the managed identity endpoint, host:port, or `off`. Plain HTTP, as the
	// SDKs demand, and therefore on loopback only.
	IdentityListen string `yaml:"identity_listen" default:"127.0.0.1:8440" form:"loopback address or off"`

	// The Unix socket by which the command line of this machine reaches the server. Who may
	// connect is decided by the user at the other end. The system allows 103 bytes.
	Socket string `yaml:"socket" form:"path" derived:"strongroom.sock in data_dir"`

	// The location that vaults and identities of this server report, such as `westeurope`.
	Region string `yaml:"region" default:"local" form:"word"`

	// The families of host names under which the service answers; the first is the default.
	// A request's host picks the family, and every id, link and issuer of the answer is of
	// that family. Hosts outside all families are refused. Without an entry there is one
	// family, `local`, of the domain `localhost`.
	Names []NameFamily `yaml:"names" derived:"one family: local, domain localhost"`

	// Where the state is kept.
	Database Database `yaml:"database"`

	// The key under which all other keys are sealed. Without it the database cannot be read,
	// so keep a copy, and keep it apart from copies of the database.
	RootKey RootKey `yaml:"root_key"`

	// The certificate of the TLS listener. Without one the server uses a certificate
	// authority of its own in data_dir, which clients have to be told to trust.
	TLS TLS `yaml:"tls"`

	// The access tokens that this server issues.
	Tokens Tokens `yaml:"tokens"`

	// What one client may cost. The defaults suit a machine with two cores and 1 GiB.
	Limits Limits `yaml:"limits"`

	// How often all that is stored is looked through for what somebody else has changed. What a
	// request meets is noticed at once; this is for what nobody asks for.
	ScrubInterval time.Duration `yaml:"scrub_interval" default:"15m" range:"1s..24h"`

	// When the audit log leaves the database, and where to.
	Audit Audit `yaml:"audit"`

	// The server's own log, written to standard error. It never holds a secret value.
	Log Log `yaml:"log"`
}

// A NameFamily is one set of host names; Config.Families turns the list into resource.Families.
type NameFamily struct {
	// A word for logs, such as `public`. Each family has its own.
	Name string `yaml:"name" form:"word" derived:"none; each entry needs one"`

	// The short form: `example.org` stands for the four hosts `vault.`, `login.`,
	// `management.` and `graph.example.org`. A host given beside it takes precedence.
	Domain string `yaml:"domain" form:"host" derived:"none; without it all four hosts must be given"`

	// What follows a vault's name and a dot in the vault's host. It begins with `vault.`,
	// because official clients demand that.
	VaultSuffix string `yaml:"vault_suffix" form:"host" derived:"vault. and the domain"`

	// The host of sign-in. Any one label before it is accepted too, as the regional form.
	LoginHost string `yaml:"login_host" form:"host" derived:"login. and the domain"`

	// The host of the management plane, the endpoint of Azure Resource Manager.
	ManagementHost string `yaml:"management_host" form:"host" derived:"management. and the domain"`

	// The host of the directory, the endpoint of Microsoft Graph.
	GraphHost string `yaml:"graph_host" form:"host" derived:"graph. and the domain"`

	// The port that clients use, which a load balancer may make another one than that of
	// `listen`. 443 is left out of ids and links.
	Port int `yaml:"port" range:"1..65535" derived:"the port of listen"`
}

// Database says which engine holds the state and how to reach it.
type Database struct {
	// `sqlite` needs nothing and serves one process; `postgresql` serves several at once.
	Engine string `yaml:"engine" default:"sqlite" oneof:"sqlite|postgresql"`

	// The SQLite file, on a local disk. Files with `-wal` and `-shm` behind its name belong
	// to it.
	Path string `yaml:"path" form:"path" derived:"strongroom.db in data_dir, with sqlite"`

	// How much room a file beside the SQLite file, `ballast`, keeps for a full disk; `off` keeps none.
	// When the disk is full the file is given up: changes are refused with 503, and reads go on while
	// their audit entries fit into what it held, at 1 KiB each at most. So 64MiB last 65,000 reads: two
	// hours at ten a second, ten minutes at a hundred; and whatever goes on filling the disk takes
	// of it too. Then reads get 503 as well. When this much and a quarter more is free, the file is made
	// again and changes go on, without a hand. Not used with PostgreSQL, whose disk is its own:
	// reads and changes get 503 while it refuses. `strongroom dev` keeps none.
	BallastSize string `yaml:"ballast_size" default:"64MiB" form:"size or off"`

	// The PostgreSQL connection string, such as `postgres://strongroom@db.example.org/strongroom`.
	// It is refused with a password in it: use `url_file`, or let PostgreSQL know this user
	// by certificate or peer.
	URL string `yaml:"url" form:"connection string" derived:"none; postgresql needs url or url_file"`

	// A file with the PostgreSQL connection string, password included. On Unix its mode must
	// deny all access to group and others.
	URLFile string `yaml:"url_file" form:"path" derived:"none"`

	// The largest number of connections to PostgreSQL, or of concurrent readers on SQLite.
	Connections int `yaml:"connections" default:"16" range:"4..200"`
}

// Ballast is where the ballast of a complete configuration lies, and its size in bytes; 0 is none.
func (d Database) Ballast() (path string, size int64) {
	if d.Engine != "sqlite" {
		return "", 0
	}
	return filepath.Join(filepath.Dir(followed(d.Path)), "ballast"), bytesOf(d.BallastSize)
}

// RootKey says where the root key comes from: a key file or a passphrase, not both.
type RootKey struct {
	// The file with the root key, as `strongroom init` makes it. On Unix its mode must deny
	// all access to group and others. It lies outside data_dir, or one stolen backup of the
	// folder would hold both the lock and its key.
	File string `yaml:"file" form:"path" derived:"/etc/strongroom/root.key; root.key in data_dir with inside_data_dir; none with passphrase_file"`

	// A file with the passphrase from which the root key is computed, instead of a key file.
	// The same rules of mode and place apply. A systemd credential is such a file.
	PassphraseFile string `yaml:"passphrase_file" form:"path" derived:"none"`

	// Allows the key or passphrase file inside data_dir. `strongroom dev` sets it; a server
	// that guards anything of value should not.
	InsideDataDir bool `yaml:"inside_data_dir" default:"false"`
}

// TLS names the files of the certificate, both or none. They are read again on SIGHUP.
type TLS struct {
	// The certificate and its intermediates in PEM, leaf first. It has to cover the wildcard
	// of each vault suffix and the other hosts of every family.
	CertificateFile string `yaml:"certificate_file" form:"path" derived:"none; the server's own authority"`

	// The private key of the certificate in PEM.
	KeyFile string `yaml:"key_file" form:"path" derived:"none"`
}

// Tokens shapes the tokens that the server issues and how clients are sent to fetch them.
type Tokens struct {
	// How long an access token holds. A removed role counts at once whatever this is.
	Lifetime time.Duration `yaml:"lifetime" default:"1h" range:"5m..24h"`

	// How often a new signing key takes over. The old one stays published until the last
	// token that it signed has expired.
	KeyRotation time.Duration `yaml:"key_rotation" default:"720h" range:"24h..8760h"`

	// The tenant named in the challenge of a vault: `guid` for the tenant's id, or `adfs`
	// for clients that can then leave out instance discovery at Microsoft.
	ChallengeTenant string `yaml:"challenge_tenant" default:"guid" oneof:"guid|adfs"`
}

// Limits bounds what requests may cost. The largest body is a matter of each operation.
type Limits struct {
	// The largest request line and headers together, in bytes.
	MaxHeaderBytes int `yaml:"max_header_bytes" default:"32768" range:"4096..1048576"`

	// How long a client may take to send the headers of a request.
	HeaderTimeout time.Duration `yaml:"header_timeout" default:"10s" range:"1s..5m"`

	// How long a client may take to send the body.
	BodyTimeout time.Duration `yaml:"body_timeout" default:"30s" range:"1s..10m"`

	// How long a connection may stay open between two requests.
	IdleTimeout time.Duration `yaml:"idle_timeout" default:"120s" range:"1s..1h"`

	// How long a request may take from its headers to its answer. Whatever the database does, within
	// this time there is an answer: 503 if it does not answer, at once if it is known to be away. The
	// client has as long again to read it.
	RequestTimeout time.Duration `yaml:"request_timeout" default:"60s" range:"1s..10m"`

	// The largest number of concurrent requests on one HTTP/2 connection.
	ConcurrentStreams int `yaml:"concurrent_streams" default:"250" range:"1..10000"`

	// The largest number of open connections. Beyond it the one that has asked nothing for longest, and
	// for a second at least, is ended for a new one; where there is none, the new one waits.
	Connections int `yaml:"connections" default:"20000" range:"10..1000000"`

	// Requests without a valid token that one address (of IPv6, one /64) may send in a second;
	// twice as many may come at once. What is over it gets 429.
	AnonymousRate int `yaml:"anonymous_rate" default:"1000" range:"1..1000000"`

	// Requests that one identity may send in a second; 0 is no limit.
	IdentityRate int `yaml:"identity_rate" default:"0" range:"0..1000000"`

	// Requests that may be sent for one vault in a second; 0 is no limit. Azure's is 400.
	VaultRate int `yaml:"vault_rate" default:"0" range:"0..1000000"`
}

// Audit says how much of the audit log the database keeps. What is older stands in segments, which
// are signed files; "strongroom audit" reads them as if they were in the database, and "strongroom
// audit verify" proves them anywhere.
type Audit struct {
	// The folder of the segments. They may be copied or moved away; entries of a file that is not
	// in the folder cannot be listed until it is back. Nodes on several machines have to share it,
	// or each holds what it wrote.
	SegmentDir string `yaml:"segment_dir" form:"path" derived:"audit in data_dir"`

	// The age at which an entry leaves the database, with all entries up to now.
	SegmentAge time.Duration `yaml:"segment_age" default:"24h" range:"1m..8760h"`

	// The number of entries in the database above which the oldest leave, at about 300 bytes each.
	SegmentEntries int `yaml:"segment_entries" default:"200000" range:"1000..10000000"`
}

// Log shapes the server's own log.
type Log struct {
	// The least level that is written.
	Level string `yaml:"level" default:"info" oneof:"debug|info|warn|error"`

	// `text` for people, `json` for collectors: one object a line.
	Format string `yaml:"format" default:"text" oneof:"text|json"`
}

// Serve returns the defaults of `strongroom serve`, for Options.Defaults. They are what the
// tags say: a zero Config.
func Serve() Config { return Config{} }

// Dev returns the defaults of `strongroom dev`, for Options.Defaults. Everything lies in dir
// and is reachable from this machine only. Two families: "local", which curl and browsers
// resolve by themselves, and "run", whose names programs under `strongroom run` reach through
// its proxy on the usual port.
func Dev(dir string) Config {
	if dir == "" {
		dir = ".strongroom"
	}
	return Config{
		DataDir: dir,
		Listen:  "127.0.0.1:8443",
		Names: []NameFamily{
			{Name: "local", Domain: "localhost", Port: 8443},
			{Name: "run", Domain: "strongroom.internal", Port: 443},
		},
		RootKey:  RootKey{InsideDataDir: true},
		Database: Database{BallastSize: Off},
	}
}

// Complete returns c with every zero field at its default, those that follow from other keys
// included. Load returns complete configurations; only code that makes a Config needs it.
func (c Config) Complete() Config {
	c = c.withDefaults()
	setIfEmpty(&c.Socket, filepath.Join(c.DataDir, "strongroom.sock"))
	setIfEmpty(&c.Audit.SegmentDir, filepath.Join(c.DataDir, "audit"))
	if c.Database.Engine == "sqlite" {
		setIfEmpty(&c.Database.Path, filepath.Join(c.DataDir, "strongroom.db"))
	}
	switch {
	case c.RootKey.PassphraseFile != "":
	case c.RootKey.InsideDataDir:
		setIfEmpty(&c.RootKey.File, filepath.Join(c.DataDir, "root.key"))
	default:
		setIfEmpty(&c.RootKey.File, "/etc/strongroom/root.key")
	}
	c.Names = completeNames(c.Names, portOf(c.Listen))
	return c
}

func setIfEmpty(p *string, value string) {
	if *p == "" {
		*p = value
	}
}
